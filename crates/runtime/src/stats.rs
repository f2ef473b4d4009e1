//! What containers and sandboxes use, read when somebody asks: processor time and memory from their cgroups, the network from the sandbox's
//! namespace, the writable layer by a walk through it. Of these only what walks have found is kept, for a minute: usage of a processor is a counter, rates
//! are the caller's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_cri::{
    ContainerAttributes, ContainerStats, ContainerStatsFilter, CpuUsage, FilesystemIdentifier, FilesystemUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes, PodSandboxStats,
    PodSandboxStatsFilter, ProcessUsage, SwapUsage, UInt64Value,
};
use remora_sys::KeptByFolder;
use remora_sys::cgroup::Usage;
use remora_sys::interfaces::{InterfaceCounters, interfaces};
use remora_sys::namespace::{Kind, run_in};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::container::{Container, selected};
use crate::identity::now;
use crate::sandbox::{Sandbox, SandboxState};
use crate::task::blocking;
use crate::{Error, Inner};

/// What containers' layers take, as it was less than a minute ago, and the right to walk through one.
pub(crate) struct LayerGauge {
    /// One walks at a time: whoever waited finds what that one has found.
    walker: Arc<Semaphore>,
    kept: KeptByFolder<Option<FilesystemUsage>>,
}

impl Default for LayerGauge {
    fn default() -> Self {
        Self { walker: Arc::new(Semaphore::new(1)), kept: KeptByFolder::default() }
    }
}

impl LayerGauge {
    /// To be held by the thread that walks: the walk goes on when whoever asked has gone.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.walker).acquire_owned().await.map_err(|_closed| Error::Closed)
    }
}

impl Inner {
    /// What a container uses. One that does not run uses its layer alone.
    pub(crate) async fn container_stats(self: &Arc<Self>, container: Arc<Container>) -> Result<ContainerStats, Error> {
        let (runtime, turn) = (Arc::clone(self), self.layers.turn().await?);
        blocking(move || {
            let _turn = turn;
            Ok(runtime.with_layer(&container))
        })
        .await
    }

    /// What each running container that the filter lets through uses.
    pub(crate) async fn list_container_stats(
        self: &Arc<Self>,
        filter: ContainerStatsFilter,
    ) -> Result<Vec<ContainerStats>, Error> {
        let (runtime, turn) = (Arc::clone(self), self.layers.turn().await?);
        blocking(move || {
            let _turn = turn;
            let mut containers = runtime.table.containers();
            containers.retain(|container| container.running().is_some() && lets_through(&filter, container));
            Ok(containers.iter().map(|container| runtime.with_layer(container)).collect())
        })
        .await
    }

    /// What a sandbox and its containers use.
    pub(crate) async fn sandbox_stats(self: &Arc<Self>, sandbox: Arc<Sandbox>) -> Result<PodSandboxStats, Error> {
        let runtime = Arc::clone(self);
        blocking(move || Ok(runtime.of_sandbox(&sandbox))).await
    }

    /// Likewise, of each ready sandbox that the filter lets through.
    pub(crate) async fn list_sandbox_stats(
        self: &Arc<Self>,
        filter: PodSandboxStatsFilter,
    ) -> Result<Vec<PodSandboxStats>, Error> {
        let runtime = Arc::clone(self);
        blocking(move || {
            let mut sandboxes = runtime.table.sandboxes();
            sandboxes.retain(|sandbox| {
                sandbox.state() == SandboxState::Ready
                    && (filter.id.is_empty() || sandbox.id().starts_with(&filter.id))
                    && selected(&filter.label_selector, &sandbox.record().config.labels)
            });
            Ok(sandboxes.iter().map(|sandbox| runtime.of_sandbox(sandbox)).collect())
        })
        .await
    }

    fn of_container(&self, container: &Container) -> ContainerStats {
        let record = container.record();
        let config = &record.config;
        let usage = self.host.cgroups.usage(Path::new(&record.cgroup));
        ContainerStats {
            attributes: Some(ContainerAttributes {
                id: record.id.clone(),
                metadata: config.metadata.clone(),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
            }),
            cpu: cpu(&usage),
            memory: memory(&usage),
            writable_layer: None,
            swap: swap(&usage),
            io: None,
        }
    }

    fn with_layer(&self, container: &Container) -> ContainerStats {
        let writable_layer = layer(container, &self.layers.kept);
        ContainerStats { writable_layer, ..self.of_container(container) }
    }

    fn of_sandbox(&self, sandbox: &Sandbox) -> PodSandboxStats {
        let record = sandbox.record();
        let config = &record.config;
        let usage = self.host.cgroups.usage(Path::new(&record.cgroup_parent));
        let mut containers = self.table.containers_of(sandbox.id());
        containers.retain(|container| container.running().is_some());
        PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: record.id.clone(),
                metadata: config.metadata.clone(),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
            }),
            linux: Some(LinuxPodSandboxStats {
                cpu: cpu(&usage),
                memory: memory(&usage),
                network: network(sandbox),
                process: usage.tasks.map(|tasks| ProcessUsage { timestamp: now(), process_count: number(tasks) }),
                containers: containers.iter().map(|container| self.of_container(container)).collect(),
                io: None,
            }),
        }
    }
}

fn lets_through(filter: &ContainerStatsFilter, container: &Container) -> bool {
    let record = container.record();
    (filter.id.is_empty() || record.id.starts_with(&filter.id))
        && (filter.pod_sandbox_id.is_empty() || record.sandbox_id.starts_with(&filter.pod_sandbox_id))
        && selected(&filter.label_selector, &record.config.labels)
}

#[expect(clippy::unnecessary_wraps, reason = "what CRI's fields are")]
fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn cpu(usage: &Usage) -> Option<CpuUsage> {
    let total = usage.cpu?;
    Some(CpuUsage { timestamp: now(), usage_core_nano_seconds: number(total), usage_nano_cores: None })
}

fn memory(usage: &Usage) -> Option<MemoryUsage> {
    let memory = usage.memory?;
    let working_set = memory.working_set();
    Some(MemoryUsage {
        timestamp: now(),
        working_set_bytes: number(working_set),
        available_bytes: memory.limit.and_then(|limit| number(limit.saturating_sub(working_set))),
        usage_bytes: number(memory.usage),
        rss_bytes: number(memory.anonymous),
        page_faults: number(memory.page_faults),
        major_page_faults: number(memory.major_page_faults),
    })
}

fn swap(usage: &Usage) -> Option<SwapUsage> {
    let used = usage.swap?;
    Some(SwapUsage { timestamp: now(), swap_available_bytes: None, swap_usage_bytes: number(used) })
}

/// None if it cannot be told: it has no layer of its own, or too large a one, or is being removed.
fn layer(container: &Container, kept: &KeptByFolder<Option<FilesystemUsage>>) -> Option<FilesystemUsage> {
    let layers = [container.paths.own_layer().upper, container.paths.tools_layer().upper];
    let upper: PathBuf = layers.into_iter().find(|upper| upper.is_dir())?;
    kept.get_or(&upper, weigh)
}

fn weigh(upper: &Path) -> Option<FilesystemUsage> {
    let usage = remora_sys::disk_usage(upper)
        .inspect_err(|error| tracing::debug!(%error, "a container's layer cannot be looked through"));
    let usage = usage.ok().filter(|usage| usage.is_whole)?;
    Some(FilesystemUsage {
        timestamp: now(),
        fs_id: Some(FilesystemIdentifier { mountpoint: upper.display().to_string() }),
        used_bytes: number(usage.bytes),
        inodes_used: number(usage.inodes),
    })
}

/// None in the node's network.
fn network(sandbox: &Sandbox) -> Option<NetworkUsage> {
    let attached = sandbox.record().network.as_ref()?;
    let first = attached.ips.first().and_then(|ip| attached.interfaces.get(ip.interface)).map(|of| of.name.as_str());
    let read = run_in(Kind::Net, &sandbox.paths.pin("net"), interfaces).and_then(|read| read);
    let read = read.inspect_err(|error| {
        tracing::debug!(id = sandbox.id(), %error, "a sandbox's interfaces cannot be looked at");
    });
    let all: Vec<NetworkInterfaceUsage> = read.ok()?.into_iter().map(interface).collect();
    let default_interface = all.iter().find(|of| Some(of.name.as_str()) == first).cloned();
    Some(NetworkUsage { timestamp: now(), default_interface, interfaces: all })
}

fn interface(counters: InterfaceCounters) -> NetworkInterfaceUsage {
    NetworkInterfaceUsage {
        name: counters.name,
        rx_bytes: number(counters.received),
        rx_errors: number(counters.receive_errors),
        tx_bytes: number(counters.sent),
        tx_errors: number(counters.send_errors),
    }
}
