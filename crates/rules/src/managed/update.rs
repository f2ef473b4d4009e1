//! What a create, an update or a patch takes: whoever changes a field manages it from then on, and nobody else does.

use serde_json::Value;

use super::entries::{Entries, Entry, Operation};
use super::typed::{Comparison, compare};
use super::{Writer, form_of, nothing_yet, put_managers, shown, strip, take_managers};
use crate::object::{at, text};

/// Whose everything is that was there before somebody applied to an object without managers.
pub(super) const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Notes in a new object, decoded and defaulted, who manages what after it is written over `old`.
pub fn update(writer: &Writer<'_>, old: &Value, new: &mut Value) {
    let sent = take_managers(new);
    let mut entries = match (writer.subresource, sent) {
        // Through a part of an object nobody writes its managers.
        (_, None) => Entries::of(old),
        ("", Some(sent)) if sent != *at(old, &["metadata", "managedFields"]) => {
            let mut entries = Entries::sent(sent, old);
            entries.reconcile(form_of(writer.kind), &writer.kind.api_version());
            entries
        }
        ("", Some(sent)) => Entries::sent(sent, old),
        (_, Some(sent)) if sent == *at(old, &["metadata", "managedFields"]) => Entries::sent(sent, old),
        (_, Some(_)) => Entries::of(old),
    };
    let is_untracked = entries.is_empty() && !text(old, &["metadata", "uid"]).is_empty();
    if is_untracked {
        return;
    }
    take(writer, old, new, &mut entries);
    entries.cap();
    put_managers(new, entries);
}

/// The managers of a new object.
pub fn create(writer: &Writer<'_>, new: &mut Value) {
    update(writer, &nothing_yet(writer.kind), new);
}

/// Gives the writer all that differs.
pub(super) fn take(writer: &Writer<'_>, old: &Value, new: &Value, entries: &mut Entries) {
    let changes = leave(writer, old, new, entries, |_| true);
    let mut taken = changes.added;
    taken.unite(&changes.modified);
    strip(&mut taken);
    if !taken.is_empty() {
        entries.add(writer.manager(Operation::Update), taken, writer.time());
    }
}

/// Takes from all managers that are `meant` what differs, and gives it. Fields in another version are nobody's from then on.
pub(super) fn leave(
    writer: &Writer<'_>,
    old: &Value,
    new: &Value,
    entries: &mut Entries,
    meant: impl Fn(&Entry) -> bool,
) -> Comparison {
    let changes = changes(writer, old, new);
    if changes.is_empty() {
        return changes;
    }
    let version = writer.kind.api_version();
    for entry in entries.iter_mut().filter(|entry| meant(entry)) {
        for set in [&changes.added, &changes.modified, &changes.removed] {
            entry.lose(set);
        }
    }
    entries.retain(|entry| !meant(entry) || entry.manager.api_version == version);
    changes
}

/// What differs that the writer can change.
pub(super) fn changes(writer: &Writer<'_>, old: &Value, new: &Value) -> Comparison {
    let kind = writer.kind;
    let mut changes = compare(form_of(kind), Some(&shown(kind, old)), Some(&shown(kind, new)));
    changes.each(|set| {
        writer.resets.apply(set);
        set.cut(&["metadata", "managedFields"]);
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managed::Resets;
    use remora_model::kinds::core;
    use serde_json::json;

    fn writer(name: &str) -> Writer<'_> {
        Writer {
            kind: core("pods"),
            subresource: "",
            resets: Resets(&[&["status"]]),
            name,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    fn pod() -> Value {
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}], "securityContext": {}},
            "status": {},
        })
    }

    #[test]
    fn who_creates_manages_what_it_sets_as_kubernetes_writes_it() {
        let mut new = pod();
        create(&writer("kubectl-run"), &mut new);
        let expected = json!([{
            "manager": "kubectl-run", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    }},
                    "f:securityContext": {},
                },
            },
        }]);
        assert_eq!(new["metadata"]["managedFields"], expected);
    }

    fn managers(object: &Value) -> Vec<(String, Vec<String>)> {
        let entries = Entries::of(object);
        entries.iter().map(|e| (e.manager.name.clone(), e.fields().paths())).collect()
    }

    #[test]
    fn who_changes_a_field_takes_it_from_who_had_it() {
        let mut old = pod();
        create(&writer("a"), &mut old);
        old["metadata"]["uid"] = "u".into();
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "c", "d": "e"});
        update(&writer("b"), &old, &mut new);
        let found = managers(&new);
        assert_eq!(found[1], ("b".to_owned(), vec![".metadata.labels.a".to_owned(), ".metadata.labels.d".to_owned()]));
        assert!(
            !found[0].1.contains(&".metadata.labels.a".to_owned())
                && found[0].1.contains(&".metadata.labels".to_owned())
        );
        let mut gone = new.clone();
        gone["metadata"].as_object_mut().unwrap().remove("labels");
        update(&writer("c"), &new, &mut gone);
        assert_eq!(managers(&gone).len(), 1, "who removes fields manages nothing, nor does who had them");
    }

    #[test]
    fn an_object_without_managers_stays_so_until_somebody_applies() {
        let mut old = pod();
        old["metadata"]["uid"] = "u".into();
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({});
        update(&writer("b"), &old, &mut new);
        assert_eq!(new["metadata"].get("managedFields"), None);
        let mut reset = pod();
        reset["metadata"]["managedFields"] = json!([{}]);
        create(&writer("a"), &mut old);
        update(&writer("b"), &old, &mut reset);
        assert_eq!(reset["metadata"].get("managedFields"), None);
    }

    #[test]
    fn through_a_part_only_that_part_is_taken() {
        let mut old = pod();
        create(&writer("a"), &mut old);
        old["metadata"]["uid"] = "u".into();
        let mut new = old.clone();
        new["status"] = json!({"phase": "Running"});
        new["spec"]["nodeName"] = "n".into();
        new["metadata"]["managedFields"] = json!([{}]);
        let status = Writer { subresource: "status", resets: Resets(&[&["spec"]]), ..writer("kubelet") };
        update(&status, &old, &mut new);
        let last = new["metadata"]["managedFields"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (&last["subresource"], &last["fieldsV1"]),
            (&json!("status"), &json!({"f:status": {"f:phase": {}}}))
        );
        let debug = Writer { subresource: "ephemeralcontainers", ..writer("d") };
        let mut added = old.clone();
        added["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
        update(&debug, &old, &mut added);
        let last = added["metadata"]["managedFields"].as_array().unwrap().last().unwrap().clone();
        let fields =
            json!({"f:spec": {"f:ephemeralContainers": {".": {}, "k:{\"name\":\"d\"}": {".": {}, "f:name": {}}}}});
        assert_eq!(last["fieldsV1"], fields);
    }
}
