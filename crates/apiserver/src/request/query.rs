//! The query of a request: names and values, decoded. Pure; what a name means is up to [`super::options`].

use remora_model::Status;

/// Names and values in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// All names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of `name`, empty ones included.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of `name` that is not empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// Every value of `name`, in order.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean as upstream's conversion of query values reads it: absent, `0` and `false` are false, all else is true
    /// (`watch` alone too).
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// The same, telling absent from false.
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        let value = self.first(name)?;
        Some(!(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 with Go's words if it is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.given(name) else { return Ok(None) };
        let parsed = text.parse();
        let wrong = |_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        parsed.map(Some).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_kept_in_order() {
        let query = Query::parse("command=ls&command=-l%20x&a+b=1&empty=");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l x"]);
        assert_eq!((query.first("a b"), query.first("empty"), query.given("empty")), (Some("1"), Some(""), None));
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("", None),
            ("w", Some(true)),
            ("w=", Some(true)),
            ("w=1", Some(true)),
            ("w=0", Some(false)),
            ("w=False", Some(false)),
            ("w=yes", Some(true)),
        ] {
            assert_eq!(Query::parse(text).optional_flag("w"), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_a_bad_request() {
        let wrong = Query::parse("limit=abc").integer("limit").unwrap_err();
        assert_eq!((wrong.code, wrong.message.as_str()), (400, "strconv.ParseInt: parsing \"abc\": invalid syntax"));
        assert_eq!(Query::parse("limit=-3").integer("limit").unwrap(), Some(-3));
    }
}
