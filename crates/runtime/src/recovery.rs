//! What the daemon before has left: containers that run are adopted, those that ended are reported, leftovers are removed.
//!
//! | record | same boot | what is found | state |
//! |---|---|---|---|
//! | with a verdict | – | – | exited, as the verdict says |
//! | – | – | exit record | exited, as the shim says |
//! | – | no | – | exited 255, unknown: the machine was started anew |
//! | – | yes | a shim answers | as it says: running, or (while it starts) what comes of that |
//! | – | yes | start record, no shim | what is left is killed; exited 137 or 255 |
//! | – | yes | neither | created |
//!
//! Folders without a record are the work of calls that were cut short; nobody was told of them, so they go.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use remora_images::LayerLease;
use remora_shim_protocol::{ExitRecord, ProcessState, Reply, Request, ShimConfig, StartRecord};

use crate::container::{Container, Exit, State, clear, remove_folder};
use crate::error::failed;
use crate::identity;
use crate::record::{self, ContainerRecord, SandboxRecord, Verdict};
use crate::sandbox::{Sandbox, SandboxState};
use crate::task::blocking;
use crate::{Error, Inner, low_level, shim};

/// The layers that the containers of a runtime's root hold: what the image store must be opened with.
///
/// # Errors
/// A record is damaged or cannot be read.
pub async fn leases(root: &Path) -> Result<Vec<LayerLease>, Error> {
    let folder = root.join("containers");
    let records = blocking(move || record::containers(&folder)).await?;
    Ok(records.into_iter().map(|record| record.lease).collect())
}

/// Fills the table, then cleans up.
pub(crate) async fn recover(runtime: &Arc<Inner>) -> Result<(), Error> {
    let reader = runtime.clone();
    let (sandboxes, containers) = blocking(move || reader.read_records()).await?;
    for record in sandboxes {
        runtime.adopt_sandbox(record)?;
    }
    let adopted = join_all(containers.into_iter().map(|record| runtime.adopt_container(record))).await;
    adopted.into_iter().collect::<Result<(), Error>>()?;
    let cleaner = runtime.clone();
    blocking(move || {
        cleaner.remove_leftovers()?;
        cleaner.prune_cgroups();
        Ok(())
    })
    .await?;
    let attached: Vec<String> =
        runtime.table.sandboxes().iter().filter(|s| s.is_attached()).map(|s| s.id().to_owned()).collect();
    runtime.network.gc(&attached).await.map_err(|source| Error::Network { id: "all".to_owned(), source })
}

/// How a container is found.
enum Found {
    Settled(State),
    Running(StartRecord),
    /// A shim is just starting it.
    Starting,
    /// It ran, and its shim is gone.
    Lost(Error),
    /// The machine was started anew.
    Rebooted(Verdict),
}

impl Inner {
    fn read_records(&self) -> Result<(Vec<SandboxRecord>, Vec<ContainerRecord>), Error> {
        let folder = self.paths.sandboxes();
        let names = record::folders(&folder)?;
        let sandboxes = names.iter().filter_map(|name| record::read(&self.paths.sandbox(name).record()).transpose());
        Ok((sandboxes.collect::<Result<_, _>>()?, record::containers(&self.paths.containers())?))
    }

    fn adopt_sandbox(self: &Arc<Self>, record: SandboxRecord) -> Result<(), Error> {
        let state = match (record.stopped, record.boot == self.host.boot) {
            (true, _) => SandboxState::Stopped,
            (false, true) => SandboxState::Ready,
            (false, false) => SandboxState::Broken,
        };
        let metadata = record.config.metadata.clone().unwrap_or_default();
        self.table.reserve("sandbox", &identity::sandbox_name(&metadata), &record.id)?.keep();
        let paths = self.paths.sandbox(&record.id);
        let sandbox = Arc::new(Sandbox::new(record, paths, state));
        self.table.add_sandbox(sandbox.clone());
        if state == SandboxState::Ready {
            self.watch_pause(&sandbox);
        }
        Ok(())
    }

    async fn adopt_container(self: &Arc<Self>, record: ContainerRecord) -> Result<(), Error> {
        let pod = self.table.sandbox(&record.sandbox_id).ok().map(|sandbox| sandbox.record().config.clone());
        let pod = pod.and_then(|config| config.metadata).unwrap_or_default();
        let metadata = record.config.metadata.clone().unwrap_or_default();
        self.table.reserve("container", &identity::container_name(&metadata, &pod), &record.id)?.keep();
        let found = self.find(&record).await?;
        let paths = self.paths.container(&record.id);
        let state = match &found {
            Found::Settled(state) => state.clone(),
            Found::Running(start) => State::Running(start.clone()),
            Found::Starting | Found::Lost(_) | Found::Rebooted(_) => State::Starting,
        };
        let container = Arc::new(Container::new(record, paths, state));
        self.table.add_container(container.clone());
        match found {
            Found::Settled(_) => {}
            Found::Running(_) => self.watch(container),
            Found::Starting => self.watch_start(container),
            Found::Lost(why) => self.lost(&container, &why).await,
            Found::Rebooted(verdict) => self.pronounce(&container, verdict).await,
        }
        Ok(())
    }

    async fn find(&self, record: &ContainerRecord) -> Result<Found, Error> {
        if let Some(verdict) = &record.verdict {
            return Ok(Found::Settled(State::Exited(Exit::from(verdict.clone()))));
        }
        let paths = self.paths.container(&record.id);
        let (exit, start) = blocking(move || {
            let exit = record::read::<ExitRecord>(&paths.exit_record())?;
            Ok((exit, record::read::<StartRecord>(&paths.start_record())?))
        })
        .await?;
        if let Some(exit) = exit {
            return Ok(Found::Settled(State::Exited(Exit::from(exit))));
        }
        if record.boot != self.host.boot {
            return Ok(Found::Rebooted(after_reboot(start.as_ref())));
        }
        let paths = self.paths.container(&record.id);
        match (shim::ask(&paths.socket(), Request::State).await, start) {
            (Ok(Reply::State(ProcessState::Running(start))), _) => Ok(Found::Running(start)),
            (Ok(Reply::State(ProcessState::Exited(exit))), _) => Ok(Found::Settled(State::Exited(Exit::from(exit)))),
            (Ok(Reply::State(ProcessState::Creating)), _) => Ok(Found::Starting),
            (Ok(other), _) => {
                let problem = format!("answered with {other:?}");
                Ok(Found::Lost(Error::Shim { id: record.id.clone(), problem }))
            }
            (Err(error), Some(_)) => Ok(Found::Lost(error)),
            (Err(_), None) => Ok(Found::Settled(State::Created)),
        }
    }

    /// What calls that were cut short have left: folders without a record, with their mounts, namespaces and cgroups.
    fn remove_leftovers(&self) -> Result<(), Error> {
        for (folder, volatile) in [
            (self.paths.containers(), self.paths.running_containers()),
            (self.paths.sandboxes(), self.paths.running_sandboxes()),
        ] {
            for name in record::folders(&folder)?.into_iter().chain(record::folders(&volatile)?) {
                self.remove_if_unknown(&name)?;
            }
        }
        Ok(())
    }

    fn remove_if_unknown(&self, id: &str) -> Result<(), Error> {
        if self.table.container(id).is_ok() || self.table.sandbox(id).is_ok() {
            return Ok(());
        }
        tracing::info!(id, "removing what an interrupted call has left");
        clear(&self.paths.container(id))?;
        let sandbox = self.paths.sandbox(id);
        end_leftover(&sandbox.pause().shim_config())?;
        remora_sys::mount::unmount_below(&sandbox.volatile)?;
        [&sandbox.volatile, &sandbox.durable].into_iter().try_for_each(|folder| remove_folder(folder))
    }

    /// Cgroups of sandboxes that nobody knows. Those that hold processes stay: they are somebody's.
    fn prune_cgroups(&self) {
        let known: Vec<PathBuf> =
            self.table.sandboxes().iter().map(|sandbox| PathBuf::from(&sandbox.record().cgroup_parent)).collect();
        let root = Path::new("/").join(&self.cgroup_root);
        let keep: Vec<PathBuf> = known.iter().flat_map(|path| self.host.cgroup_folders(path)).collect();
        for folder in self.host.cgroup_folders(&root) {
            prune(&folder, &keep);
        }
    }
}

/// Bottom up, all that is neither kept nor above what is kept.
fn prune(folder: &Path, keep: &[PathBuf]) {
    if keep.iter().any(|kept| folder == kept) {
        return;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        prune(&entry.path(), keep);
    }
    // The kernel refuses to remove a cgroup that is in use, which is what is wanted of it.
    let _ = fs::remove_dir(folder);
}

/// A pause process of a sandbox that was never finished.
fn end_leftover(shim_config: &Path) -> Result<(), Error> {
    let Some(config) = record::read::<ShimConfig>(shim_config)? else { return Ok(()) };
    remora_sys::cgroup::kill_all(&config.cgroups.0)?;
    low_level::delete(&config.runtime, &config.container_id)
}

fn after_reboot(start: Option<&StartRecord>) -> Verdict {
    Verdict {
        exit_code: 255,
        reason: "Unknown".to_owned(),
        message: "the machine was started anew".to_owned(),
        started_at: start.map(|start| start.started_at),
        finished_at: identity::now(),
    }
}

/// A folder for the owner only, and those above it.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// Removes folders that hold nothing but folders, as cgroups look to `rmdir`. What is not empty is an error; what is gone is none.
pub(crate) fn remove_empty_tree(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("list", path)(error)),
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty_tree(&entry.path())?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
