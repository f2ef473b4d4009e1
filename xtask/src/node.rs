//! `cargo xtask node`: a node under test, in a network namespace of its own, with a registry that holds the demo's images.
//!
//! What it made is written to `node.json` in its folder before it is made, so that `stop`, or the next `start`, cleans up
//! after a run that was killed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::binaries::{self, Profile};
use crate::netns::NetworkNamespace;
use crate::{disk, host, images, registry, setup};

/// Where a node goes when no folder is named.
pub(crate) const DEFAULT_DIR: &str = "/var/tmp/remora-node";

const RECORD: &str = "node.json";

/// A node under test; read again from its folder by each call of xtask.
#[derive(Serialize, Deserialize)]
pub(crate) struct Node {
    dir: PathBuf,
    remora: PathBuf,
    netns: String,
    registry: Option<Process>,
}

/// A process that we started, named so that no other is ever ended in its place.
#[derive(Serialize, Deserialize)]
struct Process {
    pid: u32,
    start_time: u64,
}

impl Node {
    /// Its admin's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("data/kubeconfig")
    }

    /// The daemon's program.
    pub(crate) fn remora(&self) -> &Path {
        &self.remora
    }

    /// Where `remora-shim` and `remora-create` are: beside it.
    pub(crate) fn libexec(&self) -> &Path {
        self.remora.parent().unwrap_or(Path::new("."))
    }

    /// Where it is on the network.
    pub(crate) fn netns(&self) -> NetworkNamespace<'_> {
        NetworkNamespace(&self.netns)
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs in its network namespace, with its kubeconfig and folders in the environment.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("no command given")?;
        let mut command = NetworkNamespace(&self.netns).enter(program);
        command.args(arguments).env("KUBECONFIG", self.kubeconfig());
        command.env("REMORA_DATA_DIR", self.dir.join("data")).env("REMORA_RUN_DIR", self.dir.join("run"));
        Ok(command)
    }

    fn save(&self) -> Result<()> {
        let path = self.dir.join(RECORD);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {}", path.display()))
    }
}

/// Where a node keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataDisk {
    /// In its folder.
    Folder,
    /// On a file system of its own that can be filled.
    Small,
}

/// Builds, makes namespace, registry and images, and starts the daemon in the background.
pub(crate) fn start(dir: &Path, profile: Profile, up: &[String]) -> Result<Node> {
    start_on(dir, profile, up, DataDisk::Folder)
}

/// As [`start`], with a choice of the disk.
pub(crate) fn start_on(dir: &Path, profile: Profile, up: &[String], data: DataDisk) -> Result<Node> {
    if !host::is_root() {
        bail!("a node needs root: it makes namespaces, mounts and cgroups");
    }
    setup::install_missing()?;
    let remora = binaries::build(profile)?;
    stop(dir)?;
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let mut node = Node { netns: namespace_of(&dir), remora, registry: None, dir };
    node.save()?;
    if data == DataDisk::Small {
        disk::mount(&node.dir.join("data"))?;
    }
    let netns = NetworkNamespace(&node.netns);
    netns.create()?;
    let registry = registry::start(&netns, &node.dir.join("registry"))?;
    let start_time = host::process_start_time(registry.id()).context("the registry has ended")?;
    node.registry = Some(Process { pid: registry.id(), start_time });
    node.save()?;
    images::push(&NetworkNamespace(&node.netns), profile, &node.dir)?;
    start_daemon(&node, up)?;
    Ok(node)
}

/// `remora up --detach`: it returns when the node is ready, and says why if it is not.
fn start_daemon(node: &Node, up: &[String]) -> Result<()> {
    let mut command = node.command(&[node.remora.as_path()])?;
    command
        .args(["up", "--detach", "--mirror"])
        .arg(format!("*={}", registry::URL))
        .arg("--libexec-dir")
        .arg(node.libexec());
    // What a test or a benchmark runs is no kubectl's business: the caller's own kubeconfig is not touched.
    command.args(up).stdin(Stdio::null()).stdout(std::io::stderr());
    host::run(&mut command)
}

/// Reads what `start` wrote.
pub(crate) fn load(dir: &Path) -> Result<Node> {
    let path = dir.join(RECORD);
    let text = std::fs::read(&path).with_context(|| {
        format!("no node in {}: start one with `cargo xtask node start --dir {}`", dir.display(), dir.display())
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} does not parse", path.display()))
}

/// Ends daemon, pods and registry, and removes the namespace and the folder's content. Nothing there is no error.
pub(crate) fn stop(dir: &Path) -> Result<()> {
    if !dir.join(RECORD).exists() {
        return Ok(());
    }
    let node = load(dir)?;
    if node.remora.exists() && Path::new("/run/netns").join(&node.netns).exists() {
        host::run(node.command(&[node.remora.as_path()])?.arg("down").stdout(std::io::stderr()))?;
    }
    if let Some(registry) = &node.registry {
        end(registry)?;
    }
    NetworkNamespace(&node.netns).remove()?;
    disk::unmount(&node.dir.join("data"))?;
    for part in ["data", "run", "marks", "registry", "images", "programs", RECORD] {
        remove(&node.dir.join(part))?;
    }
    // Removed only if nothing of somebody else's is in it.
    let _not_empty = std::fs::remove_dir(&node.dir);
    Ok(())
}

fn end(process: &Process) -> Result<()> {
    if host::process_start_time(process.pid) == Some(process.start_time) {
        host::run(Command::new("kill").arg(process.pid.to_string()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// One name for one folder, so that a killed run's namespace is found again.
fn namespace_of(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("remora-{:08x}", hasher.finish() as u32)
}
