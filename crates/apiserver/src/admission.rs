//! What must hold in the world around an object before it is written, and what others add to it: the admission plugins
//! NamespaceLifecycle, LimitRanger, ServiceAccount, Priority, DefaultTolerationSeconds, RuntimeClass and DefaultStorageClass, called between decoding and the strategy;
//! and those that judge what the strategy has let pass ([`judge_new`], [`judge_change`]): LimitRanger, PodSecurity, Priority and PersistentVolumeClaimResize. Looks things up;
//! what follows from them is `rules`' business.

use remora_model::status::Cause;
use remora_model::{Kind, ObjectKey, Status, kinds};
use remora_rules::kinds::persistent_volume_claim::{Growth, NO_GROWTH, growth};
use remora_rules::kinds::{priority_class, storage_class};
use remora_rules::object::{at, field_mut, flag, set, text};
use remora_rules::pod::{admission as pod, limits, priority};
use remora_rules::pod_security::{self, Relabelled};
use serde_json::Value;

use crate::audit::Trail;
use crate::request::Part;
use crate::server::{Call, State};
use crate::verbs::write;

/// They cannot be deleted.
const IMMORTAL_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What was looked up for a new object, and is asked again when the strategy has let it pass.
#[derive(Default)]
pub struct Surroundings {
    namespace: Option<Value>,
    /// A pod's.
    limit_ranges: Vec<Value>,
}

/// Before an object is created.
///
/// # Errors
/// 404 if its namespace is missing, 403 if that is going away or the object's needs are not met.
pub async fn create(
    state: &State,
    kind: &'static Kind,
    namespace: Option<&str>,
    object: &mut Value,
) -> Result<Surroundings, Status> {
    let mut found = Surroundings::default();
    if let Some(namespace) = namespace.filter(|_| kind.namespaced) {
        found.namespace = Some(check_namespace(state, kind, namespace, object).await?);
    }
    if is_pods(kind) {
        found.limit_ranges = state.objects().all(kinds::core("limitranges"), namespace).await?;
        limits::complete(object, &found.limit_ranges);
        let account = account_of(state, namespace.unwrap_or_default(), object).await?;
        pod::admit(object, account.as_ref(), &write::ctx(state).suffix)?;
        priority::admit(object, &priority_classes(state).await?)?;
        let class = runtime_class_of(state, object).await?;
        remora_rules::pod::runtime_class::admit(object, class.as_ref())?;
    }
    if kind == kinds::core("persistentvolumeclaims") && at(object, &["spec", "storageClassName"]).is_null() {
        let classes = state.objects().all(kinds::storage_classes(), None).await?;
        if let Some(class) = storage_class::default_of(&classes) {
            let name = text(class, &["metadata", "name"]).into();
            set(field_mut(object, "spec"), "storageClassName", name);
        }
    }
    Ok(found)
}

/// Judges a new object that the strategy has let pass. Gives what the client is warned of.
///
/// # Errors
/// 403 for a pod that is outside its namespace's limit ranges or violates its level, and for a second default priority class; 422 for a namespace
/// whose labels name a level that is none.
pub async fn judge_new(call: &Call, kind: &Kind, within: &Surroundings, object: &Value) -> Result<Vec<String>, Status> {
    if is_pods(kind) {
        limits::judge(object, &within.limit_ranges)?;
        return judge_pod(&call.trail, within.namespace.as_ref().unwrap_or(&Value::Null), object);
    }
    if is_namespaces(kind) {
        pod_security::judge_namespace(object, None)?;
    }
    judge_priority_class(&call.state, kind, object).await?;
    Ok(Vec::new())
}

/// Judges a changed object that the strategy has let pass, as [`judge_new`] does a new one.
///
/// # Errors
/// As there.
pub async fn judge_change(
    call: &Call,
    kind: &'static Kind,
    part: Part,
    new: &Value,
    old: &Value,
) -> Result<Vec<String>, Status> {
    let state = &call.state;
    if is_pods(kind) && part == Part::Resize {
        limits::judge(new, &limit_ranges_of(state, old).await?)?;
    }
    if is_pods(kind) && part != Part::Status && pod_security::is_judged(new, old) {
        let name = text(old, &["metadata", "namespace"]);
        let namespace = state.objects().require(&ObjectKey::new(kinds::core("namespaces"), None, name)).await?;
        return judge_pod(&call.trail, &namespace.decoded(), new);
    }
    judge_priority_class(state, kind, new).await?;
    if kind == kinds::core("persistentvolumeclaims") && part == Part::Whole {
        judge_growth(state, kind, new, old).await?;
    }
    if !is_namespaces(kind) || part != Part::Whole {
        return Ok(Vec::new());
    }
    match pod_security::judge_namespace(new, Some(old))? {
        Relabelled::NotStricter => Ok(Vec::new()),
        Relabelled::Stricter(rule) => {
            let name = text(old, &["metadata", "name"]);
            let pods = state.objects().all(kinds::core("pods"), Some(name)).await?;
            Ok(pod_security::warnings_of_pods(name, rule, &pods))
        }
    }
}

/// Who asks for more in a claim is told at once that nobody will give it.
async fn judge_growth(state: &State, kind: &Kind, new: &Value, old: &Value) -> Result<(), Status> {
    let allowed = match growth(new, old) {
        Growth::None => true,
        Growth::Forbidden => false,
        Growth::IfAllowedBy(class) => {
            let class = state.objects().get(&ObjectKey::new(kinds::storage_classes(), None, class)).await?;
            class.is_some_and(|class| flag(&class.decoded(), &["allowVolumeExpansion"]))
        }
    };
    let refusal = || Status::forbidden(kind.resource(), text(old, &["metadata", "name"]), NO_GROWTH);
    if allowed { Ok(()) } else { Err(refusal()) }
}

fn judge_pod(trail: &Trail, namespace: &Value, pod: &Value) -> Result<Vec<String>, Status> {
    let verdict = pod_security::judge(at(namespace, &["metadata", "labels"]), pod);
    for (name, said) in &verdict.audit {
        trail.annotate(&format!("{}{name}", pod_security::PREFIX), said);
    }
    verdict.refused.map_or(Ok(verdict.warnings), |refused| Err(*refused))
}

/// Before an object is changed: who resizes a pod is given what its namespace's limit ranges say, as who creates one.
///
/// # Errors
/// 403 if a pod's service account is gone when an ephemeral container is added.
pub async fn update(
    state: &State,
    kind: &'static Kind,
    part: Part,
    object: &mut Value,
    old: &Value,
) -> Result<(), Status> {
    if is_pods(kind) && part == Part::Resize {
        limits::complete(object, &limit_ranges_of(state, old).await?);
    }
    if is_pods(kind) && part == Part::EphemeralContainers {
        let namespace = old.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        if account_of(state, namespace, old).await?.is_none() {
            let name = pod::service_account_name(old);
            let why =
                format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
            let pod = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            return Err(Status::forbidden(kind.resource(), pod, &why));
        }
    }
    Ok(())
}

/// Before an object is deleted.
///
/// # Errors
/// 403 for namespaces that the system needs.
pub fn delete(key: &ObjectKey) -> Result<(), Status> {
    if key.kind.plural == "namespaces" && IMMORTAL_NAMESPACES.contains(&key.name.as_str()) {
        return Err(Status::forbidden(key.kind.resource(), &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// There is one default at most.
async fn judge_priority_class(state: &State, kind: &Kind, class: &Value) -> Result<(), Status> {
    if kind != kinds::priority_classes() || !flag(class, &["globalDefault"]) {
        return Ok(());
    }
    match priority_class::rival(class, &priority_classes(state).await?) {
        None => Ok(()),
        Some(rival) => {
            let name = text(class, &["metadata", "name"]);
            Err(Status::forbidden(kind.resource(), name, &priority_class::rivalry(rival)))
        }
    }
}

async fn priority_classes(state: &State) -> Result<Vec<Value>, Status> {
    state.objects().all(kinds::priority_classes(), None).await
}

/// Whether these are pods.
pub fn is_pods(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

fn is_namespaces(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

async fn check_namespace(state: &State, kind: &Kind, namespace: &str, object: &Value) -> Result<Value, Status> {
    let found = state.objects().require(&ObjectKey::new(kinds::core("namespaces"), None, namespace)).await?;
    let decoded = found.decoded();
    let is_ending = decoded.pointer("/metadata/deletionTimestamp").is_some()
        || decoded.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating");
    if !is_ending {
        return Ok(decoded);
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(kind.resource(), name, &why);
    let details = status.details.get_or_insert_default();
    details.causes.push(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    Err(status)
}

/// Those of the namespace that an object is in.
async fn limit_ranges_of(state: &State, object: &Value) -> Result<Vec<Value>, Status> {
    state.objects().all(kinds::core("limitranges"), Some(text(object, &["metadata", "namespace"]))).await
}

async fn account_of(state: &State, namespace: &str, object: &Value) -> Result<Option<Value>, Status> {
    let name = pod::service_account_name(object);
    let key = ObjectKey::new(kinds::core("serviceaccounts"), Some(namespace), name);
    Ok(state.objects().get(&key).await?.map(|found| found.decoded()))
}

async fn runtime_class_of(state: &State, object: &Value) -> Result<Option<Value>, Status> {
    let name = object.pointer("/spec/runtimeClassName").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let key = ObjectKey::new(kinds::v1("node.k8s.io", "runtimeclasses"), None, name);
    Ok(state.objects().get(&key).await?.map(|found| found.decoded()))
}
