//! What this machine has and is, read from the kernel.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use remora_decide::Need;

/// The version of the kubelet whose behaviour we follow.
pub(crate) const KUBELET_VERSION: &str = "v1.34.4";
/// As many pods as a kubelet takes.
pub(crate) const PODS: u32 = 110;

/// What the machine has. Read once: none of it changes while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    cpus: usize,
    memory: u64,
    disk: u64,
}

impl Machine {
    /// Of this machine; the disk is the one that holds `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let disk = remora_sys::file::space(root).map_or(0, |s| s.total_bytes);
        Self { cpus, memory: memory_bytes(), disk }
    }

    /// Processors, and bytes of memory.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.cpus, self.memory)
    }

    /// `status.capacity`.
    pub(crate) fn capacity(&self) -> BTreeMap<String, Quantity> {
        let kibibytes = |bytes: u64| Quantity(format!("{}Ki", bytes / 1024));
        [
            ("cpu", Quantity(self.cpus.to_string())),
            ("memory", kibibytes(self.memory)),
            ("ephemeral-storage", kibibytes(self.disk)),
            ("hugepages-1Gi", Quantity("0".to_owned())),
            ("hugepages-2Mi", Quantity("0".to_owned())),
            ("pods", Quantity(PODS.to_string())),
        ]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), amount))
        .collect()
    }

    /// What its pods may have together: all of it.
    pub(crate) fn room(&self) -> Need {
        let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        Need { cpu: whole(self.cpus as u64 * 1000), memory: whole(self.memory / 1024 * 1024) }
    }

    /// What pods may use of a resource: all of it, nothing is reserved.
    pub(crate) fn allocatable(&self, name: &str) -> Option<Quantity> {
        self.capacity().remove(name)
    }
}

/// The machine's memory.
pub(crate) fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// `status.nodeInfo`. What cannot be read is empty, as a kubelet leaves it.
pub(crate) fn node_info(runtime: &str) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let machine_id = read("/etc/machine-id");
    let system_uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|u| !u.is_empty());
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime.to_owned(),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: os_image(&read("/etc/os-release")),
        swap: None,
    }
}

/// As Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_image(text: &str) -> String {
    let line = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.map(|l| l.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}
