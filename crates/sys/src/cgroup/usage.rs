//! What all processes of a cgroup use, v1 and v2 alike: processor time, memory, swap, how many there are.

use std::fs;
use std::path::{Path, PathBuf};

use super::Layout;

/// What a cgroup uses, with those below it. What its controllers do not tell is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of one processor, in all time.
    pub cpu: Option<u64>,
    /// Bytes of memory, and what becomes of them.
    pub memory: Option<MemoryUsage>,
    /// Bytes of swap space.
    pub swap: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
}

/// Memory of a cgroup, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All of it, with pages of files.
    pub usage: u64,
    /// Pages of files that nobody has touched for long: they can be given back at once.
    pub inactive_file: u64,
    /// Anonymous pages.
    pub anonymous: u64,
    /// Page faults in all time.
    pub page_faults: u64,
    /// Those that had to wait for a disk.
    pub major_page_faults: u64,
    /// None: as much as those above may have.
    pub limit: Option<u64>,
}

impl MemoryUsage {
    /// What cannot be given back at once, as the kubelet counts it.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}

impl Layout {
    /// Reads what a cgroup uses: some five small files. `path` is as in [`Layout::folders`]; of one that is gone, nothing is known.
    #[must_use]
    pub fn usage(&self, path: &Path) -> Usage {
        let path = path.strip_prefix("/").unwrap_or(path);
        match self {
            Self::Unified(mount) => unified(&mount.join(path)),
            Self::Legacy { hierarchies, .. } => legacy(|controller| {
                let of = hierarchies.iter().find(|of| of.controllers.iter().any(|name| name == controller))?;
                Some(of.mount.join(path))
            }),
        }
    }
}

fn unified(folder: &Path) -> Usage {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name).as_deref().and_then(amount);
    let cpu = text("cpu.stat").and_then(|stat| Some(field(&stat, "usage_usec")?.saturating_mul(1000)));
    let stat = text("memory.stat").unwrap_or_default();
    let memory = number("memory.current").map(|usage| MemoryUsage {
        usage,
        inactive_file: field(&stat, "inactive_file").unwrap_or(0),
        anonymous: field(&stat, "anon").unwrap_or(0),
        page_faults: field(&stat, "pgfault").unwrap_or(0),
        major_page_faults: field(&stat, "pgmajfault").unwrap_or(0),
        limit: number("memory.max"),
    });
    Usage { cpu, memory, swap: number("memory.swap.current"), tasks: number("pids.current") }
}

fn legacy(folder: impl Fn(&str) -> Option<PathBuf>) -> Usage {
    let text = |controller: &str, name: &str| fs::read_to_string(folder(controller)?.join(name)).ok();
    let number = |controller: &str, name: &str| text(controller, name).as_deref().and_then(amount);
    // The names with `total_` count those below, as all of v2's do.
    let stat = text("memory", "memory.stat").unwrap_or_default();
    let of_all = |name: &str| field(&stat, &format!("total_{name}"));
    let memory = number("memory", "memory.usage_in_bytes").map(|usage| MemoryUsage {
        usage,
        inactive_file: of_all("inactive_file").unwrap_or(0),
        anonymous: of_all("rss").unwrap_or(0),
        page_faults: of_all("pgfault").unwrap_or(0),
        major_page_faults: of_all("pgmajfault").unwrap_or(0),
        limit: number("memory", "memory.limit_in_bytes"),
    });
    let cpu = number("cpuacct", "cpuacct.usage");
    Usage { cpu, memory, swap: of_all("swap"), tasks: number("pids", "pids.current") }
}

/// A file that holds one amount. `max`, and what v1 says instead (the largest number of whole pages), is no limit.
fn amount(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|amount| *amount < i64::MAX as u64 / 4096 * 4096)
}

/// A number behind its name, one to a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchy;
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    const EXPECTED: Usage = Usage {
        cpu: Some(1_234_000),
        memory: Some(MemoryUsage {
            usage: 4096,
            inactive_file: 1024,
            anonymous: 2048,
            page_faults: 7,
            major_page_faults: 3,
            limit: Some(8192),
        }),
        swap: Some(512),
        tasks: Some(2),
    };

    #[test]
    fn both_versions_tell_the_same() {
        let root = tempfile::tempdir().unwrap();
        let v2 = root.path().join("v2/pod");
        write(
            &v2,
            &[
                ("cpu.stat", "usage_usec 1234\nuser_usec 1000\n"),
                ("memory.current", "4096\n"),
                ("memory.stat", "anon 2048\nanon_thp 9\ninactive_file 1024\npgfault 7\npgmajfault 3\n"),
                ("memory.max", "8192\n"),
                ("memory.swap.current", "512\n"),
                ("pids.current", "2\n"),
            ],
        );
        let layout = Layout::Unified(root.path().join("v2"));
        assert_eq!(layout.usage(Path::new("/pod")), EXPECTED);
        fs::write(v2.join("memory.max"), "max\n").unwrap();
        assert_eq!(layout.usage(Path::new("/pod")).memory.unwrap().limit, None);
        assert_eq!(layout.usage(Path::new("/gone")), Usage::default());

        let v1 = root.path().join("v1");
        write(&v1.join("cpu/pod"), &[("cpuacct.usage", "1234000\n")]);
        let stat = "rss 1\ntotal_rss 2048\ntotal_rss_huge 5\ntotal_inactive_file 1024\ntotal_pgfault 7\ntotal_pgmajfault 3\n\
                    total_swap 512\n";
        write(
            &v1.join("memory/pod"),
            &[("memory.usage_in_bytes", "4096\n"), ("memory.limit_in_bytes", "8192\n"), ("memory.stat", stat)],
        );
        write(&v1.join("pids/pod"), &[("pids.current", "2\n")]);
        let hierarchy = |controllers: &[&str], name: &str| Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: v1.join(name),
        };
        let hierarchies =
            vec![hierarchy(&["cpu", "cpuacct"], "cpu"), hierarchy(&["memory"], "memory"), hierarchy(&["pids"], "pids")];
        let layout = Layout::Legacy { hierarchies, unified: None };
        assert_eq!(layout.usage(Path::new("pod")), EXPECTED);
        fs::write(v1.join("memory/pod/memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        let memory = layout.usage(Path::new("pod")).memory.unwrap();
        assert_eq!((memory.limit, memory.working_set()), (None, 3072));
    }
}
