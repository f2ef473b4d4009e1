//! What a pod as a whole may use: files of its cgroup and what is written to them.
//!
//! The kubelet writes these itself; a runtime that makes the pod's cgroup does it from the sandbox's `resources`.

use remora_cri::LinuxContainerResources;

use crate::CgroupVersion;

/// The range of `cpu.shares` (v1), which is mapped onto `cpu.weight` (v2, 1 to 10000).
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// What [`weight_of_shares`] is written to.
pub(crate) const CPU_WEIGHT: &str = "cpu.weight";

/// A file of a cgroup and what is written to it.
pub type CgroupFile = (&'static str, String);

/// File names and values, in the order of writing. Zero means "not limited" and is not written.
pub fn pod_cgroup_files(resources: &LinuxContainerResources, version: CgroupVersion) -> Vec<CgroupFile> {
    let mut files: Vec<CgroupFile> = Vec::new();
    let period = if resources.cpu_period > 0 { resources.cpu_period } else { 100_000 };
    let (has_shares, has_quota) = (resources.cpu_shares > 0, resources.cpu_quota > 0);
    match version {
        CgroupVersion::V1 => {
            let shares = resources.cpu_shares.clamp(MIN_SHARES, MAX_SHARES);
            files.extend(has_shares.then(|| ("cpu.shares", shares.to_string())));
            if has_quota {
                files.push(("cpu.cfs_period_us", period.to_string()));
                files.push(("cpu.cfs_quota_us", resources.cpu_quota.to_string()));
            }
            files.extend(limit(resources.memory_limit_in_bytes).map(|limit| ("memory.limit_in_bytes", limit)));
        }
        CgroupVersion::V2 => {
            files.extend(weight_of_shares(resources.cpu_shares).map(|weight| (CPU_WEIGHT, weight.to_string())));
            files.extend(has_quota.then(|| ("cpu.max", format!("{} {period}", resources.cpu_quota))));
            files.extend(limit(resources.memory_limit_in_bytes).map(|limit| ("memory.max", limit)));
        }
    }
    // CRI has no field for it; the file is the same in either hierarchy.
    files.extend(resources.unified.get("pids.max").map(|limit| ("pids.max", limit.clone())));
    files
}

/// The same for a container that runs, which had other limits before. Of memory with swap there is a limit of its own on v1, which is never less
/// than that of memory alone: so it is raised before that, and lowered after it.
pub fn container_cgroup_files(
    resources: &LinuxContainerResources,
    before: &LinuxContainerResources,
    version: CgroupVersion,
    swap_controller: bool,
) -> Vec<CgroupFile> {
    let mut files = pod_cgroup_files(resources, version);
    let memory = files.iter().position(|(name, _)| *name == "memory.limit_in_bytes");
    if let (Some(at), true) = (memory, swap_controller) {
        let swap = Some(resources.memory_swap_limit_in_bytes).filter(|&n| n != 0);
        let value = swap.unwrap_or(resources.memory_limit_in_bytes).to_string();
        let grows = before.memory_limit_in_bytes > 0 && resources.memory_limit_in_bytes > before.memory_limit_in_bytes;
        files.insert(if grows { at } else { at + 1 }, ("memory.memsw.limit_in_bytes", value));
    }
    files
}

/// What a container or sandbox has after an update: zero means "as before".
pub fn updated(before: &LinuxContainerResources, asked: &LinuxContainerResources) -> LinuxContainerResources {
    let number = |asked: i64, before: i64| if asked == 0 { before } else { asked };
    let text = |asked: &String, before: &String| if asked.is_empty() { before.clone() } else { asked.clone() };
    let mut unified = before.unified.clone();
    unified.extend(asked.unified.clone());
    LinuxContainerResources {
        cpu_period: number(asked.cpu_period, before.cpu_period),
        cpu_quota: number(asked.cpu_quota, before.cpu_quota),
        cpu_shares: number(asked.cpu_shares, before.cpu_shares),
        memory_limit_in_bytes: number(asked.memory_limit_in_bytes, before.memory_limit_in_bytes),
        // What was killed first stays so: the kernel is told once, when the container starts.
        oom_score_adj: before.oom_score_adj,
        cpuset_cpus: text(&asked.cpuset_cpus, &before.cpuset_cpus),
        cpuset_mems: text(&asked.cpuset_mems, &before.cpuset_mems),
        hugepage_limits: before.hugepage_limits.clone(),
        unified,
        memory_swap_limit_in_bytes: number(asked.memory_swap_limit_in_bytes, before.memory_swap_limit_in_bytes),
    }
}

/// What the cgroup of a QoS class is written, from its pods' shares: their sum counts, beside pods of other classes, and those that ask for nothing
/// have together what one of them has.
///
/// Source: kubernetes `pkg/kubelet/cm/qos_container_manager_linux.go`.
pub fn class_cgroup_files(shares: impl IntoIterator<Item = i64>, version: CgroupVersion) -> Vec<CgroupFile> {
    let asked: i64 = shares.into_iter().filter(|shares| *shares > MIN_SHARES).sum();
    let resources = LinuxContainerResources { cpu_shares: asked.max(MIN_SHARES), ..Default::default() };
    pod_cgroup_files(&resources, version)
}

/// The same as properties of a systemd unit (systemd.resource-control(5)), and what is no property. All of them are D-Bus's `t`.
///
/// systemd writes the files of its units from their properties, at every `daemon-reload` anew: what is only in a file does not stay there.
pub fn unit_properties(files: Vec<CgroupFile>) -> (Vec<(&'static str, u64)>, Vec<CgroupFile>) {
    let (mut properties, mut rest) = (Vec::new(), Vec::new());
    for (name, value) in files {
        match of_file(name, &value) {
            Some(of_file) => properties.extend(of_file),
            None => rest.push((name, value)),
        }
    }
    (properties, rest)
}

fn of_file(name: &str, value: &str) -> Option<Vec<(&'static str, u64)>> {
    let property = match name {
        "cpu.max" => return of_cpu_max(value),
        CPU_WEIGHT => "CPUWeight",
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return None,
    };
    Some(vec![(property, amount(value)?)])
}

fn of_cpu_max(value: &str) -> Option<Vec<(&'static str, u64)>> {
    /// systemd keeps a unit's quota as whole percents of a processor, and reads it anew from there.
    const PERCENT_US: u64 = 10_000;
    let (quota, period) = value.split_once(' ')?;
    let (quota, period) = (amount(quota)?, amount(period)?);
    let per_second = match quota {
        u64::MAX => u64::MAX,
        // Rounded up, as runc does: less than was asked for would slow the containers down.
        quota => quota.saturating_mul(1_000_000).checked_div(period)?.div_ceil(PERCENT_US) * PERCENT_US,
    };
    Some(vec![("CPUQuotaPeriodUSec", period), ("CPUQuotaPerSecUSec", per_second)])
}

fn amount(text: &str) -> Option<u64> {
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

fn limit(bytes: i64) -> Option<String> {
    (bytes > 0).then(|| bytes.to_string())
}

/// `cpu.weight` for `cpu.shares`: linear, as the kubelet of v1.34 has it for pods. None for no shares.
pub(crate) fn weight_of_shares(shares: i64) -> Option<i64> {
    let within = shares.clamp(MIN_SHARES, MAX_SHARES);
    (shares > 0).then(|| 1 + (within - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_files_of_either_hierarchy_and_zeros_none() {
        let resources = LinuxContainerResources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_limit_in_bytes: 64,
            unified: [("pids.max".to_owned(), "7".to_owned())].into(),
            ..Default::default()
        };
        let check = |resources: &LinuxContainerResources, version, expected: &[(&str, &str)]| {
            let files = pod_cgroup_files(resources, version);
            let files: Vec<(&str, &str)> = files.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(files, expected);
        };
        check(
            &resources,
            CgroupVersion::V1,
            &[
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("memory.limit_in_bytes", "64"),
                ("pids.max", "7"),
            ],
        );
        check(
            &resources,
            CgroupVersion::V2,
            &[("cpu.weight", "39"), ("cpu.max", "50000 100000"), ("memory.max", "64"), ("pids.max", "7")],
        );
        check(&LinuxContainerResources::default(), CgroupVersion::V1, &[]);
    }

    #[test]
    fn memory_with_swap_is_raised_before_memory_and_lowered_after_it() {
        let of = |memory_limit_in_bytes| LinuxContainerResources { memory_limit_in_bytes, ..Default::default() };
        let check = |before, after, version, swap, expected: &[&str]| {
            let files = container_cgroup_files(&of(after), &of(before), version, swap);
            let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, expected);
            assert!(files.iter().all(|(_, value)| *value == after.to_string()), "{files:?}");
        };
        let [memory, swap] = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        check(1, 2, CgroupVersion::V1, true, &[swap, memory]);
        check(2, 1, CgroupVersion::V1, true, &[memory, swap]);
        check(0, 1, CgroupVersion::V1, true, &[memory, swap]);
        check(1, 2, CgroupVersion::V1, false, &[memory]);
        check(1, 2, CgroupVersion::V2, true, &["memory.max"]);
    }

    #[test]
    fn what_an_update_leaves_out_stays() {
        let before = LinuxContainerResources { cpu_shares: 2, cpu_quota: 5, oom_score_adj: 7, ..Default::default() };
        let asked = LinuxContainerResources { cpu_quota: 6, memory_limit_in_bytes: 9, ..Default::default() };
        let after = LinuxContainerResources { cpu_quota: 6, memory_limit_in_bytes: 9, ..before.clone() };
        assert_eq!(updated(&before, &asked), after);
        assert_eq!(updated(&before, &LinuxContainerResources::default()), before);
    }

    #[test]
    fn a_class_weighs_what_its_pods_have_asked_for() {
        let check = |shares: &[i64], v1: &str, v2: &str| {
            let files = |version| class_cgroup_files(shares.iter().copied(), version);
            assert_eq!(files(CgroupVersion::V1), [("cpu.shares", v1.to_owned())], "{shares:?}");
            assert_eq!(files(CgroupVersion::V2), [(CPU_WEIGHT, v2.to_owned())], "{shares:?}");
        };
        check(&[], "2", "1");
        check(&[2, 2, 2], "2", "1");
        check(&[0, 2], "2", "1");
        check(&[512, 2, 512], "1024", "39");
        check(&[262_144, 262_144], "262144", "10000");
    }

    #[test]
    fn what_systemd_manages_becomes_a_property() {
        let check = |file: (&'static str, &str), properties: &[(&str, u64)]| {
            let file = (file.0, file.1.to_owned());
            let (found, rest) = unit_properties(vec![file.clone()]);
            assert_eq!(found, properties, "{file:?}");
            assert_eq!(rest.contains(&file), properties.is_empty(), "{file:?}");
        };
        check(("cpu.weight", "39"), &[("CPUWeight", 39)]);
        check(("cpu.max", "50000 100000"), &[("CPUQuotaPeriodUSec", 100_000), ("CPUQuotaPerSecUSec", 500_000)]);
        check(("cpu.max", "1500 100000"), &[("CPUQuotaPeriodUSec", 100_000), ("CPUQuotaPerSecUSec", 20_000)]);
        check(("cpu.max", "max 100000"), &[("CPUQuotaPeriodUSec", 100_000), ("CPUQuotaPerSecUSec", u64::MAX)]);
        check(("memory.max", "67108864"), &[("MemoryMax", 64 << 20)]);
        check(("pids.max", "max"), &[("TasksMax", u64::MAX)]);
        check(("hugetlb.2MB.max", "0"), &[]);
        check(("cpu.max", "5 0"), &[]);
    }
}
