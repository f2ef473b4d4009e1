//! What the node, its pods and their containers use, and what else a node can be asked about itself. Nothing is read while nobody asks; how two
//! readings become a rate is decided in [`remora_decide::usage`].

mod logs;
mod machine;
mod meter;
mod pods;

use std::sync::Arc;

use remora_cri::{ContainerFilter, ContainerState, ContainerStateValue, Error as CriError, ListContainersRequest};
use remora_decide::usage::{Counted, Counter, Reading, rate};
use remora_model::usage::{Cpu, NodeUsage};
use serde_json::{Value, json};

pub(crate) use meter::Meter;

use logs::LogGauge;

use crate::context::{Context, id_of};
use crate::pods::Pods;
use crate::probes::ProbeTally;

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The runtime does not answer.
    #[error("the container runtime cannot be asked: {0}")]
    Runtime(#[from] CriError),
    /// The agent ends.
    #[error("the node agent is shutting down")]
    Ending,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A few small files for each container.
    CpuAndMemory,
    /// Also file systems, which have to be walked through, and networks.
    All,
}

/// What a node tells of itself and its pods. Clones share everything.
#[derive(Clone)]
pub struct Inspector {
    context: Context,
    pods: Pods,
    meter: Meter,
    logs: LogGauge,
}

impl Inspector {
    pub(crate) fn new(context: Context, pods: Pods) -> Self {
        let meter = Meter::start(&context);
        Self { context, pods, meter, logs: LogGauge::default() }
    }

    /// The pods that are bound to this node, each with the status that was last decided.
    pub fn pods(&self) -> Vec<Value> {
        self.pods.all().iter().map(|(_, handle)| pods::shown(&handle.view())).collect()
    }

    /// One of them.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let views = self.pods.all().into_iter().map(|(_, handle)| handle.view());
        let is_meant = |view: &Arc<crate::actor::View>| {
            let id = id_of(&view.pod);
            (id.namespace, id.name) == (namespace, name)
        };
        // While one that ends still has the name, the other one is meant.
        let found = views.filter(is_meant).min_by_key(|view| view.pod.metadata.deletion_timestamp.is_some());
        found.map(|view| pods::shown(&view))
    }

    /// The pods that the runtime has running, whether they are still wanted or not.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn running_pods(&self) -> Result<Vec<Value>, StatsError> {
        let state = Some(ContainerStateValue { state: ContainerState::Running as i32 });
        let filter = Some(ContainerFilter { state, ..ContainerFilter::default() });
        let listed = self.context.config.runtime.list_containers(ListContainersRequest { filter }).await?;
        Ok(pods::running(&listed.containers))
    }

    /// How probes went.
    pub fn probes(&self) -> Vec<ProbeTally> {
        self.context.probe_counts.all()
    }

    /// Whether the runtime answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn is_well(&self) -> Result<(), StatsError> {
        Ok(self.context.config.runtime.version().await.map(drop)?)
    }

    /// The agent's settings, as a KubeletConfiguration of kubelet.config.k8s.io/v1beta1: what of it is decided here.
    pub fn configuration(&self) -> Value {
        let config = &self.context.config;
        let dns = &config.dns;
        let driver = format!("{:?}", self.context.cgroup_driver).to_lowercase();
        json!({
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "enableServer": config.kubelet_port.is_some(),
            "port": config.kubelet_port.unwrap_or(0),
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true, "cacheTTL": "0s"}, "x509": {}},
            "authorization": {"mode": "Webhook"},
            "enableDebuggingHandlers": true,
            "enableProfilingHandler": false,
            "enableDebugFlagsHandler": false,
            "enableSystemLogHandler": false,
            "cgroupRoot": config.cgroup_root,
            "cgroupDriver": driver,
            "clusterDomain": dns.domain,
            "clusterDNS": dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "resolvConf": dns.resolv_conf.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            "maxPods": crate::machine::PODS,
            "podPidsLimit": config.pod_pids_limit.unwrap_or(-1),
            "seccompDefault": config.seccomp_default,
            "containerLogMaxSize": config.log_limits.bytes.unwrap_or(-1).to_string(),
            "containerLogMaxFiles": config.log_limits.files,
            "podLogsDir": config.logs.display().to_string(),
            "failSwapOn": false,
        })
    }

    /// What all use now. The first who asks waits half a second for a second reading.
    ///
    /// # Errors
    /// The runtime does not answer, or the agent ends.
    pub async fn usage(&self, extent: Extent) -> Result<NodeUsage, StatsError> {
        let kept = self.meter.kept().await?;
        let mut usage = machine::usage(&self.context, extent).await?;
        usage.pods = pods::usage(&self.context, &self.pods, extent).await?;
        if extent == Extent::All {
            self.logs.weigh(&self.context, &self.pods, &mut usage.pods).await?;
        }
        compare(&mut usage, &kept);
        Ok(usage)
    }
}

/// What is counted now.
async fn read(context: &Context) -> Result<Reading, StatsError> {
    let mut counters = pods::counters(context).await?;
    counters.extend(machine::counter(context.now()).map(|counter| (Counted::Node, counter)));
    Ok(Reading { at: context.now(), counters: counters.into_iter().collect() })
}

/// Adds rates.
fn compare(usage: &mut NodeUsage, kept: &Reading) {
    let set = |cpu: &mut Option<Cpu>, of: Counted, since| {
        if let Some(cpu) = cpu {
            cpu.rate = rate(kept, &of, Counter { at: cpu.at, total: cpu.total }, since);
        }
    };
    set(&mut usage.cpu, Counted::Node, usage.since);
    for pod in &mut usage.pods {
        set(&mut pod.cpu, Counted::Pod(pod.uid.clone()), pod.since);
        for container in &mut pod.containers {
            set(&mut container.cpu, Counted::Container(container.id.clone()), container.since);
        }
    }
}
