//! How a kubelet names cgroups to a runtime whose driver is systemd (kubernetes `pkg/kubelet/cm/cgroup_manager_linux.go`, `ToSystemd`).

use std::path::PathBuf;

/// The ending of a slice's name.
pub const SLICE: &str = ".slice";

/// `/a-b/c/d` → `/a_b.slice/a_b-c.slice/a_b-c-d.slice`
pub fn slice_path(cgroup: &str) -> String {
    let parts = cgroup.split('/').filter(|part| !part.is_empty()).map(slice_part);
    expand_slice(&parts.collect::<Vec<_>>().join("-"))
}

/// `a-b-c` → `/a.slice/a-b.slice/a-b-c.slice`: a slice lies in the one that its name says.
pub fn expand_slice(name: &str) -> String {
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let slices = ends.map(|end| format!("{}{SLICE}", &name[..end]));
    let path: PathBuf = std::iter::once("/".to_owned()).chain(slices).collect();
    path.to_string_lossy().into_owned()
}

/// One part of a cgroup's path as one part of a slice's name. `-` separates parts, so the kubelet writes `_` for it; what units cannot be called at
/// all becomes `\xNN`, as systemd-escape(1) has it.
pub fn slice_part(part: &str) -> String {
    let letter = |(at, byte): (usize, u8)| match byte {
        b'-' => "_".to_owned(),
        b'.' if at == 0 => r"\x2e".to_owned(),
        b'_' | b'.' | b':' | b'\\' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!(r"\x{byte:02x}"),
    };
    part.bytes().enumerate().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_a_slice_in_those_of_its_parents() {
        let check = |cgroup, expected: &str| assert_eq!(slice_path(cgroup), expected);
        check("/kubepods", "/kubepods.slice");
        // The example of `pkg/kubelet/cm/cgroup_manager_linux_test.go`.
        check(
            "/kubepods/burstable/pod1234-abcd-5678-efgh",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234_abcd_5678_efgh.slice",
        );
        check(
            "/remora-1a2b/kubepods/podu",
            "/remora_1a2b.slice/remora_1a2b-kubepods.slice/remora_1a2b-kubepods-podu.slice",
        );
        check("/a b/.c", r"/a\x20b.slice/a\x20b-\x2ec.slice");
    }
}
