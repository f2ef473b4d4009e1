//! Field selectors (`status.phase=Running,metadata.name!=a`): text, and which fields each kind knows. One table
//! (upstream: `AddFieldLabelConversionsFor…`, k8s.io/apimachinery `pkg/fields`).

use remora_model::text::quoted;
use remora_model::{Kind, Status};
use serde_json::Value;

use crate::object::at;
use crate::selector::Selectable;

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// Every kind can be selected by these.
const OF_ALL: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// By resource: what else it can be selected by.
const OF_KINDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    (
        "",
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (
        "events.k8s.io",
        "events",
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
    ),
    ("", "namespaces", &["status.phase"]),
    ("", "nodes", &["spec.unschedulable"]),
    ("", "secrets", &["type"]),
    ("", "services", &["spec.clusterIP", "spec.type"]),
];

/// How `events.k8s.io` calls what is stored under the names of core/v1.
const STORED_AS: [(&str, &str); 2] = [("regarding.", "involvedObject."), ("reportingController", "reportingComponent")];

fn is_known(kind: &Kind, field: &str) -> bool {
    let own = OF_KINDS.iter().filter(|(group, plural, _)| (*group, *plural) == (kind.group, kind.plural));
    OF_ALL.contains(&field) || own.into_iter().any(|(.., fields)| fields.contains(&field))
}

/// Kinds with fields of their own say it in other words than those without.
fn unknown(kind: &Kind, field: &str) -> String {
    let has_own = OF_KINDS.iter().any(|(group, plural, _)| (*group, *plural) == (kind.group, kind.plural));
    if has_own {
        return format!("field label not supported: {field}");
    }
    let known = OF_ALL.map(quoted).join(", ");
    format!("{} is not a known field selector: only {known}", quoted(field))
}

impl Selector {
    /// Reads the text form for a kind.
    ///
    /// # Errors
    /// 400 if it is none, or names a field that the kind cannot be selected by.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in split(text).filter(|part| !part.is_empty()) {
            let term = term(&part)
                .ok_or_else(|| Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            if !is_known(kind, &term.field) {
                return Err(Status::bad_request(unknown(kind, &term.field)));
            }
            terms.push(stored(term));
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name, if only one object can be meant: a list is then a get.
    pub fn single_name(&self) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == "metadata.name").map(|t| t.value.as_str())
    }

    /// The value that a field must have, if one is demanded.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether it selects a stored object (events in their core/v1 form).
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }

    /// The same by what is kept of it.
    pub fn matches_kept(&self, of: &Selectable) -> bool {
        self.terms.iter().all(|term| (of.field(&term.field) == term.value) == term.equal)
    }
}

/// The fields that a stored object (`kind` is the one it is stored as) can be selected by, with what they hold.
pub(super) fn all(kind: &Kind, object: &Value) -> Vec<(&'static str, Box<str>)> {
    let own = OF_KINDS.iter().filter(|(group, plural, _)| (*group, *plural) == (kind.group, kind.plural));
    let fields = own.flat_map(|(.., fields)| fields.iter()).chain(&OF_ALL);
    let held = fields.map(|field| (*field, value_of(object, field))).filter(|(_, value)| !value.is_empty());
    held.map(|(field, value)| (field, value.into())).collect()
}

fn stored(mut term: Term) -> Term {
    for (shown, stored) in STORED_AS {
        if let Some(rest) = term.field.strip_prefix(shown) {
            term.field = format!("{stored}{rest}");
            break;
        }
    }
    term
}

fn value_of(object: &Value, field: &str) -> String {
    let path: Vec<&str> = field.split('.').collect();
    match (at(object, &path), field) {
        (_, "source") => {
            // As upstream: the component of the old source, else the reporting one.
            let words = [&["source", "component"][..], &["reportingComponent"]];
            words.iter().map(|p| crate::object::text(object, p)).find(|w| !w.is_empty()).unwrap_or_default().to_owned()
        }
        (Value::String(text), _) => text.clone(),
        (Value::Bool(set), _) => set.to_string(),
        (Value::Array(items), _) => {
            let ips: Vec<&str> = items.iter().filter_map(|i| i.get("ip").and_then(Value::as_str)).collect();
            ips.join(",")
        }
        (_, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        _ => String::new(),
    }
}

/// At commas that no backslash escapes.
fn split(text: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts.into_iter()
}

fn term(part: &str) -> Option<Term> {
    let at = part.find(['=', '!'])?;
    let (field, rest) = part.split_at(at);
    let (value, equal) = match rest {
        r if r.starts_with("!=") => (&r[2..], false),
        r if r.starts_with("==") => (&r[2..], true),
        r if r.starts_with('=') => (&r[1..], true),
        _ => return None,
    };
    Some(Term { field: field.to_owned(), value: unescape(value)?, equal })
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            '=' | ',' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::{by_resource, core};
    use serde_json::json;

    #[test]
    fn fields_select() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("", true),
            ("metadata.name=p", true),
            ("spec.nodeName==a,status.phase!=Failed", true),
            ("spec.nodeName=", false),
            ("status.podIP=", true),
            ("spec.hostNetwork=false", true),
            ("metadata.name=a\\,b", false),
        ] {
            assert_eq!(Selector::parse(core("pods"), text).unwrap().matches(&pod), expected, "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_named() {
        let status = Selector::parse(core("pods"), "spec.wibble=1").unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, "field label not supported: spec.wibble"));
        assert_eq!(Selector::parse(core("pods"), "x").unwrap_err().code, 400);
        assert_eq!(
            Selector::parse(core("configmaps"), "data.a=1").unwrap_err().message,
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    #[test]
    fn both_views_of_events_select_what_is_stored() {
        let event = json!({"involvedObject": {"name": "p"}, "source": {"component": "kubelet"}, "reportingComponent": "kubelet"});
        let new = by_resource("events.k8s.io", "v1", "events").unwrap();
        assert!(Selector::parse(new, "regarding.name=p,reportingController=kubelet").unwrap().matches(&event));
        assert!(Selector::parse(core("events"), "involvedObject.name=p,source=kubelet").unwrap().matches(&event));
        assert!(Selector::parse(core("events"), "regarding.name=p").is_err());
    }
}
