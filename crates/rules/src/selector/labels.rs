//! Label selectors: the text form of queries (`a=b,c in (d,e),!f`) and the object form of specs
//! (k8s.io/apimachinery `pkg/labels`, `metav1.LabelSelector`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path, Status};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::selector::Selectable;

/// Conditions that must all hold; none holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    DoesNotExist,
    In(Vec<String>),
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl Selector {
    /// Reads the text form.
    ///
    /// # Errors
    /// 400 with what could not be read.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let requirements =
            parser.requirements().map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))?;
        Ok(Self { requirements })
    }

    /// The selector of a spec; `None` for one that is malformed, which validation refuses before.
    pub fn of(selector: &LabelSelector) -> Option<Self> {
        let equal = selector.match_labels.iter().flatten();
        let mut requirements: Vec<Requirement> = equal
            .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) })
            .collect();
        for one in selector.match_expressions.iter().flatten() {
            let values = one.values.clone().unwrap_or_default();
            let operator = match one.operator.as_str() {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return None,
            };
            requirements.push(Requirement { key: one.key.clone(), operator });
        }
        Some(Self { requirements })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object with these labels (`metadata.labels`, null for none).
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|one| one.matches(labels.get(&one.key).and_then(Value::as_str)))
    }

    /// The same by what is kept of an object.
    pub fn matches_kept(&self, of: &Selectable) -> bool {
        self.requirements.iter().all(|one| one.matches(of.label(&one.key)))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Operator::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Operator::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Operator::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// The text form of a spec's selector, as queries have it and as people are shown it; empty for one that selects everything.
pub fn text(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| (key, format!("{key}={value}")));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let mut values = one.values.clone().unwrap_or_default();
        values.sort();
        let key = &one.key;
        let shown = match one.operator.as_str() {
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        };
        (key, shown)
    });
    let mut all: Vec<_> = equal.chain(expressions).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>().join(",")
}

/// What is wrong with the selector of a spec.
pub fn validate(selector: &LabelSelector, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        errors.extend(invalid(&path.child("matchLabels"), key, names::qualified_name));
        errors.extend(invalid(&path.child("matchLabels"), value, names::label_value));
    }
    for (i, one) in selector.match_expressions.iter().flatten().enumerate() {
        let expressions = path.child("matchExpressions");
        let path = expressions.index(i);
        let empty = one.values.as_deref().unwrap_or_default().is_empty();
        match one.operator.as_str() {
            "In" | "NotIn" if empty => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !empty => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            word => errors.push(FieldError::invalid(&path.child("operator"), word, "not a valid selector operator")),
        }
        errors.extend(invalid(&path.child("key"), &one.key, names::qualified_name));
    }
    errors
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
}

/// Signs, longest first; everything else between spaces is a word.
const SIGNS: [&str; 9] = ["!=", "==", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let ends = |c: char| c.is_whitespace() || "=!(),<>".contains(c);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            found.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    found
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        if self.tokens.is_empty() {
            return Ok(all);
        }
        loop {
            all.push(self.requirement()?);
            match self.next() {
                None => return Ok(all),
                Some(Token::Sign(",")) if self.peek().is_some() => {}
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", shown(other.as_ref()))),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Some(&Token::Sign("!"));
        if absent {
            self.next();
        }
        let key = match self.next() {
            Some(Token::Word(key)) => key,
            other => return Err(format!("found '{}', expected: identifier", shown(other.as_ref()))),
        };
        check(&key, "key", names::qualified_name)?;
        if absent {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        let operator = self.operator()?;
        Ok(Requirement { key, operator })
    }

    fn operator(&mut self) -> Result<Operator, String> {
        match self.peek().cloned() {
            None | Some(Token::Sign(",")) => return Ok(Operator::Exists),
            _ => self.at += 1,
        }
        match self.tokens[self.at - 1].clone() {
            Token::Sign("=" | "==") => Ok(Operator::In(vec![self.value()?])),
            Token::Sign("!=") => Ok(Operator::NotIn(vec![self.value()?])),
            Token::Sign(">") => Ok(Operator::GreaterThan(self.number()?)),
            Token::Sign("<") => Ok(Operator::LessThan(self.number()?)),
            Token::Word(word) if word == "in" => Ok(Operator::In(self.values()?)),
            Token::Word(word) if word == "notin" => Ok(Operator::NotIn(self.values()?)),
            other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", shown(Some(&other)))),
        }
    }

    /// A value may be empty: `a=` and `a=,b`.
    fn value(&mut self) -> Result<String, String> {
        match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                check(&word, "value", names::label_value)?;
                Ok(word)
            }
            None | Some(Token::Sign("," | ")")) => Ok(String::new()),
            other => Err(format!("found '{}', expected: identifier", shown(other.as_ref()))),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer: {value:?}"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Some(Token::Sign("(")) => {}
            other => return Err(format!("found '{}' expected: '('", shown(other.as_ref()))),
        }
        let mut all = vec![self.value()?];
        loop {
            match self.next() {
                Some(Token::Sign(",")) => all.push(self.value()?),
                Some(Token::Sign(")")) => return Ok(all),
                other => return Err(format!("found '{}', expected: ',', or ')'", shown(other.as_ref()))),
            }
        }
    }
}

fn check(word: &str, what: &str, of: names::Check) -> Result<(), String> {
    match of(word).first() {
        None => Ok(()),
        Some(sentence) => Err(format!("{what}: Invalid value: {}: {sentence}", remora_model::text::quoted(word))),
    }
}

fn shown(token: Option<&Token>) -> String {
    match token {
        None => String::new(),
        Some(Token::Word(word)) => word.clone(),
        Some(Token::Sign(sign)) => (*sign).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let labels = json!({"app": "web", "tier": "2", "empty": ""});
        for (text, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web,tier!=3", true),
            ("app != web", false),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("missing notin (a)", true),
            ("missing!=a", true),
            ("tier>1,tier<3", true),
            ("empty=", true),
            ("empty=,app=web", true),
            ("a.b/c", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
        assert!(Selector::parse("").unwrap().matches(&Value::Null));
    }

    #[test]
    fn what_is_no_selector_is_a_bad_request() {
        for text in ["a in (", "a in", "=b", "a=b,", "a=b c", "a b", "a=b=c", "a!b", "a>x", "a b/c/d", ",", "a in (b"] {
            assert_eq!(Selector::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn a_specs_selector_is_shown_as_text_that_selects_the_same() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "NotIn", "values": ["y", "x"]},
                {"key": "aa", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }))
        .unwrap();
        assert_eq!(text(&selector), "a=1,aa,b=2,c notin (x,y),!d");
        let labels = json!({"a": "1", "aa": "", "b": "2", "c": "z"});
        assert!(Selector::parse(&text(&selector)).unwrap().matches(&labels));
        assert_eq!(text(&LabelSelector::default()), "");
    }

    #[test]
    fn a_specs_selector_is_judged_and_selects() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}],
        }))
        .unwrap();
        assert!(validate(&selector, &Path::new("s")).is_empty());
        assert!(Selector::of(&selector).unwrap().matches(&json!({"app": "web", "tier": "1"})));
        let wrong: LabelSelector =
            serde_json::from_value(json!({"matchExpressions": [{"key": "a b", "operator": "In"}]})).unwrap();
        assert_eq!(validate(&wrong, &Path::new("s")).len(), 2);
    }
}
