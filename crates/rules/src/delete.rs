//! What a DELETE does to an object: at once, gracefully, or when its finalizers are done (upstream: k8s.io/apiserver
//! `pkg/registry/rest/delete.go`, `pkg/registry/generic/registry/store.go`). How long a pod gets is in
//! [`crate::pod::deletion`]. Called by the API server's DELETE and after every write.

use jiff::{SignedDuration, Timestamp};
use remora_model::status::Qualified;
use remora_model::{FieldError, Kind, Path, Status};
use serde_json::Value;

use crate::pod::deletion as pod;
use crate::time;

/// Waits until dependents have lost this owner.
const ORPHAN: &str = "orphan";
/// Waits until dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
const POLICIES: [&str; 4] = ["Foreground", "Background", "Orphan", "nil"];

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds.
    pub grace: Option<i64>,
    /// The uid that is meant.
    pub uid: Option<String>,
    /// The resourceVersion that is meant.
    pub version: Option<String>,
    /// What becomes of dependents.
    pub propagation: Option<String>,
    /// The old form of the same.
    pub orphan: Option<bool>,
    /// Do everything but delete.
    pub dry_run: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// Remove it.
    Now,
    /// Store this: it is marked, and goes when others have done their part.
    Mark(Value),
    /// It is marked already.
    Pending,
}

impl DeleteOptions {
    /// From a body in canonical form.
    ///
    /// # Errors
    /// 422 for what is not known.
    pub fn from_body(body: &Value) -> Result<Self, Status> {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let dry_run = body.get("dryRun").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if let Some(word) = dry_run.iter().find(|word| *word != "All") {
            let error = FieldError::not_supported(&Path::new("dryRun"), word.clone(), &["All"]);
            return Err(refused(error));
        }
        let options = Self {
            grace: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text("/preconditions/uid"),
            version: text("/preconditions/resourceVersion"),
            propagation: text("/propagationPolicy"),
            orphan: body.get("orphanDependents").and_then(Value::as_bool),
            dry_run: !dry_run.is_empty(),
        };
        options.check()?;
        Ok(options)
    }

    /// Checks options that were read from elsewhere, a query.
    ///
    /// # Errors
    /// 422 for what is not known.
    pub fn check(&self) -> Result<(), Status> {
        let at = Path::new("propagationPolicy");
        let error = match (&self.propagation, self.orphan) {
            (Some(_), Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                FieldError::invalid(&at, self.propagation.clone().unwrap_or_default(), why)
            }
            (Some(word), None) if !POLICIES[..3].contains(&word.as_str()) => {
                FieldError::not_supported(&at, word.as_str(), &POLICIES)
            }
            _ => return Ok(()),
        };
        Err(refused(error))
    }

    /// The finalizers that the wish about dependents leaves on the object.
    fn finalizers(&self, old: &Value) -> Vec<Value> {
        let before = old.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted = match (self.propagation.as_deref(), self.orphan) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
            (Some("Foreground"), _) => Some(FOREGROUND),
            (Some(_), _) | (None, Some(false)) => None,
            (None, None) => return before,
        };
        let others = before.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND);
        others.chain(wanted.map(Value::from)).collect()
    }

    /// Whether the object at this version is the one that is meant.
    ///
    /// # Errors
    /// 409 if another uid or version is.
    pub fn check_preconditions(&self, kind: &Kind, old: &Value, version: &str) -> Result<(), Status> {
        let text = |path: &str| old.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let refuse = |what: &str, wanted: &str, is: &str, end: &str| {
            let why =
                format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). {end}");
            // Upstream names the kind here, not the resource.
            Err(Status::conflict(Qualified::new(kind.group, kind.kind), text("/metadata/name"), &why))
        };
        if let Some(wanted) = self.uid.as_deref().filter(|uid| *uid != text("/metadata/uid")) {
            let end = "The object might have been deleted and then recreated";
            return refuse("UID", wanted, text("/metadata/uid"), end);
        }
        if let Some(wanted) = self.version.as_deref().filter(|wanted| *wanted != version) {
            return refuse("ResourceVersion", wanted, version, "The object might have been modified");
        }
        Ok(())
    }
}

fn refused(error: FieldError) -> Status {
    Status::invalid(Qualified::new("meta.k8s.io", "DeleteOptions"), "", &[error])
}

/// What a DELETE does to the stored object, whose resourceVersion is `version`.
///
/// # Errors
/// 409 if another object is meant.
pub fn decide(
    kind: &Kind,
    old: &Value,
    version: &str,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Deletion, Status> {
    options.check_preconditions(kind, old, version)?;
    let mut new = old.clone();
    let finalizers = options.finalizers(old);
    set_finalizers(&mut new, &finalizers);
    let grace = match (kind.group, kind.plural) {
        ("", "pods") => pod_grace(old, options.grace),
        ("", "namespaces") => return Ok(namespace(old, new, finalizers.is_empty(), now)),
        _ => Some(0),
    };
    let Some(grace) = grace else { return Ok(changed(old, new)) };
    if grace == 0 && finalizers.is_empty() {
        return Ok(Deletion::Now);
    }
    mark(&mut new, old, grace, now);
    Ok(changed(old, new))
}

fn changed(old: &Value, new: Value) -> Deletion {
    if *old == new { Deletion::Pending } else { Deletion::Mark(new) }
}

/// The seconds that a pod gets from now on; none if it is ending already and no sooner end is wanted.
fn pod_grace(old: &Value, asked: Option<i64>) -> Option<i64> {
    let is_marked = old.pointer("/metadata/deletionTimestamp").is_some();
    let before = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    if is_marked && before > 0 {
        let grace = pod::grace_period(old, Some(asked?));
        return (grace < before).then_some(grace);
    }
    Some(pod::grace_period(old, asked))
}

/// A namespace goes when its content is gone: its own finalizers (`spec.finalizers`) see to that.
fn namespace(old: &Value, mut new: Value, has_no_finalizers: bool, now: Timestamp) -> Deletion {
    let spec = old.pointer("/spec/finalizers").and_then(Value::as_array);
    if has_no_finalizers && spec.is_none_or(Vec::is_empty) {
        return Deletion::Now;
    }
    if old.pointer("/metadata/deletionTimestamp").is_none() {
        new["metadata"]["deletionTimestamp"] = time::seconds(now).into();
        new["status"]["phase"] = "Terminating".into();
    }
    changed(old, new)
}

fn set_finalizers(object: &mut Value, finalizers: &[Value]) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
}

/// Sets when the object is to end. A sooner end counts from when the first one was asked for.
fn mark(new: &mut Value, old: &Value, grace: i64, now: Timestamp) {
    let text = |path: &str| old.pointer(path).and_then(Value::as_str);
    let before = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    let marked = text("/metadata/deletionTimestamp").and_then(time::parse);
    let asked = marked.and_then(|end| end.checked_sub(SignedDuration::from_secs(before)).ok());
    let start = asked.unwrap_or(now);
    let end = start.checked_add(SignedDuration::from_secs(grace)).unwrap_or(start);
    let metadata = &mut new["metadata"];
    metadata["deletionTimestamp"] = time::seconds(end).into();
    metadata["deletionGracePeriodSeconds"] = grace.into();
    let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    if marked.is_none() && generation > 0 {
        metadata["generation"] = (generation + 1).into();
    }
}

/// Whether a write has taken the last thing that held a marked object: then it is removed instead.
pub fn is_released(kind: &Kind, new: &Value) -> bool {
    let is_marked = new.pointer("/metadata/deletionTimestamp").is_some();
    let grace = new.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    let is_empty = |path: &str| new.pointer(path).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let holds_content = kind.plural == "namespaces" && !is_empty("/spec/finalizers");
    is_marked && grace == 0 && is_empty("/metadata/finalizers") && !holds_content
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::core;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn pod(metadata: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "uid": "u", "generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        for (name, value) in metadata.as_object().unwrap() {
            pod["metadata"][name] = value.clone();
        }
        pod
    }

    fn check(old: &Value, options: &DeleteOptions, expected: Option<(&str, i64, i64)>) {
        match (decide(core("pods"), old, "7", options, now()).unwrap(), expected) {
            (Deletion::Now, None) => {}
            (Deletion::Mark(new), Some((end, grace, generation))) => {
                let metadata = &new["metadata"];
                assert_eq!(metadata["deletionTimestamp"], end);
                assert_eq!(metadata["deletionGracePeriodSeconds"], grace);
                assert_eq!(metadata["generation"], generation);
            }
            (got, expected) => panic!("expected {expected:?}, got {got:?}"),
        }
    }

    #[test]
    fn a_pod_ends_gracefully_sooner_or_at_once() {
        let ask = |grace| DeleteOptions { grace, ..DeleteOptions::default() };
        check(&pod(json!({})), &ask(None), Some(("2026-01-02T03:04:35Z", 30, 2)));
        check(&pod(json!({})), &ask(Some(5)), Some(("2026-01-02T03:04:10Z", 5, 2)));
        check(&pod(json!({})), &ask(Some(0)), None);
        let marked = pod(json!({"deletionTimestamp": "2026-01-02T03:04:30Z", "deletionGracePeriodSeconds": 30}));
        check(&marked, &ask(Some(10)), Some(("2026-01-02T03:04:10Z", 10, 1)));
        check(&marked, &ask(Some(0)), None);
        for longer in [None, Some(30), Some(60)] {
            assert_eq!(decide(core("pods"), &marked, "7", &ask(longer), now()).unwrap(), Deletion::Pending);
        }
    }

    #[test]
    fn finalizers_hold_an_object() {
        let held = pod(json!({"finalizers": ["a/b"]}));
        let at_once = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        check(&held, &at_once, Some(("2026-01-02T03:04:05Z", 0, 2)));
        let config = json!({"metadata": {"name": "c"}});
        let foreground = DeleteOptions { propagation: Some("Foreground".into()), ..DeleteOptions::default() };
        let Deletion::Mark(marked) = decide(core("configmaps"), &config, "7", &foreground, now()).unwrap() else {
            panic!("not marked")
        };
        assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        assert!(!is_released(core("configmaps"), &marked));
        let mut free = marked;
        free["metadata"]["finalizers"] = json!([]);
        assert!(is_released(core("configmaps"), &free));
    }

    #[test]
    fn a_namespace_goes_when_its_content_is_gone() {
        let mut ns =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let options = DeleteOptions::default();
        let Deletion::Mark(marked) = decide(core("namespaces"), &ns, "7", &options, now()).unwrap() else {
            panic!("not marked")
        };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert!(!is_released(core("namespaces"), &marked));
        assert_eq!(decide(core("namespaces"), &marked, "7", &options, now()).unwrap(), Deletion::Pending);
        ns["spec"]["finalizers"] = json!([]);
        assert_eq!(decide(core("namespaces"), &ns, "7", &options, now()).unwrap(), Deletion::Now);
    }

    #[test]
    fn wrong_options_are_refused_as_recorded() {
        let whatever = json!({"propagationPolicy": "Whatever"});
        let error = DeleteOptions::from_body(&whatever).unwrap_err();
        assert_eq!(
            error.message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Whatever\": supported values: \
             \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
        let other = DeleteOptions { uid: Some("nope".into()), ..DeleteOptions::default() };
        let error = decide(core("pods"), &pod(json!({})), "7", &other, now()).unwrap_err();
        assert_eq!(
            error.message,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (nope) does not match the UID in record \
             (u). The object might have been deleted and then recreated"
        );
    }
}
