//! Deployments as objects (upstream: `deploymentStrategy`, `SetDefaults_Deployment`, `ValidateDeployment`). What rolls them out is a controller.

use remora_model::field::FieldErrors;
use remora_model::text::quoted;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use super::pod_template;
use super::replica_set::{counts, drop_terminating, no_more_than_there_are};
use crate::int_or_percent;
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, integer, object_mut, set, set_default, text};
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const ROLLING: &str = "RollingUpdate";
const RECREATE: &str = "Recreate";

/// One pod, replaced bit by bit; ten old revisions are kept; after ten minutes without progress it has failed.
pub fn set_defaults(deployment: &mut Value) {
    let spec = field_mut(deployment, "spec");
    set_default(spec, "replicas", 1);
    object_mut(spec, "strategy");
    let strategy = field_mut(spec, "strategy");
    if text(strategy, &["type"]).is_empty() {
        set(strategy, "type", ROLLING.into());
    }
    if text(strategy, &["type"]) == ROLLING {
        object_mut(strategy, "rollingUpdate");
        for field in ["maxUnavailable", "maxSurge"] {
            set_default(field_mut(strategy, "rollingUpdate"), field, "25%");
        }
    }
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    pod_template::set_defaults(spec);
}

/// The status is the controller's.
pub fn prepare_create(deployment: &mut Value) {
    pod_template::prepare(deployment);
    set(deployment, "status", json!({}));
    set(field_mut(deployment, "metadata"), "generation", 1.into());
}

/// The status stays. Annotations are passed on to replica sets: they too are something to be done.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    pod_template::prepare(new);
    copy_field(old, new, "status");
    raise_generation(new, old);
    if at(new, &["metadata", "annotations"]) != at(old, &["metadata", "annotations"]) {
        let generation = integer(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        set(field_mut(new, "metadata"), "generation", generation.into());
    }
}

/// Nothing but the status is taken, and of the metadata no labels.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
    copy_field(at(old, &["metadata"]), field_mut(new, "metadata"), "labels");
    drop_terminating(new, old);
}

/// Selector, template, strategy and counts.
pub fn validate(deployment: &Value) -> FieldErrors {
    let spec = at(deployment, &["spec"]);
    let mut errors = counts(spec, &SPEC, &["replicas"]);
    errors.extend(pod_template::validate(spec, &SPEC));
    errors.extend(validate_strategy(at(spec, &["strategy"]), &SPEC.child("strategy")));
    errors.extend(counts(spec, &SPEC, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]));
    let [deadline, ready] = ["progressDeadlineSeconds", "minReadySeconds"].map(|field| integer(spec, &[field]));
    if deadline.is_some_and(|deadline| deadline <= ready.unwrap_or_default()) {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(&SPEC.child("progressDeadlineSeconds"), deadline, why));
    }
    errors
}

fn validate_strategy(strategy: &Value, path: &Path<'_>) -> FieldErrors {
    let rolling = at(strategy, &["rollingUpdate"]);
    match text(strategy, &["type"]) {
        RECREATE if rolling.is_null() => Vec::new(),
        RECREATE => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            vec![FieldError::forbidden(&path.child("rollingUpdate"), why)]
        }
        ROLLING => validate_rolling(rolling, &path.child("rollingUpdate")),
        // Upstream shows its own struct, whose fields have no JSON names.
        other => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", quoted(other));
            vec![FieldError { value: shown, ..FieldError::not_supported(path, other, &[RECREATE, ROLLING]) }]
        }
    }
}

fn validate_rolling(rolling: &Value, path: &Path<'_>) -> FieldErrors {
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|field| at(rolling, &[field]));
    let place = path.child("maxUnavailable");
    let mut errors = int_or_percent::validate(unavailable, &place);
    errors.extend(int_or_percent::validate(surge, &path.child("maxSurge")));
    if int_or_percent::is_zero(unavailable) && int_or_percent::is_zero(surge) {
        errors.push(FieldError::invalid(&place, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    errors.extend(int_or_percent::not_more_than_all(unavailable, &place));
    errors
}

/// And the selector stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    errors.extend(pod_template::validate_update(new, old));
    errors
}

/// There are no more pods of any sort than there are pods; collisions are not forgotten.
pub fn validate_status(new: &Value, old: &Value) -> FieldErrors {
    let path = Path::new("status");
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    let mut errors = counts(at(new, &["status"]), &path, &fields);
    errors.extend(no_more_than_there_are(new, &["updatedReplicas", "readyReplicas", "availableReplicas"]));
    let [now, before] = [new, old].map(|object| integer(object, &["status", "collisionCount"]));
    if now < before {
        let place = path.child("collisionCount");
        errors.push(FieldError::invalid(&place, now.unwrap_or_default(), "cannot be decremented"));
    }
    errors
}
