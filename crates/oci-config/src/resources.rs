//! What a container may use: processor, memory, huge pages, and how early the kernel gives it up.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources};
use remora_cri::LinuxContainerResources;

use crate::pod_cgroup::{CPU_WEIGHT, weight_of_shares};
use crate::{CgroupVersion, Facts};

/// The one file of cgroup v2 that is understood on v1 too: CRI has no field for the number of processes, and the OCI spec's works on both.
const PIDS_MAX: &str = "pids.max";

/// The spec's resources. Zero means "not limited" for every number, as CRI says.
pub(crate) fn resources(
    asked: Option<&LinuxContainerResources>,
    devices: Vec<LinuxDeviceCgroup>,
    facts: &Facts,
) -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(devices));
    let Some(asked) = asked else { return resources };
    resources.set_cpu(cpu(asked, facts.cgroup_version));
    resources.set_memory(memory(asked, facts.swap_controller));
    if facts.hugetlb_controller && !asked.hugepage_limits.is_empty() {
        resources.set_hugepage_limits(Some(asked.hugepage_limits.iter().map(hugepage).collect()));
    }
    resources.set_pids(pids(asked));
    if facts.cgroup_version == CgroupVersion::V2 {
        resources.set_unified(Some(unified(asked)).filter(|files| !files.is_empty()));
    }
    resources
}

/// Files of cgroup v2. The weight is among them, since low-level runtimes map shares in two ways, by their age (opencontainers/runc#4785), and a
/// container is to be weighed as its pod is.
fn unified(asked: &LinuxContainerResources) -> HashMap<String, String> {
    let weight = weight_of_shares(asked.cpu_shares).map(|weight| (CPU_WEIGHT.to_owned(), weight.to_string()));
    let others = asked.unified.clone().into_iter().filter(|(name, _)| name != PIDS_MAX);
    // Whoever names the file means it.
    weight.into_iter().chain(others).collect()
}

/// Anything but a number, such as `max`, is no limit.
fn pids(asked: &LinuxContainerResources) -> Option<LinuxPids> {
    let limit = asked.unified.get(PIDS_MAX)?.parse().ok().filter(|&limit: &i64| limit > 0)?;
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    Some(pids)
}

/// The value to ask for: where the host may not lower it, its own value is kept instead (containerd's `restrict_oom_score_adj`).
pub(crate) fn oom_score_adj(asked: Option<&LinuxContainerResources>, floor: Option<i32>) -> Option<i32> {
    let asked = i32::try_from(asked?.oom_score_adj.clamp(-1000, 1000)).ok()?;
    Some(floor.map_or(asked, |floor| asked.max(floor)))
}

fn cpu(asked: &LinuxContainerResources, version: CgroupVersion) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    if version == CgroupVersion::V1 {
        cpu.set_shares(u64::try_from(asked.cpu_shares).ok().filter(|&n| n != 0));
    }
    cpu.set_quota(Some(asked.cpu_quota).filter(|&n| n != 0));
    cpu.set_period(u64::try_from(asked.cpu_period).ok().filter(|&n| n != 0));
    cpu.set_cpus(Some(asked.cpuset_cpus.clone()).filter(|set| !set.is_empty()));
    cpu.set_mems(Some(asked.cpuset_mems.clone()).filter(|set| !set.is_empty()));
    Some(cpu).filter(|cpu| *cpu != LinuxCpu::default())
}

fn memory(asked: &LinuxContainerResources, swap_controller: bool) -> Option<LinuxMemory> {
    let limit = Some(asked.memory_limit_in_bytes).filter(|&n| n != 0)?;
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(limit));
    if swap_controller {
        // Memory and swap together: equal to the limit means that nothing may be swapped.
        let swap = Some(asked.memory_swap_limit_in_bytes).filter(|&n| n != 0);
        memory.set_swap(Some(swap.unwrap_or(limit)));
    }
    Some(memory)
}

fn hugepage(asked: &remora_cri::HugepageLimit) -> LinuxHugepageLimit {
    let mut limit = LinuxHugepageLimit::default();
    limit.set_page_size(asked.page_size.clone());
    limit.set_limit(i64::try_from(asked.limit).unwrap_or(i64::MAX));
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_score_adj_is_kept_at_the_floor_where_it_cannot_be_lowered() {
        let check = |asked, floor, expected| {
            let asked = LinuxContainerResources { oom_score_adj: asked, ..Default::default() };
            assert_eq!(oom_score_adj(Some(&asked), floor), Some(expected));
        };
        check(-997, None, -997);
        check(-997, Some(0), 0);
        check(1000, Some(0), 1000);
        check(5000, None, 1000);
        assert_eq!(oom_score_adj(None, Some(0)), None);
    }

    #[test]
    fn the_number_of_processes_is_taken_from_the_unified_name_on_both_hierarchies() {
        let check = |value: &str, expected: Option<i64>| {
            let unified = [(PIDS_MAX.to_owned(), value.to_owned())].into();
            let asked = LinuxContainerResources { unified, ..Default::default() };
            assert_eq!(pids(&asked).map(|pids| pids.limit()), expected, "{value}");
        };
        check("64", Some(64));
        check("max", None);
        check("0", None);
        assert_eq!(pids(&LinuxContainerResources::default()), None);
    }

    #[test]
    fn a_container_is_weighed_as_its_pod_is_whatever_the_low_level_runtime_would_reckon() {
        let asked = |cpu_shares, unified: &[(&str, &str)]| LinuxContainerResources {
            cpu_shares,
            unified: unified.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Default::default()
        };
        let check = |asked: LinuxContainerResources, expected: Option<&str>| {
            assert_eq!(unified(&asked).get(CPU_WEIGHT).map(String::as_str), expected);
            assert_eq!(cpu(&asked, CgroupVersion::V2), None);
        };
        check(asked(512, &[]), Some("20"));
        check(asked(512, &[("cpu.weight", "7")]), Some("7"));
        check(asked(0, &[("memory.high", "7")]), None);
        assert_eq!(cpu(&asked(512, &[]), CgroupVersion::V1).unwrap().shares(), Some(512));
    }

    #[test]
    fn swap_is_limited_only_where_the_kernel_counts_it() {
        let asked = LinuxContainerResources { memory_limit_in_bytes: 64, ..Default::default() };
        assert_eq!(memory(&asked, true).unwrap().swap(), Some(64));
        assert_eq!(memory(&asked, false).unwrap().swap(), None);
        assert_eq!(memory(&LinuxContainerResources::default(), true), None);
    }
}
