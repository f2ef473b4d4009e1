//! The node as processes and folders: starting it, killing parts of it, and a machine that loses its power.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use remora_cri::{SLICE, slice_part};
use remora_shim_protocol::{seal, unseal};
use remora_sys::process::PidFd;
use serde_json::Value;
use tokio::process::Command;

const KILL: i32 = 9;

/// One node and its folders.
pub(crate) struct Machine {
    pub(crate) remora: PathBuf,
    pub(crate) registry: String,
    pub(crate) cgroup_driver: String,
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
    /// Outside the node's disk: what workloads say of themselves is kept whatever happens to it.
    pub(crate) marks: PathBuf,
}

/// A process of the node.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) command: Vec<String>,
}

impl Machine {
    /// By the variables that xtask sets for every command inside a node.
    pub(crate) fn from_environment(remora: PathBuf, registry: String, cgroup_driver: String) -> Result<Machine> {
        let folder =
            |name: &str| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
        let (data, run) = (folder("REMORA_DATA_DIR")?, folder("REMORA_RUN_DIR")?);
        let marks = data.parent().context("the data folder has no parent")?.join("marks");
        fs::create_dir_all(&marks)?;
        Ok(Machine { remora, registry, cgroup_driver, data, run, marks })
    }

    /// `remora up --detach`; returns when the node is ready.
    pub(crate) async fn up(&self) -> Result<()> {
        let libexec = self.remora.parent().context("remora has no folder")?;
        let mut command = Command::new(&self.remora);
        command.args(["up", "--detach", "--mirror", &format!("*={}", self.registry), "--libexec-dir"]).arg(libexec);
        command.args(["--cgroup-driver", &self.cgroup_driver]);
        self.said(command).await.map(drop)
    }

    /// `remora down`.
    pub(crate) async fn down(&self) -> Result<()> {
        let mut command = Command::new(&self.remora);
        command.arg("down");
        self.said(command).await.map(drop)
    }

    async fn said(&self, mut command: Command) -> Result<String> {
        let output = command.stdin(Stdio::null()).output().await?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{:?}: {}{stdout}{stderr}", command.as_std(), output.status);
        Ok(stdout.into_owned())
    }

    /// The daemon, by its own words.
    pub(crate) async fn daemon(&self) -> Result<i32> {
        let mut command = Command::new(&self.remora);
        command.args(["status", "--json"]);
        let status: Value = serde_json::from_str(&self.said(command).await?)?;
        Ok(i32::try_from(status["pid"].as_i64().context("the status has no pid")?)?)
    }

    /// Shims of this node, by their command lines, in the order of their containers.
    pub(crate) fn shims(&self) -> Result<Vec<Process>> {
        self.processes("remora-shim")
    }

    /// `remora-create`s at work.
    pub(crate) fn creators(&self) -> Result<Vec<Process>> {
        self.processes("remora-create")
    }

    fn processes(&self, program: &str) -> Result<Vec<Process>> {
        let run = self.run.display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = command_line(pid);
            let is_it = command.first().is_some_and(|first| first.ends_with(program));
            if is_it && command.iter().any(|word| word.starts_with(&run)) {
                found.push(Process { pid, command });
            }
        }
        found.sort_by(|a, b| a.command.cmp(&b.command));
        Ok(found)
    }

    /// The id of the node, after which cgroups are named.
    pub(crate) fn id(&self) -> Result<String> {
        Ok(fs::read_to_string(self.data.join("node-id"))?.trim().to_owned())
    }

    /// The node's own cgroup in every hierarchy, whoever has made it.
    pub(crate) fn cgroups(&self) -> Result<Vec<PathBuf>> {
        let root = Path::new("/sys/fs/cgroup");
        let folders: Vec<PathBuf> = fs::read_dir(root)?.flatten().map(|entry| entry.path()).collect();
        let names = [format!("remora-{}", self.id()?), self.slice()?];
        let places = names
            .iter()
            .flat_map(|name| folders.iter().map(PathBuf::as_path).chain([root]).map(move |at| at.join(name)));
        // A hierarchy with two controllers has links to it beside it.
        let all: BTreeSet<PathBuf> = places.filter_map(|path| path.canonicalize().ok()).collect();
        Ok(all.into_iter().filter(|path| path.is_dir()).collect())
    }

    /// The unit in which all others of the node are, where systemd makes its cgroups.
    fn slice(&self) -> Result<String> {
        Ok(format!("{}{SLICE}", slice_part(&format!("remora-{}", self.id()?))))
    }

    /// Ids of all containers that have a folder.
    pub(crate) fn containers(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.data.join("containers/containers"))?.flatten();
        Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// What is left when a machine has lost its power and starts anew: the disk.
    pub(crate) async fn lose_power(&self) -> Result<()> {
        kill(self.shims()?.iter().map(|shim| shim.pid))?;
        kill(self.creators()?.iter().map(|creator| creator.pid))?;
        remora_sys::cgroup::kill_all(&all_below(&self.cgroups()?))?;
        remora_sys::mount::unmount_below(&self.run)?;
        remora_sys::mount::unmount_below(&self.data.join("node"))?;
        remora_sys::mount::unmount_below(&self.data.join("containers"))?;
        fs::remove_dir_all(&self.run)?;
        if self.cgroups()?.iter().any(|path| path.extension().is_some()) {
            // Units that are not on the disk do not outlive a machine.
            let mut stop = Command::new("systemctl");
            stop.args(["stop", &self.slice()?]);
            self.said(stop).await?;
        }
        for cgroup in all_below(&self.cgroups()?) {
            fs::remove_dir(&cgroup).with_context(|| format!("removing {}", cgroup.display()))?;
        }
        for interface in interfaces()? {
            // The other end of a pair that has just gone is gone too.
            let _gone = Command::new("ip").args(["link", "delete", &interface]).stderr(Stdio::null()).status().await?;
        }
        ensure!(Command::new("nft").args(["flush", "ruleset"]).status().await?.success(), "nft failed");
        self.change_boot()
    }

    /// What the node has left on the machine, its data aside.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let mut left: Vec<String> = self.cgroups()?.iter().map(|path| path.display().to_string()).collect();
        for folder in [&self.run, &self.data] {
            let mounts = remora_sys::mount::mounts_below(folder)?.into_iter().map(|mount| mount.target);
            left.extend(
                mounts.filter(|target| target != &self.data).map(|target| format!("mount {}", target.display())),
            );
        }
        left.extend(self.shims()?.iter().chain(&self.creators()?).map(|process| process.command.join(" ")));
        left.extend(interfaces()?.into_iter().map(|name| format!("interface {name}")));
        left.extend(self.run.exists().then(|| self.run.display().to_string()));
        Ok(left)
    }

    /// Records carry the boot in which they were written.
    fn change_boot(&self) -> Result<()> {
        for (folder, name) in [("containers", "container.json"), ("sandboxes", "sandbox.json")] {
            for entry in fs::read_dir(self.data.join("containers").join(folder))?.flatten() {
                let path = entry.path().join(name);
                let Ok(bytes) = fs::read(&path) else { continue };
                let mut record: Value = unseal(&bytes).with_context(|| path.display().to_string())?;
                record["boot"] = "00000000-0000-0000-0000-000000000000".into();
                fs::write(&path, seal(&record)?)?;
            }
        }
        Ok(())
    }
}

/// The id in a shim's command line: the container, or the sandbox of a pause process.
pub(crate) fn shim_id(process: &Process) -> Option<String> {
    let config = process.command.iter().find(|word| word.ends_with("/shim.json"))?;
    id_of_bundle(Path::new(config).parent()?)
}

/// The id in a creator's command line: its last word, or of one that waits the last of its bundle's path.
pub(crate) fn creator_id(process: &Process) -> Option<String> {
    id_of_bundle(Path::new(process.command.last()?))
}

fn id_of_bundle(folder: &Path) -> Option<String> {
    let folder = if folder.ends_with("pause") { folder.parent()? } else { folder };
    Some(folder.file_name()?.to_str()?.to_owned())
}

fn command_line(pid: i32) -> Vec<String> {
    // One that has just ended has none.
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Ends processes by force, all of them before any is waited for.
pub(crate) fn kill(pids: impl IntoIterator<Item = i32>) -> Result<()> {
    let mut dying = Vec::new();
    for pid in pids {
        if let Some(handle) = PidFd::open(pid)? {
            handle.send_signal(KILL)?;
            dying.push(handle);
        }
    }
    Ok(dying.iter().try_for_each(PidFd::wait_ended)?)
}

/// Folders and those below them, the deepest first.
pub(crate) fn all_below(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let below: Vec<PathBuf> =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect();
        found.extend(all_below(&below));
        found.push(folder.clone());
    }
    found
}

/// Interfaces of this network namespace but loopback.
pub(crate) fn interfaces() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/net/dev")?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    Ok(names.filter(|name| name != "lo").collect())
}
