//! Options of requests, read from the query (`metav1.ListOptions`, `CreateOptions`, …; core/v1 `PodLogOptions`,
//! `PodExecOptions`) and checked as k8s.io/apimachinery `pkg/apis/meta/v1/validation` and
//! `pkg/apis/meta/internalversion/validation` check them. Pure.

use std::time::Duration;

use remora_model::status::Qualified;
use remora_model::{FieldError, Path, Status};
use remora_rules::decode::FieldValidation;
use remora_rules::patch::{self, PatchType};

use super::query::Query;

const META: &str = "meta.k8s.io";

/// How exactly a resourceVersion is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// That one.
    Exact,
    /// That one or a later one.
    NotOlderThan,
}

/// Of a list, a watch or the deletion of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `a=b,c in (d)`; parsed by `rules`.
    pub label_selector: String,
    /// `metadata.name=x`; parsed by `rules`.
    pub field_selector: String,
    /// None if not given; 0 is "any".
    pub resource_version: Option<u64>,
    /// None if not given.
    pub version_match: Option<Match>,
    /// At most so many items; none is all.
    pub limit: Option<usize>,
    /// Where the page before has ended.
    pub continues: Option<String>,
}

/// Of a watch, besides [`ListOptions`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// What to watch, and from where.
    pub list: ListOptions,
    /// When to end the watch; none if the server may choose.
    pub timeout: Option<Duration>,
    /// Whether BOOKMARK events may be sent.
    pub bookmarks: bool,
    /// Begin with what exists, then send a bookmark that says so (KEP-3157).
    pub initial_events: Option<bool>,
}

impl WatchOptions {
    /// Whether what exists comes first.
    pub fn wants_initial(&self) -> bool {
        self.initial_events.unwrap_or(self.list.resource_version.unwrap_or_default() == 0)
    }
}

/// Of a create, update or patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do everything but keep it.
    pub dry_run: bool,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
    /// Who writes.
    pub field_manager: Option<String>,
}

/// Of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchOptions {
    /// As for every write.
    pub write: WriteOptions,
    /// What the body is.
    pub patch: PatchType,
    /// Whether an apply takes fields from other managers.
    pub force: bool,
}

impl ListOptions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// 400 for values that are no numbers, 422 for combinations that make no sense.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let limit = query.integer("limit")?.filter(|n| *n > 0);
        let options = Self {
            label_selector: query.first("labelSelector").unwrap_or_default().to_owned(),
            field_selector: query.first("fieldSelector").unwrap_or_default().to_owned(),
            resource_version: version(query.given("resourceVersion"))?,
            version_match: version_match(query)?,
            limit: limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            continues: query.given("continue").map(str::to_owned),
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), Status> {
        if self.continues.is_some() && self.resource_version.is_some_and(|v| v > 0) {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let why = match (self.version_match, self.resource_version) {
            (Some(_), _) if self.continues.is_some() => "resourceVersionMatch is forbidden when continue is provided",
            (Some(_), None) => "resourceVersionMatch is forbidden unless resourceVersion is provided",
            (Some(Match::Exact), Some(0)) => "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            _ => return Ok(()),
        };
        Err(invalid("ListOptions", FieldError::forbidden(&Path::new("resourceVersionMatch"), why)))
    }
}

impl WatchOptions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// As for lists; 422 for `sendInitialEvents` without what it needs.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let initial_events = query.optional_flag("sendInitialEvents");
        let mut list = ListOptions { continues: None, limit: None, ..Self::list_part(query)? };
        if initial_events.is_some() && list.version_match != Some(Match::NotOlderThan) {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(invalid("ListOptions", FieldError::forbidden(&Path::new("sendInitialEvents"), why)));
        }
        if initial_events.is_none() && list.version_match.take().is_some() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(invalid("ListOptions", FieldError::forbidden(&Path::new("resourceVersionMatch"), why)));
        }
        let seconds = query.integer("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        let bookmarks = query.flag("allowWatchBookmarks");
        Ok(Self { list, timeout: seconds.map(Duration::from_secs), bookmarks, initial_events })
    }

    fn list_part(query: &Query) -> Result<ListOptions, Status> {
        Ok(ListOptions {
            label_selector: query.first("labelSelector").unwrap_or_default().to_owned(),
            field_selector: query.first("fieldSelector").unwrap_or_default().to_owned(),
            resource_version: version(query.given("resourceVersion"))?,
            version_match: version_match(query)?,
            ..ListOptions::default()
        })
    }
}

impl WriteOptions {
    /// Reads and checks them; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`, for messages.
    ///
    /// # Errors
    /// 422 for values that are not known.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        let field_validation = FieldValidation::from_query(query.first("fieldValidation").unwrap_or_default())?;
        let field_manager = query.given("fieldManager").map(str::to_owned);
        if let Some(error) = patch::check_field_manager(field_manager.as_deref().unwrap_or_default()).into_iter().next()
        {
            return Err(invalid(kind, error));
        }
        Ok(Self { dry_run: dry_run(query, kind)?, field_validation, field_manager })
    }
}

impl PatchOptions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// As for writes; 422 for an apply without field manager.
    pub fn parse(query: &Query, patch: PatchType) -> Result<Self, Status> {
        let write = WriteOptions::parse(query, "PatchOptions")?;
        patch::check_options(patch, write.field_manager.as_deref().unwrap_or_default(), query.optional_flag("force"))?;
        Ok(Self { write, patch, force: query.flag("force") })
    }
}

/// `dryRun=All`, as often as one likes, or nothing.
///
/// # Errors
/// 422 for anything else.
pub fn dry_run(query: &Query, kind: &str) -> Result<bool, Status> {
    let mut asked = false;
    for value in query.all("dryRun").filter(|v| !v.is_empty()) {
        if value != "All" {
            return Err(invalid(kind, FieldError::not_supported(&Path::new("dryRun"), value, &["All"])));
        }
        asked = true;
    }
    Ok(asked)
}

/// 422 of wrong options.
pub fn invalid(kind: &str, error: FieldError) -> Status {
    Status::invalid(Qualified::new(META, kind), "", &[error])
}

/// The resourceVersion of a get.
///
/// # Errors
/// 400 if it is no number.
pub fn version(text: Option<&str>) -> Result<Option<u64>, Status> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |_| {
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    };
    text.parse().map(Some).map_err(wrong)
}

fn version_match(query: &Query) -> Result<Option<Match>, Status> {
    match query.given("resourceVersionMatch") {
        None => Ok(None),
        Some("Exact") => Ok(Some(Match::Exact)),
        Some("NotOlderThan") => Ok(Some(Match::NotOlderThan)),
        Some(other) => {
            let at = Path::new("resourceVersionMatch");
            Err(invalid("ListOptions", FieldError::not_supported(&at, other, &["Exact", "NotOlderThan", ""])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<ListOptions, (u16, String)> {
        ListOptions::parse(&Query::parse(text)).map_err(|s| (s.code, s.message))
    }

    #[test]
    fn list_options_are_read() {
        let options = list("limit=5&resourceVersion=7&resourceVersionMatch=Exact&labelSelector=a%3Db").unwrap();
        assert_eq!((options.limit, options.resource_version), (Some(5), Some(7)));
        assert_eq!((options.version_match, options.label_selector.as_str()), (Some(Match::Exact), "a=b"));
        assert_eq!(list("limit=0&resourceVersion=").unwrap(), ListOptions::default());
    }

    #[test]
    fn combinations_that_make_no_sense_are_refused() {
        for (text, code) in [
            ("limit=x", 400),
            ("resourceVersion=x", 400),
            ("continue=a&resourceVersion=3", 400),
            ("continue=a&resourceVersion=0&resourceVersionMatch=NotOlderThan", 422),
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=1&resourceVersionMatch=Wibble", 422),
        ] {
            assert_eq!(list(text).unwrap_err().0, code, "{text}");
        }
    }

    #[test]
    fn initial_events_need_not_older_than() {
        let watch = |text: &str| WatchOptions::parse(&Query::parse(text)).map_err(|s| s.code);
        assert_eq!(watch("sendInitialEvents=true"), Err(422));
        assert_eq!(watch("resourceVersion=3&resourceVersionMatch=NotOlderThan"), Err(422));
        let good = watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&timeoutSeconds=9");
        let good = good.unwrap();
        assert_eq!((good.initial_events, good.timeout), (Some(true), Some(Duration::from_secs(9))));
    }

    #[test]
    fn writes_are_dry_only_when_asked_in_the_right_word() {
        let write = |text: &str| WriteOptions::parse(&Query::parse(text), "CreateOptions").map_err(|s| s.message);
        assert!(write("dryRun=All&dryRun=All").unwrap().dry_run);
        assert!(!write("").unwrap().dry_run);
        let expected =
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"x\": supported values: \"All\"";
        assert_eq!(write("dryRun=x").unwrap_err(), expected);
    }

    #[test]
    fn an_apply_needs_a_field_manager() {
        let error = PatchOptions::parse(&Query::parse(""), PatchType::Apply).unwrap_err();
        let expected =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        assert_eq!(error.message, expected);
    }
}
