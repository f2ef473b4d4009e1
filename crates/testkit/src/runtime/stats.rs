//! What the fake's containers use: each that runs keeps half a processor busy and has 12 MiB, 2 MiB of which nobody has touched for long.

use remora_cri::{
    ContainerAttributes, ContainerState, ContainerStats, CpuUsage, FilesystemUsage, LinuxPodSandboxStats, MemoryUsage,
    NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes, PodSandboxStats, ProcessUsage, UInt64Value,
};

use super::state::{Container, Sandbox, State};

const MIB: u64 = 1 << 20;

fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

/// Of one container.
pub(super) fn of_container(id: &str, container: &Container, now: i64) -> ContainerStats {
    let ran = u64::try_from(now - container.started).unwrap_or(0);
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: id.to_owned(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        }),
        cpu: Some(CpuUsage { timestamp: now, usage_core_nano_seconds: number(ran / 2), usage_nano_cores: None }),
        memory: Some(memory(1, now)),
        ..ContainerStats::default()
    }
}

/// Its writable layer.
pub(super) fn layer(now: i64) -> FilesystemUsage {
    FilesystemUsage { timestamp: now, fs_id: None, used_bytes: number(3 * MIB), inodes_used: number(4) }
}

fn memory(containers: u64, now: i64) -> MemoryUsage {
    MemoryUsage {
        timestamp: now,
        working_set_bytes: number(10 * MIB * containers),
        usage_bytes: number(12 * MIB * containers),
        rss_bytes: number(8 * MIB * containers),
        page_faults: number(containers),
        major_page_faults: number(0),
        available_bytes: None,
    }
}

impl State {
    /// The running containers, of one sandbox or of all.
    pub(super) fn running(&self, sandbox: Option<&str>) -> Vec<(&String, &Container)> {
        let running = self.containers.iter().filter(|(_, of)| of.state == ContainerState::Running);
        running.filter(|(_, of)| sandbox.is_none_or(|id| of.sandbox == id)).collect()
    }

    /// Of one sandbox.
    pub(super) fn of_sandbox(&self, id: &str, sandbox: &Sandbox, now: i64) -> PodSandboxStats {
        let containers: Vec<ContainerStats> =
            self.running(Some(id)).into_iter().map(|(id, of)| of_container(id, of, now)).collect();
        let used = containers.iter().filter_map(|of| of.cpu.as_ref()?.usage_core_nano_seconds.as_ref());
        let used = used.map(|number| number.value).sum();
        let count = containers.len() as u64;
        let eth0 = NetworkInterfaceUsage {
            name: "eth0".to_owned(),
            rx_bytes: number(1000),
            tx_bytes: number(2000),
            ..NetworkInterfaceUsage::default()
        };
        PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: id.to_owned(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
            }),
            linux: Some(LinuxPodSandboxStats {
                cpu: Some(CpuUsage { timestamp: now, usage_core_nano_seconds: number(used), usage_nano_cores: None }),
                memory: Some(memory(count, now)),
                network: Some(NetworkUsage {
                    timestamp: now,
                    default_interface: Some(eth0.clone()),
                    interfaces: vec![eth0],
                }),
                process: Some(ProcessUsage { timestamp: now, process_count: number(count) }),
                containers,
                io: None,
            }),
        }
    }
}
