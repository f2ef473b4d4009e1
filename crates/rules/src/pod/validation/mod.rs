//! What a pod must be: every rule on the object alone, in upstream's order and words (`pkg/apis/core/validation`,
//! `validatePodMetadataAndSpec`). What may *change* is in [`super::update`], [`super::ephemeral`] and [`super::status`].

mod container;
mod env;
mod handler;
pub(crate) mod mount;
mod network;
mod port;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
mod volume;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde::Deserialize;
use serde_json::Value;

use crate::metadata::names::{self, range};
use crate::metadata::validation::invalid;
use crate::object::{list, text};

/// The grace period of a pod that names none, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// A pod's spec, read once for all rules. Containers of all three lists have one type: an ephemeral container is a
/// container.
struct Spec<'p> {
    spec: PodSpec,
    init: Vec<Container>,
    containers: Vec<Container>,
    ephemeral: Vec<Container>,
    /// Per ephemeral container the name of its target; empty for none.
    targets: Vec<&'p str>,
    /// As JSON, for rules that look at which fields are set.
    raw: &'p Value,
    /// It is what pods are made of.
    is_template: bool,
}

impl<'p> Spec<'p> {
    fn read(pod: &'p Value) -> Result<Self, serde_json::Error> {
        let raw = pod.get("spec").unwrap_or(&Value::Null);
        let mut spec = PodSpec::deserialize(raw)?;
        let ephemeral = list(raw, &["ephemeralContainers"]);
        Ok(Self {
            init: spec.init_containers.take().unwrap_or_default(),
            containers: std::mem::take(&mut spec.containers),
            ephemeral: ephemeral.iter().map(Container::deserialize).collect::<Result<_, _>>()?,
            targets: ephemeral.iter().map(|c| text(c, &["targetContainerName"])).collect(),
            spec,
            raw,
            is_template: false,
        })
    }

    fn grace(&self) -> i64 {
        self.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE)
    }
}

/// Everything that is wrong with a pod's spec. Metadata is the strategy's.
pub fn validate(pod: &Value) -> FieldErrors {
    validate_read(Spec::read(pod), &Path::new("spec"))
}

/// The same for what pods are made of: its spec is at this path, and some defaults are the pods' own.
pub fn validate_template(template: &Value, path: &Path<'_>) -> FieldErrors {
    validate_read(Spec::read(template).map(|spec| Spec { is_template: true, ..spec }), path)
}

fn validate_read(read: Result<Spec<'_>, serde_json::Error>, path: &Path<'_>) -> FieldErrors {
    match read {
        Ok(spec) => validate_spec(&spec, path),
        // Canonical form has the right types already; this is a disagreement between two tables of ours.
        Err(why) => vec![FieldError::internal(path, why.to_string())],
    }
}

fn validate_spec(pod: &Spec<'_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let volumes =
        volume::validate(pod.spec.volumes.as_deref().unwrap_or_default(), &path.child("volumes"), &mut errors);
    let all = container::Context { pod, volumes: &volumes };
    errors.extend(container::validate_ordinary(&all, &path.child("containers")));
    errors.extend(container::validate_init(&all, &path.child("initContainers")));
    errors.extend(container::validate_ephemeral(&all, &path.child("ephemeralContainers")));
    errors.extend(resources::validate(pod.spec.resources.as_ref(), &path.child("resources")));
    errors.extend(one_of(
        &path.child("restartPolicy"),
        pod.spec.restart_policy.as_deref(),
        &["Always", "OnFailure", "Never"],
    ));
    errors.extend(network::validate_dns_policy(&pod.spec, path));
    errors.extend(scheduling::validate_node_selector(&pod.spec, &path.child("nodeSelector")));
    if pod.spec.host_network == Some(true) {
        errors.extend(port::validate_host_network(pod, &path.child("containers")));
    }
    errors.extend(security::validate_pod(&pod.spec, &path.child("securityContext")));
    errors.extend(scheduling::validate_affinity(&pod.spec, &path.child("affinity")));
    errors.extend(network::validate_dns_config(&pod.spec, &path.child("dnsConfig")));
    errors.extend(scheduling::validate_readiness_gates(&pod.spec, &path.child("readinessGates")));
    errors.extend(scheduling::validate_scheduling_gates(&pod.spec, &path.child("schedulingGates")));
    errors.extend(scheduling::validate_spread(&pod.spec, &path.child("topologySpreadConstraints")));
    errors.extend(security::validate_host_users(&pod.spec, path));
    errors.extend(validate_words(&pod.spec, path));
    errors.extend(scheduling::validate_tolerations(&pod.spec, &path.child("tolerations")));
    errors.extend(network::validate_host_aliases(&pod.spec, &path.child("hostAliases")));
    errors.extend(validate_policies(pod, path));
    errors
}

/// Names and numbers of the spec that stand alone.
fn validate_words(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut word = |field: &str, value: Option<&String>, check: names::Check| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            errors.extend(invalid(&path.child(field), value, check));
        }
    };
    word("serviceAccountName", spec.service_account_name.as_ref(), names::dns_subdomain);
    word("nodeName", spec.node_name.as_ref(), names::dns_subdomain);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let sentence = range(1, i64::from(i32::MAX));
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), seconds, sentence));
    }
    let mut word = |field: &str, value: Option<&String>, check: names::Check| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            errors.extend(invalid(&path.child(field), value, check));
        }
    };
    word("hostname", spec.hostname.as_ref(), names::dns_label);
    word("subdomain", spec.subdomain.as_ref(), names::dns_label);
    word("priorityClassName", spec.priority_class_name.as_ref(), names::dns_subdomain);
    word("runtimeClassName", spec.runtime_class_name.as_ref(), names::dns_subdomain);
    errors
}

fn validate_policies(pod: &Spec<'_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if pod.spec.preemption_policy.is_some() {
        let known = ["Never", "PreemptLowerPriority"];
        errors.extend(one_of(&path.child("preemptionPolicy"), pod.spec.preemption_policy.as_deref(), &known));
    }
    if let Some(overhead) = &pod.spec.overhead {
        errors.extend(resources::validate_overhead(overhead, &path.child("overhead")));
    }
    if let Some(os) = &pod.spec.os {
        errors.extend(one_of(&path.child("os").child("name"), Some(&os.name), &["linux", "windows"]));
    }
    errors
}

/// One of a closed set; nothing is `Required value`.
fn one_of(path: &Path<'_>, value: Option<&str>, known: &[&str]) -> Option<FieldError> {
    match value {
        None | Some("") => Some(FieldError::required(path, "")),
        Some(value) if known.contains(&value) => None,
        Some(value) => Some(FieldError::not_supported(path, value, known)),
    }
}

/// `must be greater than or equal to 0`.
fn not_negative(path: &Path<'_>, value: Option<i64>) -> Option<FieldError> {
    let value = value.filter(|v| *v < 0)?;
    Some(FieldError::invalid(path, value, "must be greater than or equal to 0"))
}
