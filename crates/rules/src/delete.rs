//! Deleting: what may be asked (`DeleteOptions`), and whether an object goes at once or is only marked
//! (upstream: k8s.io/apiserver `pkg/registry/rest/delete.go`, `registry/store.go`).

use jiff::{SignedDuration, Timestamp};
use remora_model::field::FieldErrors;
use remora_model::status::Qualified;
use remora_model::{FieldError, Kind, Path, Status};
use serde_json::Value;

use crate::object::{at, field_mut, integer, list, set, text};
use crate::time::seconds;

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; 0 is now.
    pub grace_period_seconds: Option<i64>,
    /// Only if it is this object.
    pub uid: Option<String>,
    /// Only if it is this revision of it.
    pub resource_version: Option<String>,
    /// `Foreground`, `Background` or `Orphan`.
    pub propagation_policy: Option<String>,
    /// The old way to say `Orphan`.
    pub orphan_dependents: Option<bool>,
    /// Whether to only act as if.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads a decoded body and the query; what the query says counts only where the body is silent, since kubectl sends
    /// one or the other.
    ///
    /// # Errors
    /// 422 for what may not be asked, 400 for a number that is none.
    pub fn read<'q>(body: &Value, query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, Status> {
        let word = |path: &[&str]| at(body, path).as_str().map(str::to_owned);
        let mut options = Self {
            grace_period_seconds: integer(body, &["gracePeriodSeconds"]),
            uid: word(&["preconditions", "uid"]),
            resource_version: word(&["preconditions", "resourceVersion"]),
            propagation_policy: word(&["propagationPolicy"]),
            orphan_dependents: at(body, &["orphanDependents"]).as_bool(),
            dry_run: !list(body, &["dryRun"]).is_empty(),
        };
        let mut dry: Vec<String> =
            list(body, &["dryRun"]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        for (name, value) in query {
            match name {
                "gracePeriodSeconds" if options.grace_period_seconds.is_none() => {
                    options.grace_period_seconds = Some(number(value)?);
                }
                "propagationPolicy" if options.propagation_policy.is_none() => {
                    options.propagation_policy = Some(value.to_owned());
                }
                "orphanDependents" if options.orphan_dependents.is_none() => {
                    options.orphan_dependents = Some(value != "false" && value != "0");
                }
                "dryRun" => dry.push(value.to_owned()),
                _ => {}
            }
        }
        options.dry_run = !dry.is_empty();
        let errors = options.validate(&dry);
        match errors.is_empty() {
            true => Ok(options),
            false => Err(Status::invalid(Qualified::new("meta.k8s.io", "DeleteOptions"), "", &errors)),
        }
    }

    fn validate(&self, dry_run: &[String]) -> FieldErrors {
        let mut errors = FieldErrors::new();
        if self.propagation_policy.is_some() && self.orphan_dependents.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            let policy = self.propagation_policy.clone();
            errors.push(FieldError::invalid(&Path::new("propagationPolicy"), policy, detail));
        }
        if let Some(policy) = self.propagation_policy.as_deref() {
            const KNOWN: [&str; 4] = ["Foreground", "Background", "Orphan", "nil"];
            if !KNOWN[..3].contains(&policy) {
                errors.push(FieldError::not_supported(&Path::new("propagationPolicy"), policy, &KNOWN));
            }
        }
        if let Some(word) = dry_run.iter().find(|word| *word != "All") {
            errors.push(FieldError::not_supported(&Path::new("dryRun"), word.as_str(), &["All"]));
        }
        errors
    }

    /// Checks the preconditions against the stored object and its revision.
    ///
    /// # Errors
    /// 409 if it is another object, or changed since.
    pub fn check(&self, kind: &Kind, object: &Value, resource_version: &str) -> Result<(), Status> {
        let name = text(object, &["metadata", "name"]);
        let conflict = |what: &str, given: &str, stored: &str, ending: &str| {
            let why = format!(
                "the {what} in the precondition ({given}) does not match the {what} in record ({stored}). {ending}"
            );
            Err(Status::conflict(kind.qualified(), name, &why))
        };
        let uid = text(object, &["metadata", "uid"]);
        if let Some(given) = self.uid.as_deref().filter(|given| *given != uid) {
            return conflict("UID", given, uid, "The object might have been deleted and then recreated");
        }
        if let Some(given) = self.resource_version.as_deref().filter(|given| *given != resource_version) {
            return conflict("ResourceVersion", given, resource_version, "The object might have been modified");
        }
        Ok(())
    }
}

fn number(value: &str) -> Result<i64, Status> {
    let quoted = remora_model::text::quoted(value);
    value.parse().map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {quoted}: invalid syntax")))
}

/// What a deletion does to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// It goes now.
    Remove,
    /// It is stored like this, marked; who finishes its work removes it: the node, or the holder of a finalizer.
    Mark(Value),
    /// It is marked already, and this asks for no less time: the answer is the object as it is.
    Keep,
}

/// How long the kind's objects get to end: nothing for most, for pods see [`crate::pod::deletion`].
type Grace = fn(&Value, &DeleteOptions) -> i64;

fn grace_of(kind: &Kind) -> Grace {
    match (kind.group, kind.plural) {
        ("", "pods") => |pod, options| crate::pod::deletion::grace_period(pod, options.grace_period_seconds),
        _ => |_, _| 0,
    }
}

/// What deleting the object does. Preconditions are checked before, with [`DeleteOptions::check`].
pub fn delete(kind: &Kind, object: &Value, options: &DeleteOptions, now: Timestamp) -> Deletion {
    let marked = !at(object, &["metadata", "deletionTimestamp"]).is_null();
    if marked {
        return shorten(object, options.grace_period_seconds, now);
    }
    let finalizers = finalizers(kind, object, options);
    let grace = grace_of(kind)(object, options);
    if grace == 0 && finalizers.is_empty() {
        return Deletion::Remove;
    }
    Deletion::Mark(mark(object, grace, &finalizers, now))
}

/// Metadata's finalizers, with the one that a propagation policy asks for; a namespace has those of its spec besides.
fn finalizers(kind: &Kind, object: &Value, options: &DeleteOptions) -> Vec<Value> {
    let mut all = list(object, &["metadata", "finalizers"]).to_vec();
    let wanted = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Foreground"), _) => Some("foregroundDeletion"),
        (Some("Orphan"), _) | (None, Some(true)) => Some("orphan"),
        _ => None,
    };
    if options.propagation_policy.is_some() || options.orphan_dependents.is_some() {
        all.retain(|f| f != "foregroundDeletion" && f != "orphan");
    }
    if let Some(wanted) = wanted {
        all.push(wanted.into());
    }
    if (kind.group, kind.plural) == ("", "namespaces") {
        all.extend_from_slice(list(object, &["spec", "finalizers"]));
    }
    all
}

fn mark(object: &Value, grace: i64, finalizers: &[Value], now: Timestamp) -> Value {
    let mut marked = object.clone();
    if object.get("kind").is_some_and(|k| k == "Namespace") {
        set(field_mut(&mut marked, "status"), "phase", "Terminating".into());
    } else if !finalizers.is_empty() {
        set(field_mut(&mut marked, "metadata"), "finalizers", finalizers.to_vec().into());
    }
    let metadata = field_mut(&mut marked, "metadata");
    set(metadata, "deletionTimestamp", seconds(later(now, grace)).into());
    set(metadata, "deletionGracePeriodSeconds", grace.into());
    // The mark is a wish of the user: where generations are counted, it is one more.
    if let Some(generation) = integer(metadata, &["generation"]) {
        set(metadata, "generation", (generation + 1).into());
    }
    marked
}

/// Of an object that is marked already the time may only become less.
fn shorten(object: &Value, grace: Option<i64>, now: Timestamp) -> Deletion {
    let has_finalizers = !list(object, &["metadata", "finalizers"]).is_empty();
    let before = integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
    match grace {
        Some(0) if !has_finalizers => Deletion::Remove,
        Some(grace) if grace < before => {
            let mut marked = object.clone();
            let metadata = field_mut(&mut marked, "metadata");
            let since = crate::time::parse(text(object, &["metadata", "deletionTimestamp"])).unwrap_or(now);
            // The time ran from when the first deletion was asked for.
            let asked = later(since, -before);
            set(metadata, "deletionTimestamp", seconds(later(asked, grace).max(now)).into());
            set(metadata, "deletionGracePeriodSeconds", grace.into());
            Deletion::Mark(marked)
        }
        _ => Deletion::Keep,
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

/// Whether an update has taken away the last thing that a marked object was waiting for.
pub fn is_finished(kind: &Kind, object: &Value) -> bool {
    let waits_for_time = integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default() > 0;
    let namespace_waits =
        (kind.group, kind.plural) == ("", "namespaces") && !list(object, &["spec", "finalizers"]).is_empty();
    !at(object, &["metadata", "deletionTimestamp"]).is_null()
        && list(object, &["metadata", "finalizers"]).is_empty()
        && !waits_for_time
        && !namespace_waits
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::core;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn running() -> Value {
        json!({"kind": "Pod", "metadata": {"name": "p", "uid": "u", "generation": 1},
               "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}})
    }

    fn with_grace(grace: Option<i64>) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() }
    }

    #[test]
    fn a_running_pod_is_marked_and_its_time_only_gets_less() {
        let Deletion::Mark(marked) = delete(core("pods"), &running(), &with_grace(None), now()) else { panic!() };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(marked["metadata"]["generation"], 2);
        assert_eq!(delete(core("pods"), &marked, &with_grace(Some(60)), now()), Deletion::Keep);
        let Deletion::Mark(sooner) = delete(core("pods"), &marked, &with_grace(Some(10)), now()) else { panic!() };
        assert_eq!(sooner["metadata"]["deletionTimestamp"], "2026-01-02T03:04:15Z");
        assert_eq!(delete(core("pods"), &marked, &with_grace(Some(0)), now()), Deletion::Remove);
    }

    #[test]
    fn what_has_nothing_to_end_goes_at_once() {
        let mut unscheduled = running();
        unscheduled["spec"]["nodeName"] = json!("");
        let mut finished = running();
        finished["status"]["phase"] = json!("Succeeded");
        for pod in [unscheduled, finished] {
            assert_eq!(delete(core("pods"), &pod, &with_grace(None), now()), Deletion::Remove);
        }
        assert_eq!(delete(core("pods"), &running(), &with_grace(Some(0)), now()), Deletion::Remove);
        assert_eq!(delete(core("configmaps"), &json!({}), &with_grace(None), now()), Deletion::Remove);
    }

    #[test]
    fn finalizers_hold_an_object() {
        let held = json!({"metadata": {"name": "c", "finalizers": ["a/b"]}});
        let Deletion::Mark(mut marked) = delete(core("configmaps"), &held, &with_grace(None), now()) else { panic!() };
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
        assert!(!is_finished(core("configmaps"), &marked));
        marked["metadata"]["finalizers"] = json!([]);
        assert!(is_finished(core("configmaps"), &marked));
        let namespace = json!({"kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Deletion::Mark(marked) = delete(core("namespaces"), &namespace, &with_grace(None), now()) else { panic!() };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert!(!is_finished(core("namespaces"), &marked) && marked["metadata"].get("finalizers").is_none());
    }

    #[test]
    fn preconditions_and_policies_are_checked_in_upstreams_words() {
        let options = DeleteOptions::read(&json!({"preconditions": {"uid": "nope"}}), []).unwrap();
        assert_eq!(
            options.check(core("pods"), &running(), "7").unwrap_err().message,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (nope) does not match the UID in record (u). The object might have been deleted and then recreated"
        );
        assert_eq!(
            DeleteOptions::read(&json!({"propagationPolicy": "Whatever"}), []).unwrap_err().message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Whatever\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
        let options = DeleteOptions::read(&Value::Null, [("gracePeriodSeconds", "0"), ("dryRun", "All")]).unwrap();
        assert_eq!((options.grace_period_seconds, options.dry_run), (Some(0), true));
    }
}
