//! User namespaces for pods (`hostUsers: false`): each pod has a range of the host's ids for itself, written down in its folder, `pods/UID/userns`,
//! as a kubelet does it. So it outlives the agent, and is free again when the file goes: with the pod's volumes, at its end.
//!
//! Source: kubernetes `pkg/kubelet/userns/userns_manager.go`.

mod ranges;

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use k8s_openapi::api::core::v1::Pod;
use remora_cri::{IDMapping, NamespaceMode, StatusRequest, UserNamespace};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::machine::PODS;
use ranges::{Blocks, LENGTH, RangeError};

/// The file's name.
const FILE: &str = "userns";

/// Why a pod has no user namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error("can't set `spec.hostUsers: false`, runtime does not support user namespaces")]
    Runtime,
    #[error("can't set `spec.hostUsers: false`, RuntimeClass handler {0:?} does not support user namespaces")]
    Handler(String),
    #[error("can't set `spec.hostUsers: false`, the runtime does not answer: {0}")]
    NoAnswer(#[source] remora_cri::Error),
    #[error(transparent)]
    Ranges(#[from] RangeError),
    #[error("could not find an empty slot to allocate a user namespace")]
    Full,
    #[error("the pod has no user namespace yet: {0} is not there")]
    NotAllotted(String),
    #[error("{path} does not hold a range of ids: {why}")]
    Damaged { path: String, why: String },
    #[error("cannot read or write {path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(rename = "uidMappings")]
    users: Vec<Mapping>,
    #[serde(rename = "gidMappings")]
    groups: Vec<Mapping>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

/// Whether a pod is to have users of its own.
fn wants(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.host_users == Some(false))
}

/// Allots a pod its range before its sandbox is made. Repeating it changes nothing.
pub(crate) async fn allot(context: &Context, pod: &Pod, handler: &str) -> Result<(), UsersError> {
    if !wants(pod) {
        return Ok(());
    }
    require_support(context, handler).await?;
    let (context, folder) = (context.clone(), context.pod_folder(pod));
    let allotted = tokio::task::spawn_blocking(move || {
        // The folders are looked through and one is written to: one pod at a time. Nothing is kept that a panic could leave half done.
        let _alone = context.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&folder)? {
            Some(_) => Ok(()),
            None => allot_in(&context.config.root.join("pods"), &folder, Machine::look()?),
        }
    });
    allotted.await.map_err(|error| file(Path::new(FILE))(std::io::Error::other(error)))?
}

async fn require_support(context: &Context, handler: &str) -> Result<(), UsersError> {
    let status = context.config.runtime.status(StatusRequest { verbose: false }).await.map_err(UsersError::NoAnswer)?;
    let found = status.runtime_handlers.into_iter().find(|found| found.name == handler);
    match found.and_then(|found| found.features).is_some_and(|features| features.user_namespaces) {
        true => Ok(()),
        false if handler.is_empty() => Err(UsersError::Runtime),
        false => Err(UsersError::Handler(handler.to_owned())),
    }
}

/// Which ids pods may have on this machine, and which others have.
struct Machine {
    blocks: Blocks,
    taken: Vec<Range<u32>>,
}

impl Machine {
    /// Looks at the machine's files, and at the user namespaces of all that runs, other nodes' pods among them.
    fn look() -> Result<Self, UsersError> {
        let [passwd, group, subuid, subgid] = ["passwd", "group", "subuid", "subgid"].map(of_machine);
        let (subuid, subgid) = (subuid?, subgid?);
        let mut taken = ranges::of_others(&passwd?, &group?, &subuid, &subgid);
        for process in fs::read_dir("/proc").map_err(file(Path::new("/proc")))?.flatten() {
            for map in ["uid_map", "gid_map"] {
                // What is no process, or has ended meanwhile, has none.
                taken.extend(ranges::of_process(&fs::read_to_string(process.path().join(map)).unwrap_or_default()));
            }
        }
        Ok(Machine { blocks: Blocks::configured(&subuid, &subgid, PODS)?, taken })
    }
}

fn allot_in(pods: &Path, folder: &Path, machine: Machine) -> Result<(), UsersError> {
    let Machine { blocks, mut taken } = machine;
    for entry in fs::read_dir(pods).map_err(file(pods))? {
        let of_pod = read(&entry.map_err(file(pods))?.path())?;
        taken.extend(of_pod.map(|start| start..start.saturating_add(LENGTH)));
    }
    let start = blocks.free(&taken).ok_or(UsersError::Full)?;
    write(folder, start)
}

/// As a pod has been allotted them; none: the host's.
pub(crate) fn of_pod(context: &Context, pod: &Pod) -> Result<Option<UserNamespace>, UsersError> {
    if !wants(pod) {
        return Ok(None);
    }
    let folder = context.pod_folder(pod);
    let start = read(&folder)?.ok_or_else(|| UsersError::NotAllotted(path(&folder).display().to_string()))?;
    let range = || vec![IDMapping { host_id: start, container_id: 0, length: LENGTH }];
    Ok(Some(UserNamespace { mode: NamespaceMode::Pod.into(), uids: range(), gids: range() }))
}

/// Gives a pod's range back. Nothing of the pod may run any more.
pub(crate) fn give_back(folder: &Path) -> std::io::Result<()> {
    match fs::remove_file(path(folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// A machine without the file has nobody in it.
fn of_machine(name: &str) -> Result<String, UsersError> {
    let path = Path::new("/etc").join(name);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(file(&path)),
    }
}

fn write(folder: &Path, start: u32) -> Result<(), UsersError> {
    let mapping = || vec![Mapping { host_id: start, container_id: 0, length: LENGTH }];
    let record = Record { users: mapping(), groups: mapping() };
    let path = path(folder);
    let bytes = serde_json::to_vec(&record).map_err(|error| file(&path)(error.into()))?;
    crate::volumes::make_pod_folder(folder).map_err(|error| file(folder)(std::io::Error::other(error)))?;
    remora_sys::file::write_durably(&path, &bytes, 0o600).map_err(|error| file(&path)(error.source))
}

/// A pod's first id on the host; none if it has no range.
fn read(folder: &Path) -> Result<Option<u32>, UsersError> {
    let path = path(folder);
    let bytes = match fs::read(&path) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
        read => read.map_err(file(&path))?,
    };
    let damaged = |why: String| UsersError::Damaged { path: path.display().to_string(), why };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match (&record.users[..], &record.groups[..]) {
        (
            [Mapping { host_id, container_id: 0, length: LENGTH }],
            [Mapping { host_id: group, container_id: 0, length: LENGTH }],
        ) if host_id == group => Ok(Some(*host_id)),
        _ => Err(damaged(format!("it must be one of {LENGTH} users, and the same of groups"))),
    }
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> UsersError {
    let path = path.display().to_string();
    move |source| UsersError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which nobody else has an id.
    fn quiet() -> Machine {
        Machine { blocks: Blocks::configured("", "", PODS).unwrap(), taken: Vec::new() }
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        assert!(Machine::look().unwrap().taken.contains(&(0..1)), "root");
    }

    #[test]
    fn ranges_are_remembered_never_shared_and_free_again_when_given_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| root.path().join(name);
        let allotted = |name: &str| {
            allot_in(root.path(), &folder(name), quiet()).unwrap();
            read(&folder(name)).unwrap().unwrap()
        };
        let (first, second) = (allotted("a"), allotted("b"));
        assert_eq!((first, second), (LENGTH, 2 * LENGTH));
        give_back(&folder("a")).unwrap();
        give_back(&folder("a")).unwrap();
        assert_eq!(allotted("c"), first, "the lowest that is free");
        fs::remove_dir_all(folder("b")).unwrap();
        assert_eq!(allotted("d"), second, "a pod's folder takes its range along");
        let text = fs::read_to_string(folder("d").join("userns")).unwrap();
        let line = format!("[{{\"hostId\":{second},\"containerId\":0,\"length\":65536}}]");
        assert_eq!(text, format!("{{\"uidMappings\":{line},\"gidMappings\":{line}}}"));
    }

    #[test]
    fn a_damaged_file_is_named_and_no_range_is_given_that_it_might_hold() {
        let root = tempfile::tempdir().unwrap();
        let damaged = root.path().join("a");
        fs::create_dir(&damaged).unwrap();
        for text in ["{", "{\"uidMappings\":[],\"gidMappings\":[]}"] {
            fs::write(damaged.join(FILE), text).unwrap();
            let error = allot_in(root.path(), &root.path().join("b"), quiet()).unwrap_err().to_string();
            assert!(error.contains("a/userns does not hold a range of ids"), "{error}");
        }
    }
}
