//! The files that static pods are: read as a whole whenever something in their folder has changed.
//!
//! A file that cannot be read, or is no pod, ends none: what it was before goes on.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use remora_sys::inotify::{Change, Event};

use crate::changes::Changes;
use crate::config::StaticPods;
use crate::context::id_of;

/// What a file may hold: as much as the API takes.
const LARGEST: u64 = 3 << 20;

/// The folder and what its files were when they could be read last.
pub(super) struct Folder {
    config: StaticPods,
    changes: Changes,
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug, Default)]
struct File {
    pod: Option<Arc<Pod>>,
    /// What was said of it last, so that it is said once.
    told: Option<String>,
}

/// What is wrong with a file, in a whole sentence.
pub(super) type Problem = String;

impl Folder {
    /// Begins to follow the folder, which is made if it is not there: manifests are for root alone.
    pub(super) fn open(config: StaticPods) -> Result<Self, String> {
        let changes = follow(&config.folder)?;
        Ok(Self { config, changes, files: BTreeMap::new() })
    }

    /// Where it is, for people.
    pub(super) fn path(&self) -> &Path {
        &self.config.folder
    }

    /// Waits until the files must be read anew. Cancel-safe.
    pub(super) async fn changed(&mut self) -> Result<(), String> {
        loop {
            let events = self.changes.next().await?;
            if events.iter().any(|event| event.change == Change::Gone) {
                // With the folder its pods go; another one of its name is followed from now on.
                self.changes = follow(&self.config.folder)?;
            }
            if events.iter().any(is_news) {
                return Ok(());
            }
        }
    }

    /// Reads all files. What is wrong with them, if that was not told before.
    pub(super) fn read(&mut self) -> Vec<Problem> {
        let paths = match list(&self.config.folder) {
            Ok(paths) => paths,
            Err(error) => return vec![format!("{}: {error}", self.path().display())],
        };
        self.files.retain(|path, _| paths.contains(path));
        let mut problems = Vec::new();
        for path in paths {
            let known = self.files.entry(path.clone()).or_default();
            let wrong = match read(&path, &self.config) {
                Ok(Some(pod)) => {
                    let same = known.pod.as_ref().is_some_and(|before| id_of(before).uid == id_of(&pod).uid);
                    if !same {
                        known.pod = Some(Arc::new(pod));
                    }
                    None
                }
                // Being written, or on its way out: there will be word of it.
                Ok(None) => continue,
                Err(why) => Some(format!("{}: {why}", path.display())),
            };
            problems.extend(wrong.clone().filter(|_| known.told != wrong));
            known.told = wrong;
        }
        problems
    }

    /// The pods, in the order of their files' names. Several may have one name.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&Path, &Arc<Pod>)> {
        self.files.iter().filter_map(|(path, file)| Some((path.as_path(), file.pod.as_ref()?)))
    }
}

fn follow(folder: &Path) -> Result<Changes, String> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    Changes::of(folder)
}

/// A file that is still being written to is read when it is closed.
fn is_news(event: &Event) -> bool {
    event.change != Change::Modified
}

/// The files that may be pods.
fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// None for what is no file, or holds nothing yet.
fn read(path: &Path, config: &StaticPods) -> Result<Option<Pod>, String> {
    // A link counts as what it leads to.
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|error| error.to_string())?,
    };
    if found.is_dir() {
        return Ok(None);
    }
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 {
        0 => Ok(None),
        length if length > LARGEST => Err(format!("it is larger than {LARGEST} bytes")),
        _ => (config.read)(&bytes, path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A file's text is its pod's name and UID; `bad` is no pod.
    fn folder(path: &Path) -> Folder {
        let read = |bytes: &[u8], _: &Path| match std::str::from_utf8(bytes).unwrap() {
            "bad" => Err("it is bad".to_owned()),
            text => {
                let metadata = serde_json::json!({"name": text, "uid": text, "namespace": "default"});
                Ok(serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap())
            }
        };
        Folder::open(StaticPods { folder: path.to_owned(), read: Arc::new(read) }).unwrap()
    }

    fn names(folder: &Folder) -> Vec<String> {
        folder.pods().map(|(_, pod)| pod.metadata.name.clone().unwrap()).collect()
    }

    #[tokio::test]
    async fn each_file_is_a_pod_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join("pods").join(name);
        let mut folder = folder(&place.path().join("pods"));
        std::fs::write(at("b.yaml"), "two").unwrap();
        std::fs::write(at("a.json"), "one").unwrap();
        std::fs::write(at(".hidden.yaml"), "three").unwrap();
        std::fs::write(at("empty"), "").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(place.path().join("elsewhere"), "four").unwrap();
        symlink(place.path().join("elsewhere"), at("link")).unwrap();
        symlink("nowhere", at("broken")).unwrap();
        folder.changed().await.unwrap();
        assert_eq!(folder.read(), Vec::<String>::new());
        assert_eq!(names(&folder), ["one", "two", "four"]);
        std::fs::remove_file(at("a.json")).unwrap();
        folder.changed().await.unwrap();
        folder.read();
        assert_eq!(names(&folder), ["two", "four"]);
    }

    #[tokio::test]
    async fn a_bad_file_ends_no_pod_and_is_told_of_once() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = folder(place.path());
        let file = place.path().join("a");
        std::fs::write(&file, "one").unwrap();
        assert_eq!(folder.read(), Vec::<String>::new());
        std::fs::write(&file, "bad").unwrap();
        assert_eq!(folder.read(), [format!("{}: it is bad", file.display())]);
        assert_eq!(folder.read(), Vec::<String>::new());
        assert_eq!(names(&folder), ["one"]);
        std::fs::write(&file, "").unwrap();
        assert_eq!((folder.read(), names(&folder)), (Vec::new(), vec!["one".to_owned()]));
        std::fs::write(&file, "two").unwrap();
        assert_eq!((folder.read(), names(&folder)), (Vec::new(), vec!["two".to_owned()]));
        std::fs::write(&file, vec![b' '; LARGEST as usize + 1]).unwrap();
        assert_eq!(folder.read(), [format!("{}: it is larger than {LARGEST} bytes", file.display())]);
    }

    #[tokio::test]
    async fn a_folder_that_goes_takes_its_pods_along_and_may_come_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pods");
        let mut folder = folder(&path);
        std::fs::write(path.join("a"), "one").unwrap();
        folder.read();
        std::fs::remove_dir_all(&path).unwrap();
        // Each change is one reason to look; the last of them has all.
        while path.read_dir().is_err() || !names(&folder).is_empty() {
            folder.changed().await.unwrap();
            folder.read();
        }
        std::fs::write(path.join("b"), "two").unwrap();
        while names(&folder) != ["two"] {
            folder.changed().await.unwrap();
            folder.read();
        }
    }
}
