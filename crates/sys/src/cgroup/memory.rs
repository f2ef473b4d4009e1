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

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_formats() {
        let check = |text: &str, expected| assert_eq!(parse(text), expected, "{text}");
        check("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", Some(2));
        check("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", Some(7));
        check("oom_kill_disable 0\nunder_oom 0\n", None);
        check("", None);
    }
}
