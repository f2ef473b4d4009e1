//! What a container has changed among its image's files, in the words of `docker diff`: `A` added, `C` changed, `D` deleted. Pure.
//!
//! Where the image's files can be seen as they were, both trees are listed and compared. The time of the last change of an inode cannot be set
//! by anybody: a file whose copy in the container's own layer has been made has another one than its image's, whatever else was restored.
//! Where they cannot, a file that has changed since the container's start is all that there is to know.

use std::collections::HashMap;

use crate::files::{MountPoint, is_below};

/// A file, as a listing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the root.
    pub path: String,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: i64,
    /// Of the inode, in seconds.
    changed: i64,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was not in the image.
    Added,
    /// Its content, owner or mode; of a folder also what is in it.
    Changed,
    /// It was in the image. What was in a deleted folder is not told.
    Deleted,
}

/// A file that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the root.
    pub path: String,
    /// What became of it.
    pub kind: Kind,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = match self.kind {
            Kind::Added => 'A',
            Kind::Changed => 'C',
            Kind::Deleted => 'D',
        };
        // Names are a stranger's: nothing in them is for the terminal.
        write!(f, "{letter} {}", self.path.escape_debug())
    }
}

/// A line of a listing; none if it is not one, as the second half of a name with a line break.
pub fn entry(line: &str) -> Option<Entry> {
    let mut words = line.splitn(7, ' ');
    let mode = u32::from_str_radix(words.next()?, 16).ok()?;
    let owner = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (size, modified, changed) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let path = words.next()?.strip_prefix('.')?;
    let path = if path.is_empty() { "/" } else { path };
    path.starts_with('/').then(|| Entry { path: path.to_owned(), mode, owner, size, modified, changed })
}

impl Entry {
    fn is_as(&self, before: &Entry) -> bool {
        let metadata = |entry: &Entry| (entry.mode, entry.owner, entry.changed);
        let content = |entry: &Entry| (entry.size, entry.modified);
        let is_folder = self.mode & 0o170_000 == 0o040_000;
        metadata(self) == metadata(before) && (is_folder || content(self) == content(before))
    }
}

/// All changes, by path. What is mounted hides what the image has there.
pub fn compare(image: Vec<Entry>, now: Vec<Entry>, mounts: &[MountPoint]) -> Vec<Change> {
    let is_hidden = |path: &str| mounts.iter().any(|mount| is_below(path, &mount.path));
    let image = image.into_iter().filter(|entry| entry.path != "/" && !is_hidden(&entry.path));
    let mut before: HashMap<String, Entry> = image.map(|entry| (entry.path.clone(), entry)).collect();
    let mut changes = Vec::new();
    for entry in now.into_iter().filter(|entry| entry.path != "/") {
        let kind = match before.remove(&entry.path) {
            None => Some(Kind::Added),
            Some(was) => (!entry.is_as(&was)).then_some(Kind::Changed),
        };
        changes.extend(kind.map(|kind| Change { path: entry.path, kind }));
    }
    let is_gone_with = |path: &str| path.rfind('/').is_some_and(|at| before.contains_key(&path[..at]));
    let deleted = before.keys().filter(|path| !is_gone_with(path));
    changes.extend(deleted.map(|path| Change { path: path.clone(), kind: Kind::Deleted }));
    changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// What has changed, or was added, in or after this second.
pub fn since(now: Vec<Entry>, started: i64) -> Vec<Change> {
    let changed = now.into_iter().filter(|entry| entry.path != "/" && entry.changed >= started);
    let mut changes: Vec<Change> = changed.map(|entry| Change { path: entry.path, kind: Kind::Changed }).collect();
    changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// Those at or below a path.
pub fn below(changes: Vec<Change>, path: &str) -> Vec<Change> {
    changes.into_iter().filter(|change| is_below(&change.path, path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "81a4";
    const FOLDER: &str = "41ed";

    fn listing(lines: &[(&str, u64, i64, &str)]) -> Vec<Entry> {
        let line = |(mode, size, changed, path): &(&str, u64, i64, &str)| {
            entry(&format!("{mode} 0 0 {size} 1000 {changed} .{path}")).unwrap()
        };
        lines.iter().map(line).collect()
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_trees_are_compared() {
        let image = [
            (FOLDER, 9, 1, ""),
            (FOLDER, 9, 1, "/etc"),
            (FILE, 5, 1, "/etc/same"),
            (FILE, 5, 1, "/etc/size"),
            (FILE, 5, 1, "/etc/touched"),
            (FILE, 5, 1, "/etc/gone"),
            (FOLDER, 9, 1, "/old"),
            (FILE, 5, 1, "/old/a"),
            (FILE, 5, 1, "/old-b"),
            (FOLDER, 9, 1, "/proc"),
            (FILE, 0, 1, "/etc/hosts"),
        ];
        let now = [
            (FOLDER, 8, 7, ""),
            (FOLDER, 8, 7, "/etc"),
            (FILE, 5, 1, "/etc/same"),
            (FILE, 6, 1, "/etc/size"),
            (FILE, 5, 7, "/etc/touched"),
            (FOLDER, 9, 7, "/new"),
            (FILE, 1, 7, "/new/a\x1b"),
            (FOLDER, 7, 1, "/old-b"),
        ];
        let mounts = ["/proc", "/etc/hosts"].map(|path| MountPoint { path: path.into(), pattern: format!(".{path}") });
        let changes = compare(listing(&image), listing(&now), &mounts);
        let expected = [
            "C /etc",
            "D /etc/gone",
            "C /etc/size",
            "C /etc/touched",
            "A /new",
            "A /new/a\\u{1b}",
            "D /old",
            "C /old-b",
        ];
        assert_eq!(shown(&changes), expected);
        assert_eq!(shown(&below(changes.clone(), "/new")), ["A /new", "A /new/a\\u{1b}"]);
        assert_eq!(below(changes, "/").len(), expected.len());
    }

    #[test]
    fn without_the_image_time_tells() {
        let now = [(FOLDER, 0, 9, ""), (FILE, 5, 4, "/old"), (FILE, 5, 5, "/new"), (FILE, 5, 9, "/a")];
        assert_eq!(shown(&since(listing(&now), 5)), ["C /a", "C /new"]);
    }

    #[test]
    fn what_is_no_line_is_none() {
        assert_eq!(entry("81a4 0 0 5 1 1 ./a b").map(|entry| entry.path).as_deref(), Some("/a b"));
        for wrong in
            ["", "half a name", "81a4 0 0 5 1 1 /abs", "81a4 0 0 5 1 1 .x", "81a4 0 0 -5 1 1 ./x", "81a4 0 0 5 1"]
        {
            assert_eq!(entry(wrong), None, "{wrong}");
        }
    }
}
