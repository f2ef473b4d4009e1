//! What the API says about a pod.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`, and the recordings in
//! `reference/behaviours` and `reference/transcripts`, which win.

mod conditions;
mod containers;
mod phase;

pub(crate) use phase::{Phase, computed_phase};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::Now;
use crate::life::TerminationCause;
use crate::observed::Observed;
use crate::qos::qos_class;
use crate::spec::Desired;
use crate::storage::excess;

/// The pod's status. What only others write (scheduler, readiness gates, resource claims) is kept from the API.
pub fn status(desired: &Desired<'_>, observed: &Observed, now: Now) -> PodStatus {
    let pod = desired.pod;
    let in_api = pod.status.clone().unwrap_or_default();
    let phase = phase::shown_phase(desired, observed, now);
    let (reason, message) = match failure(desired, observed).filter(|_| phase == Phase::Failed) {
        Some((reason, message)) => (Some(reason.to_owned()), Some(message)),
        None => (in_api.reason, in_api.message),
    };
    let lists = containers::statuses(desired, observed, now);
    let ips = ips(desired, observed);
    PodStatus {
        conditions: Some(conditions::conditions(desired, observed, phase, &lists, now)),
        container_statuses: some(lists.ordinary),
        init_container_statuses: some(lists.init),
        ephemeral_container_statuses: some(lists.ephemeral),
        host_ip: observed.host_ips.first().cloned(),
        host_ips: some(observed.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        message,
        reason,
        observed_generation: pod.metadata.generation,
        phase: Some(phase.as_str().to_owned()),
        pod_ip: ips.first().cloned(),
        pod_ips: some(ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(qos_class(pod).as_str().to_owned()),
        start_time: Some(observed.reported.start_time.clone().unwrap_or_else(|| time(now))),
        extended_resource_claim_status: in_api.extended_resource_claim_status,
        nominated_node_name: in_api.nominated_node_name,
        resize: in_api.resize,
        resource_claim_statuses: in_api.resource_claim_statuses,
    }
}

const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

/// Reason and message of a pod that the node has ended.
fn failure(desired: &Desired<'_>, observed: &Observed) -> Option<(&'static str, String)> {
    match desired.life.cause()? {
        TerminationCause::DeadlineExceeded => Some(("DeadlineExceeded", DEADLINE.to_owned())),
        TerminationCause::Evicted => Some(("Evicted", excess(desired.pod, observed)?)),
        TerminationCause::Finished | TerminationCause::Deleted => None,
    }
}

/// The sandbox's addresses, the node's for a pod in its network; the last ones known once the sandbox is gone.
fn ips(desired: &Desired<'_>, observed: &Observed) -> Vec<String> {
    let host_network = desired.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    match observed.ready_sandbox() {
        Some(_) if host_network => observed.host_ips.clone(),
        Some(sandbox) => sandbox.ips.clone(),
        None => observed.reported.pod_ips.iter().flatten().map(|p| p.ip.clone()).collect(),
    }
}

/// The API keeps whole seconds.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
