//! What the memory controller has killed.

use std::fs;
use std::path::Path;

/// How often the kernel killed a process of a cgroup for its memory. Compare two of them: cgroups may be older than what one asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OomCount(pub u64);

/// Reads the counter from whichever of a cgroup's folders has a memory controller: v2's `memory.events`, v1's `memory.oom_control`
/// (Linux 4.13). Zero if none has.
#[must_use]
pub fn oom_kills(folders: &[impl AsRef<Path>]) -> OomCount {
    let files = folders.iter().flat_map(|folder| {
        ["memory.events", "memory.oom_control"].map(|name| fs::read_to_string(folder.as_ref().join(name)))
    });
    OomCount(files.filter_map(Result::ok).filter_map(|text| parse(&text)).max().unwrap_or(0))
}

/// How many bytes the processes of a cgroup use, files that the kernel keeps in memory for them among it: v2's `memory.current`, v1's
/// `memory.usage_in_bytes`. None where there is no memory controller.
#[must_use]
pub fn memory_usage(folders: &[impl AsRef<Path>]) -> Option<u64> {
    let files = folders.iter().flat_map(|folder| {
        ["memory.current", "memory.usage_in_bytes"].map(|name| fs::read_to_string(folder.as_ref().join(name)))
    });
    files.filter_map(Result::ok).find_map(|text| text.trim().parse().ok())
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_whichever_folder_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        assert_eq!(memory_usage(&[&one, &two]), None);
        fs::create_dir_all(&two).unwrap();
        fs::write(two.join("memory.current"), "4096\n").unwrap();
        assert_eq!(memory_usage(&[&one, &two]), Some(4096));
    }

    #[test]
    fn the_counter_is_found_in_both_formats() {
        let check = |text: &str, expected| assert_eq!(parse(text), expected, "{text}");
        check("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", Some(2));
        check("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", Some(7));
        check("oom_kill_disable 0\nunder_oom 0\n", None);
        check("", None);
    }
}
