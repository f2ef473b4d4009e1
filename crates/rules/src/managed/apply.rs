//! Server-side apply (KEP-555): an object as its manager wants it is merged over the live one. Fields that others manage conflict if they
//! would change, unless it is forced; what the manager applied before and applies no longer goes, unless somebody else has it too.

use remora_model::status::Cause;
use remora_model::{Kind, Status};
use serde_json::Value;

use super::entries::{Entries, Manager, Operation};
use super::set::Set;
use super::typed::{self, Form, compare, fields_of, merge, with_fields, without};
use super::update::{BEFORE_FIRST_APPLY, changes, leave, take};
use super::{Writer, form_of, nothing_yet, put_managers, shown, strip, take_managers};
use crate::kinds::event;
use crate::object::{at, field_mut, set, text};

/// Where `kubectl apply` without `--server-side` keeps what it has last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that this annotation belongs to.
const KUBECTL: &str = "kubectl";
/// Of all annotations, in bytes.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Over what an object is applied, and how.
#[derive(Clone, Copy, Debug)]
pub struct Onto<'o> {
    /// The stored object; none if there is none yet.
    pub live: Option<&'o Value>,
    /// Whether fields are taken from others.
    pub force: bool,
}

/// The object that comes of it, as its kind shows it, with its managers; still to be brought into form and defaulted.
///
/// # Errors
/// 400 for another version or with managers of its own, 409 for conflicts, 500 (as upstream) for what its type does not have.
pub fn apply(writer: &Writer<'_>, onto: Onto<'_>, config: &Value) -> Result<Value, Status> {
    check(writer.kind, config)?;
    let before = onto.live.cloned().unwrap_or_else(|| nothing_yet(writer.kind));
    let mut entries = Entries::of(&before);
    if onto.live.is_some() && entries.is_empty() {
        let before_first = Writer { name: BEFORE_FIRST_APPLY, ..*writer };
        take(&before_first, &nothing_yet(writer.kind), &before, &mut entries);
    }
    entries.reconcile(form_of(writer.kind), &writer.kind.api_version());
    let mut live = before;
    drop(take_managers(&mut live));
    let applied = Applied::new(writer, &live, config, &entries);
    let conflicts = applied.conflicts(&entries);
    let allowed = if writer.name == KUBECTL { left_by_client_side(writer.kind, &live) } else { Set::default() };
    if !onto.force {
        refuse(conflicts, &allowed)?;
    }
    applied.finish(entries)
}

/// An object merged and pruned, on its way.
struct Applied<'w> {
    writer: &'w Writer<'w>,
    live: &'w Value,
    config: &'w Value,
    manager: Manager,
    fields: Set,
    /// As its kind shows it.
    object: Value,
}

impl<'w> Applied<'w> {
    fn new(writer: &'w Writer<'w>, live: &'w Value, config: &'w Value, entries: &Entries) -> Self {
        let form = form_of(writer.kind);
        let manager = writer.manager(Operation::Apply);
        let mut fields = fields_of(form, config);
        writer.resets.apply(&mut fields);
        let merged = merge(form, &shown(writer.kind, live), config);
        let object = match entries.find(&manager) {
            None => merged,
            Some(last) => {
                let mut managed = fields.clone();
                entries.iter().filter(|e| !e.manager.is(&manager)).for_each(|e| managed.unite(&e.fields()));
                prune(form, merged, &last.fields(), &managed)
            }
        };
        Self { writer, live, config, manager, fields, object }
    }

    fn stored(&self) -> Value {
        event::to_stored(self.writer.kind, self.object.clone())
    }

    /// What others manage and would change, by manager.
    fn conflicts(&self, entries: &Entries) -> Vec<(Manager, Set)> {
        let changes = changes(self.writer, self.live, &self.stored());
        let mut changed = changes.modified;
        changed.unite(&changes.added);
        let version = self.writer.kind.api_version();
        let others = entries.iter().filter(|e| !e.manager.is(&self.manager) && e.manager.api_version == version);
        let both = others.map(|entry| (entry.manager.clone(), entry.fields().intersection(&changed)));
        let mut found: Vec<(Manager, Set)> = both.filter(|(_, set)| !set.is_empty()).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    fn finish(mut self, mut entries: Entries) -> Result<Value, Status> {
        let new = self.stored();
        leave(self.writer, self.live, &new, &mut entries, |entry| !entry.manager.is(&self.manager));
        strip(&mut self.fields);
        entries.put(self.manager, self.fields, self.writer.time());
        entries.cap();
        let mut object = self.object;
        if self.writer.name == KUBECTL && !last_applied(self.live).is_empty() {
            set_last_applied(&mut object, self.config);
        }
        put_managers(&mut object, entries);
        Ok(object)
    }
}

fn check(kind: &Kind, config: &Value) -> Result<(), Status> {
    let (version, given) = (text(config, &["apiVersion"]), text(config, &["kind"]));
    if version != kind.api_version() || given != kind.kind {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={given}")));
    }
    if !at(config, &["metadata", "managedFields"]).is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut wrong = Vec::new();
    typed::check(form_of(kind), "", config, &mut wrong);
    let why = match wrong.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        several => format!("errors:\n  {}", several.join("\n  ")),
    };
    let [namespace, name] = ["namespace", "name"].map(|field| text(config, &["metadata", field]));
    let of = format!("{namespace}/{name}; {}/{}, Kind={}", kind.group, kind.version, kind.kind);
    Err(Status::unknown(format!("failed to create typed patch object ({of}): {why}")))
}

/// The merged object without what its manager applied last and applies no longer. `managed` is what anybody manages now; what goes takes
/// with it what is below it, but for what its manager never had.
fn prune(form: Form<'_>, merged: Value, last: &Set, managed: &Set) -> Value {
    let all_fields = |value: &Value| with_fields(form, &fields_of(form, value));
    let rest = |gone: &Set| without(form, &merged, gone).unwrap_or_else(|| Value::Object(Default::default()));
    let last = with_fields(form, last);
    let before = all_fields(&merged);
    let mut gone = before.clone();
    gone.subtract(&all_fields(&rest(&last)));
    gone.subtract(&with_fields(form, managed));
    let mut gone_for_good = before;
    gone_for_good.subtract(&all_fields(&rest(&gone)));
    rest(&gone_for_good.intersection(&last))
}

/// What client-side apply has last applied and nobody has changed since: server-side apply by kubectl may take it over.
fn left_by_client_side(kind: &Kind, live: &Value) -> Set {
    let Ok(last) = serde_json::from_str::<Value>(last_applied(live)) else { return Set::default() };
    let form = form_of(kind);
    let changes = compare(form, Some(&last), Some(&shown(kind, live)));
    let mut fields = fields_of(form, &last);
    [&changes.modified, &changes.added, &changes.removed].iter().for_each(|set| fields.subtract(set));
    fields
}

fn last_applied(object: &Value) -> &str {
    text(object, &["metadata", "annotations", LAST_APPLIED])
}

/// Keeps what client-side apply would compare with in step.
fn set_last_applied(object: &mut Value, config: &Value) {
    let mut kept = config.clone();
    if let Some(annotations) = kept.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let annotations = field_mut(field_mut(object, "metadata"), "annotations");
    set(annotations, LAST_APPLIED, format!("{kept}\n").into());
    let size: usize =
        annotations.as_object().into_iter().flatten().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        set(annotations, LAST_APPLIED, Value::Null);
    }
}

/// 409 that names every field and its manager, if any conflict is not allowed.
fn refuse(conflicts: Vec<(Manager, Set)>, allowed: &Set) -> Result<(), Status> {
    let mut left = Vec::new();
    for (manager, mut fields) in conflicts {
        fields.subtract(allowed);
        if !fields.is_empty() {
            left.push((manager.shown(), fields.paths()));
        }
    }
    let count: usize = left.iter().map(|(_, paths)| paths.len()).sum();
    let message = match (count, left.as_slice()) {
        (0, _) => return Ok(()),
        (1, [(manager, paths)]) => format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat()),
        (count, left) => {
            let lines = left.iter().flat_map(|(manager, paths)| {
                std::iter::once(format!("conflicts with {manager}:"))
                    .chain(paths.iter().map(|path| format!("- {path}")))
            });
            format!("Apply failed with {count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
        }
    };
    let causes = left.iter().flat_map(|(manager, paths)| {
        paths.iter().map(move |path| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
    });
    Err(Status::apply_conflict(message, causes.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managed::{Resets, update};
    use remora_model::kinds::core;
    use serde_json::json;

    fn writer<'w>(name: &'w str, second: u8) -> Writer<'w> {
        Writer {
            kind: core("pods"),
            subresource: "",
            resets: Resets(&[&["status"]]),
            name,
            now: format!("2026-01-02T03:04:{second:02}Z").parse().unwrap(),
        }
    }

    fn config(labels: Value, containers: Value) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}})
    }

    fn applied(name: &str, live: Option<&Value>, config: &Value) -> Result<Value, Status> {
        apply(&writer(name, 5), Onto { live, force: false }, config)
    }

    fn forced(name: &str, live: &Value, config: &Value) -> Value {
        apply(&writer(name, 6), Onto { live: Some(live), force: true }, config).unwrap()
    }

    /// What a manager has.
    fn has(object: &Value, name: &str) -> Vec<String> {
        let entries = Entries::of(object);
        entries.iter().find(|e| e.manager.name == name).map(|e| e.fields().paths()).unwrap_or_default()
    }

    #[test]
    fn whoever_applies_has_what_it_applied_and_loses_what_it_no_longer_does() {
        let first =
            applied("a", None, &config(json!({"x": "1", "y": "1"}), json!([{"name": "c", "image": "i"}]))).unwrap();
        let expected = [
            ".metadata.labels.x",
            ".metadata.labels.y",
            r#".spec.containers[name="c"]"#,
            r#".spec.containers[name="c"].image"#,
            r#".spec.containers[name="c"].name"#,
        ];
        assert_eq!(has(&first, "a"), expected);
        let mut live = first;
        live["metadata"]["labels"]["z"] = "by nobody".into();
        live["spec"]["containers"][0]["tty"] = true.into();
        let second = applied("a", Some(&live), &config(json!({"x": "2"}), json!([{"name": "d"}]))).unwrap();
        assert_eq!(second["metadata"]["labels"], json!({"x": "2", "z": "by nobody"}));
        assert_eq!(second["spec"]["containers"], json!([{"name": "d"}]), "an item goes with all that is in it");
    }

    #[test]
    fn what_another_has_too_stays_and_equal_values_are_shared() {
        let first = applied("a", None, &config(json!({"x": "1"}), json!([{"name": "c", "image": "i"}]))).unwrap();
        let shared = applied("b", Some(&first), &config(json!({"x": "1"}), json!([{"name": "c"}]))).unwrap();
        let left = applied("a", Some(&shared), &config(json!({}), json!([]))).unwrap();
        assert_eq!(left["metadata"]["labels"], json!({"x": "1"}));
        assert_eq!(left["spec"]["containers"], json!([{"name": "c"}]));
        assert_eq!(
            has(&left, "b"),
            [".metadata.labels.x", r#".spec.containers[name="c"]"#, r#".spec.containers[name="c"].name"#]
        );
    }

    #[test]
    fn conflicts_name_fields_and_managers_in_upstreams_words() {
        let mut live = applied("a", None, &config(json!({"x": "1", "y": "1"}), json!([]))).unwrap();
        live["metadata"]["uid"] = "u".into();
        let one = applied("b", Some(&live), &config(json!({"x": "2"}), json!([]))).unwrap_err();
        assert_eq!(one.message, "Apply failed with 1 conflict: conflict with \"a\": .metadata.labels.x");
        assert_eq!((one.code, one.reason.as_str()), (409, "Conflict"));
        let mut changed = live.clone();
        changed["metadata"]["labels"]["z"] = "1".into();
        changed["spec"]["nodeName"] = "n".into();
        update::update(&writer("c", 6), &live, &mut changed);
        let all = json!({"x": "2", "y": "2", "z": "2"});
        let three = applied("b", Some(&changed), &config(all.clone(), json!([]))).unwrap_err();
        let expected = "Apply failed with 3 conflicts: conflicts with \"a\":\n- .metadata.labels.x\n- .metadata.labels.y\n\
                        conflicts with \"c\" using v1:\n- .metadata.labels.z";
        assert_eq!(three.message, expected);
        let causes = three.details.unwrap().causes;
        assert_eq!((causes.len(), causes[2].field.as_str()), (3, ".metadata.labels.z"));
        assert_eq!(causes[2].message, "conflict with \"c\" using v1");
        let taken = forced("b", &changed, &config(all.clone(), json!([])));
        assert_eq!((has(&taken, "a").len(), has(&taken, "b").len()), (0, 3));
        assert_eq!(has(&taken, "c"), [".spec.nodeName"]);
        assert_eq!(taken["metadata"]["labels"], all);
    }

    #[test]
    fn what_was_there_before_the_first_apply_has_a_manager_of_that_name() {
        let mut live = config(json!({"x": "1"}), json!(null));
        live["metadata"]["uid"] = "u".into();
        let refused = applied("a", Some(&live), &config(json!({"x": "2"}), json!([]))).unwrap_err();
        let expected =
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .metadata.labels.x";
        assert_eq!(refused.message, expected);
        let applied = applied("a", Some(&live), &config(json!({"y": "1"}), json!([]))).unwrap();
        assert_eq!(has(&applied, "before-first-apply"), [".metadata.labels", ".metadata.labels.x"]);
    }

    #[test]
    fn kubectl_takes_over_what_it_applied_client_side_and_keeps_the_annotation_in_step() {
        let mut live = config(json!({"x": "1", "y": "1"}), json!([]));
        live["metadata"]["annotations"] = json!({ LAST_APPLIED: live.to_string() });
        update::create(&writer("kubectl-client-side-apply", 1), &mut live);
        live["metadata"]["uid"] = "u".into();
        let wanted = config(json!({"x": "2", "y": "1"}), json!([]));
        let taken = applied("kubectl", Some(&live), &wanted).unwrap();
        assert_eq!(taken["metadata"]["labels"]["x"], "2");
        assert_eq!(taken["metadata"]["annotations"][LAST_APPLIED], format!("{wanted}\n"));
        let mut changed = live.clone();
        changed["metadata"]["labels"]["x"] = "3".into();
        let refused = applied("kubectl", Some(&changed), &wanted).unwrap_err();
        assert!(refused.message.ends_with("using v1: .metadata.labels.x"), "{}", refused.message);
        assert_eq!(applied("other", Some(&live), &wanted).unwrap_err().code, 409);
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        for (wrong, code, message) in [
            (json!({"apiVersion": "v2", "kind": "Pod"}), 400, "invalid object type: /v2, Kind=Pod"),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"managedFields": []}}),
                400,
                "metadata.managedFields must be nil",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {"foo": 1}}),
                500,
                "failed to create typed patch object (n/p; /v1, Kind=Pod): .spec.foo: field not declared in schema",
            ),
            (
                config(json!({}), json!([{"name": "a"}, {"name": "a", "tty": "x"}])),
                500,
                "failed to create typed patch object (/p; /v1, Kind=Pod): errors:\n  .spec.containers[name=\"a\"].tty: expected boolean, got &{x}\n  \
                 .spec.containers: duplicate entries for key [name=\"a\"]",
            ),
        ] {
            let status = applied("a", None, &wrong).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
    }

    #[test]
    fn items_stand_in_the_applied_order_and_others_where_they_stood() {
        let names = |list: &[&str]| -> Value { list.iter().map(|name| json!({"name": name})).collect() };
        for (live, wanted, expected) in [
            (&["a", "b", "c"][..], &["c", "a"][..], &["b", "c", "a"][..]),
            (&["a", "b"], &["n", "a"], &["n", "a", "b"]),
            (&["a", "b", "c"], &["a", "n", "c"], &["a", "b", "n", "c"]),
            (&["x", "y"], &["n"], &["x", "y", "n"]),
            (&[], &["b", "a"], &["b", "a"]),
        ] {
            let merged =
                merge(form_of(core("pods")), &config(json!({}), names(live)), &config(json!({}), names(wanted)));
            assert_eq!(merged["spec"]["containers"], names(expected), "{live:?} {wanted:?}");
        }
    }
}
