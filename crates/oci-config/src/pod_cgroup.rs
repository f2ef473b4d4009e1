//! What a pod as a whole may use: files of its cgroup and what is written to them.
//!
//! The kubelet writes these itself; a runtime that makes the pod's cgroup does it from the sandbox's `resources`.

use remora_cri::LinuxContainerResources;

use crate::CgroupVersion;

/// The range of `cpu.shares` (v1), which is mapped onto `cpu.weight` (v2, 1 to 10000).
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// File names and values, in the order of writing. Zero means "not limited" and is not written.
pub fn pod_cgroup_files(resources: &LinuxContainerResources, version: CgroupVersion) -> Vec<(&'static str, String)> {
    let mut files: Vec<(&'static str, String)> = Vec::new();
    let shares = resources.cpu_shares.clamp(MIN_SHARES, MAX_SHARES);
    let period = if resources.cpu_period > 0 { resources.cpu_period } else { 100_000 };
    let (has_shares, has_quota) = (resources.cpu_shares > 0, resources.cpu_quota > 0);
    match version {
        CgroupVersion::V1 => {
            files.extend(has_shares.then(|| ("cpu.shares", shares.to_string())));
            if has_quota {
                files.push(("cpu.cfs_period_us", period.to_string()));
                files.push(("cpu.cfs_quota_us", resources.cpu_quota.to_string()));
            }
            files.extend(limit(resources.memory_limit_in_bytes).map(|limit| ("memory.limit_in_bytes", limit)));
        }
        CgroupVersion::V2 => {
            files.extend(has_shares.then(|| ("cpu.weight", weight(shares).to_string())));
            files.extend(has_quota.then(|| ("cpu.max", format!("{} {period}", resources.cpu_quota))));
            files.extend(limit(resources.memory_limit_in_bytes).map(|limit| ("memory.max", limit)));
        }
    }
    // CRI has no field for it; the file is the same in either hierarchy.
    files.extend(resources.unified.get("pids.max").map(|limit| ("pids.max", limit.clone())));
    files
}

fn limit(bytes: i64) -> Option<String> {
    (bytes > 0).then(|| bytes.to_string())
}

/// Linear, as runc and crun map it.
fn weight(shares: i64) -> i64 {
    1 + (shares - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
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
}
