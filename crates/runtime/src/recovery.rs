//! What the daemon before has left: containers that run are adopted, those that ended are reported, leftovers are removed.
//!
//! | record | same boot | what is found | state |
//! |---|---|---|---|
//! | with a verdict | – | – | exited, as the verdict says |
//! | – | – | exit record | exited, as the shim says |
//! | – | no | – | exited 255, unknown: the machine was started anew |
//! | – | yes | a shim answers | as it says: running, or (while it starts) what comes of that |
//! | – | yes | start record or socket, no shim | what is left is killed; exited 137 or 255 |
//! | – | yes | none of them | created |
//!
//! A shim's socket is there before anything of the container runs and goes when its end is on record. So one that nobody listens on means
//! that the container may have begun: it must not be started once more.
//!
//! Folders without a record are the work of calls that were cut short; nobody was told of them, so they go. So does what belongs to a record
//! that is damaged together with its copy: what was there can no longer be told from a leftover. The damaged file itself is kept below
//! `damaged`, and the rest of the node starts.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use remora_cri::CgroupDriver;
use remora_images::LayerLease;
use remora_network::Attachment;
use remora_shim_protocol::{ExitRecord, Frame, ProcessState, Reply, Request, ShimConfig, StartRecord, encode};

use crate::config::{ContainerPaths, Paths};
use crate::container::{Container, Exit, State, clear, remove_folder};
use crate::error::failed;
use crate::identity;
use crate::record::{self, ContainerRecord, SandboxRecord, Verdict};
use crate::sandbox::{Sandbox, SandboxState};
use crate::task::blocking;
use crate::{Error, Inner, low_level, shim};

/// How long a new daemon waits for starts that the one before has begun.
const START_SETTLES: Duration = Duration::from_secs(10);

/// The layers that the containers of a runtime's folders hold: what the image store must be opened with. A container whose record is damaged
/// beyond help holds none: [`Runtime::open`](crate::Runtime::open) will end it.
///
/// # Errors
/// A record cannot be read.
pub async fn leases(root: &Path, run: &Path) -> Result<Vec<LayerLease>, Error> {
    let paths = Paths::new(root, run);
    let records = blocking(move || {
        let read = |id: String| match paths.container(&id).record().read::<ContainerRecord>() {
            Err(Error::Record { .. }) => Ok(None),
            read => read,
        };
        record::folders(&paths.containers())?.into_iter().filter_map(|id| read(id).transpose()).collect()
    });
    let records: Vec<ContainerRecord> = records.await?;
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
    runtime.prune_units().await;
    let attached = runtime.attachments();
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
    /// A container of a sandbox that nobody knows any more is as good as one without a record.
    fn read_records(&self) -> Result<(Vec<SandboxRecord>, Vec<ContainerRecord>), Error> {
        let sandboxes = record::folders(&self.paths.sandboxes())?.into_iter();
        let sandboxes = sandboxes.filter_map(|id| self.paths.sandbox(&id).record().recover().transpose());
        let sandboxes: Vec<SandboxRecord> = sandboxes.collect::<Result<_, _>>()?;
        let containers = record::folders(&self.paths.containers())?.into_iter();
        let containers = containers.filter_map(|id| self.paths.container(&id).record().recover().transpose());
        let mut containers: Vec<ContainerRecord> = containers.collect::<Result<_, _>>()?;
        containers.retain(|container| sandboxes.iter().any(|sandbox| sandbox.id == container.sandbox_id));
        Ok((sandboxes, containers))
    }

    /// What the sandboxes have of the network: those of an earlier boot, or whose namespaces are gone, have nothing any more.
    fn attachments(&self) -> BTreeMap<String, Attachment> {
        let attached = |sandbox: Arc<Sandbox>| {
            let stands = sandbox.is_attached() && self.stands(sandbox.record());
            Some((sandbox.id().to_owned(), sandbox.record().network.clone().filter(|_| stands)?))
        };
        self.table.sandboxes().into_iter().filter_map(attached).collect()
    }

    fn stands(&self, record: &SandboxRecord) -> bool {
        record.boot == self.host.boot && self.paths.sandbox(&record.id).is_pinned(record)
    }

    fn adopt_sandbox(self: &Arc<Self>, record: SandboxRecord) -> Result<(), Error> {
        let stands = self.stands(&record);
        let state = match (record.stopped, stands) {
            (true, _) => SandboxState::Stopped,
            (false, true) => SandboxState::Ready,
            // The machine was started anew, or it was stopped and the disk was too full to say so.
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
            Found::Starting => {
                // What is being started must not look as if nobody had tried: it would be started once more. A start that hangs is not waited for.
                let _hangs = tokio::time::timeout(START_SETTLES, self.watch_start(container)).await;
            }
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
        let socket = paths.socket();
        let Traces { exit, start, began } = blocking(move || traces(&paths)).await?;
        if let Some(exit) = exit {
            return Ok(Found::Settled(State::Exited(Exit::from(exit))));
        }
        if record.boot != self.host.boot {
            return Ok(Found::Rebooted(after_reboot(start.as_ref())));
        }
        let mut answer = shim::ask(&socket, Request::State).await;
        if answer.is_err() && !began && self.take_order_back(&record.id).await {
            answer = shim::ask(&socket, Request::State).await;
        }
        match (answer, began) {
            (Ok(Reply::State(ProcessState::Running(start))), _) => Ok(Found::Running(start)),
            (Ok(Reply::State(ProcessState::Exited(exit))), _) => Ok(Found::Settled(State::Exited(Exit::from(exit)))),
            (Ok(Reply::State(ProcessState::Creating)), _) => Ok(Found::Starting),
            (Ok(other), _) => {
                let problem = format!("answered with {other:?}");
                Ok(Found::Lost(Error::Shim { id: record.id.clone(), problem }))
            }
            (Err(error), true) => Ok(Found::Lost(error)),
            (Err(_), false) => Ok(Found::Settled(State::Created)),
        }
    }

    /// A shim that the daemon before has spawned may not have come to listen yet. Its order is replaced by the same one in another file: a shim
    /// looks whether its own still stands once it listens, and else gives up. Whether there may be such a shim.
    async fn take_order_back(&self, id: &str) -> bool {
        let paths = self.paths.container(id);
        let taken = blocking(move || {
            let order = paths.shim_config();
            if !paths.shim_log().exists() || !order.exists() {
                return Ok(false);
            }
            let bytes = fs::read(&order).map_err(failed("read", &order))?;
            remora_sys::file::write_durably(&order, &bytes, 0o600)?;
            Ok(true)
        });
        taken.await.unwrap_or_else(|error| {
            tracing::warn!(
                container = id,
                error = crate::error::chain(&error),
                "a shim that comes late may still start it"
            );
            false
        })
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
        let (container, sandbox) = (self.paths.container(id), self.paths.sandbox(id));
        end_leftover(&container.shim_config())?;
        clear(&container)?;
        end_leftover(&sandbox.pause().shim_config())?;
        remora_sys::mount::unmount_below(&sandbox.volatile)?;
        [&sandbox.volatile, &sandbox.durable].into_iter().try_for_each(|folder| remove_folder(folder))
    }

    /// Folders of cgroups of sandboxes that nobody knows (for units, see [`Inner::prune_units`]). Those that hold processes stay: they are somebody's.
    fn prune_cgroups(&self) {
        let known: Vec<PathBuf> =
            self.table.sandboxes().iter().map(|sandbox| PathBuf::from(&sandbox.record().cgroup_parent)).collect();
        let root = crate::cgroup::root(CgroupDriver::Cgroupfs, &self.cgroup_root);
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

/// What still runs of a container or a pause process that nobody knows.
fn end_leftover(shim_config: &Path) -> Result<(), Error> {
    let config = match record::read_plain::<ShimConfig>(shim_config) {
        Ok(Some(config)) => config,
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::error!(error = crate::error::chain(&error), "processes of an interrupted call may be left");
            return Ok(());
        }
    };
    remora_sys::cgroup::kill_all(&config.cgroups.0)?;
    wait_for_shim(&config.socket);
    low_level::delete(&config.runtime, &config.container_id)?;
    config.cgroups.0.iter().try_for_each(|folder| remove_empty_tree(folder))
}

/// Until a shim that still lives has cleaned up after its container. It ends by itself then.
fn wait_for_shim(socket: &Path) {
    let Ok(mut shim) = remora_sys::socket::connect(socket) else { return };
    let mut wait = Vec::new();
    encode(&Frame::Request(Request::Wait), &mut wait);
    // However the connection ends, the shim has nothing more to do.
    let _ = shim.write_all(&wait).and_then(|()| shim.read_to_end(&mut wait));
}

/// What a shim has left of itself.
struct Traces {
    exit: Option<ExitRecord>,
    start: Option<StartRecord>,
    /// Something of the container may have run.
    began: bool,
}

fn traces(paths: &ContainerPaths) -> Result<Traces, Error> {
    let began = paths.start_record().exists() || paths.socket().exists();
    let exit = paths.exit_record().recover()?;
    Ok(Traces { exit, start: paths.start_record().recover()?, began })
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
