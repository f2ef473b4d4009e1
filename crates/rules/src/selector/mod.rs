//! Selectors of lists and watches: by labels and by fields.

pub mod fields;
pub mod labels;

use remora_model::Kind;
use serde_json::Value;

use crate::object::at;

/// What label and field selectors look at of a stored object, and nothing else: small enough to be kept beside an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectable {
    labels: Vec<(Box<str>, Box<str>)>,
    /// Those that are not empty.
    fields: Vec<(&'static str, Box<str>)>,
}

impl Selectable {
    /// Of an object; `kind` is the one that it is stored as.
    pub fn of(kind: &Kind, object: &Value) -> Self {
        let labels = at(object, &["metadata", "labels"]).as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into()))).collect();
        Self { labels, fields: fields::all(kind, object) }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }

    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::core;
    use serde_json::json;

    #[test]
    fn what_is_kept_selects_as_the_object_does() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {"nodeName": "anchor", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        });
        let kept = Selectable::of(core("pods"), &pod);
        for (text, expected) in [
            ("", true),
            ("metadata.name=p,metadata.namespace=n", true),
            ("spec.nodeName=anchor,status.phase!=Failed", true),
            ("spec.nodeName=", false),
            ("spec.schedulerName=", true),
            ("spec.hostNetwork=false", true),
            ("status.podIPs=10.0.0.1\\,fd00::1", true),
        ] {
            let selector = fields::Selector::parse(core("pods"), text).unwrap();
            assert_eq!((selector.matches(&pod), selector.matches_kept(&kept)), (expected, expected), "{text}");
        }
        for (text, expected) in [("a=b", true), ("a!=b", false), ("a,!c", true), ("c in (d)", false)] {
            let selector = labels::Selector::parse(text).unwrap();
            let by_object = selector.matches(&pod["metadata"]["labels"]);
            assert_eq!((by_object, selector.matches_kept(&kept)), (expected, expected), "{text}");
        }
    }

    #[test]
    fn the_source_of_an_event_is_kept_as_it_is_selected() {
        let event = json!({"source": {"component": "kubelet"}, "reportingComponent": "other"});
        let kept = Selectable::of(core("events"), &event);
        assert!(
            fields::Selector::parse(core("events"), "source=kubelet,reportingComponent=other")
                .unwrap()
                .matches_kept(&kept)
        );
    }
}
