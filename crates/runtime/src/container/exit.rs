//! How a container's end becomes known: the shim says so, has written it down, or is gone.

use std::path::Path;
use std::sync::{Arc, Weak};

use remora_cri::ContainerEventType;
use remora_shim_protocol::{ExitRecord, ProcessState, Reply, Request, StartRecord};
use tokio::sync::watch;

use super::asked::{image_of, root_of};
use super::{Container, Exit, State};
use crate::config::ContainerPaths;
use crate::identity;
use crate::record::Verdict;
use crate::shim;
use crate::task::blocking;
use crate::{Error, Inner, low_level};

/// containerd's code for a container whose end nobody saw.
const UNKNOWN: i32 = 255;
const KILLED: i32 = 137;

impl Inner {
    /// Waits for the container's end in a task of its own, which does not keep the runtime alive.
    pub(crate) fn watch(self: &Arc<Self>, container: Arc<Container>) {
        tokio::spawn(wait(Arc::downgrade(self), self.closing.subscribe(), container));
    }

    async fn ended(&self, container: &Container, seen: Result<ExitRecord, Error>) {
        give_root_back(container).await;
        match seen {
            Ok(record) => self.exited(container, record),
            Err(error) => self.lost(container, &error).await,
        }
    }

    pub(crate) fn exited(&self, container: &Container, record: ExitRecord) {
        container.set_state(State::Exited(Exit::from(record)));
        self.announce(container, ContainerEventType::Stopped);
    }

    /// The shim is gone without a word. Its exit record counts if there is one; else what is left of the container is ended, since
    /// nobody owns its terminal, log and exit code any more.
    pub(crate) async fn lost(&self, container: &Container, why: &Error) {
        let paths = container.paths.clone();
        match blocking(move || paths.exit_record().recover::<ExitRecord>()).await {
            Ok(Some(record)) => return self.exited(container, record),
            Ok(None) => {}
            Err(error) => tracing::error!(
                container = container.id(),
                error = crate::error::chain(&error),
                "an exit record cannot be read"
            ),
        }
        let started_at = start_of(&container.paths).await.map(|start| start.started_at);
        let killed = self.clean_up_after_shim(container).await;
        let (exit_code, reason, what) = match killed {
            0 => (UNKNOWN, "Unknown", "the container ended unseen"),
            _ => (KILLED, "Error", "the container's processes were killed"),
        };
        let message = format!("the container's shim is gone, {what} ({})", crate::error::chain(why));
        let reason = reason.to_owned();
        let finished_at = identity::now();
        self.pronounce(container, Verdict { exit_code, reason, message, started_at, finished_at }).await;
    }

    /// Kills whatever is in the container's cgroup; returns how many processes that were.
    pub(crate) async fn kill_cgroup(&self, container: &Container) -> Result<usize, Error> {
        let folders = self.host.cgroup_folders(Path::new(&container.record().cgroup));
        blocking(move || Ok(remora_sys::cgroup::kill_all(&folders)?)).await
    }

    async fn end_creators(&self, container: &Container) -> Result<(), Error> {
        let runtime = self.low_level(&container.record().handler)?;
        let bundle = container.paths.bundle().to_owned();
        blocking(move || low_level::end_creators(&runtime.path, &bundle)).await
    }

    /// What a shim does when its container has ended, for one that cannot any more. Returns how many processes were killed; what
    /// cannot be done is logged, since the container is given up either way.
    pub(crate) async fn clean_up_after_shim(&self, container: &Container) -> usize {
        let id = container.id();
        if let Err(error) = self.end_creators(container).await {
            tracing::error!(container = id, error = crate::error::chain(&error), "a start may still be under way");
        }
        let killed = self.kill_cgroup(container).await.unwrap_or_else(|error| {
            tracing::error!(container = id, error = crate::error::chain(&error), "lost processes may be left");
            0
        });
        if let Err(error) = self.delete_low_level(&container.record().handler, id).await {
            let error = crate::error::chain(&error);
            tracing::warn!(container = id, error, "state of the low-level runtime may be left");
        }
        killed
    }
}

/// How a container's first process ended, as soon as it has.
///
/// # Errors
/// The shim is gone or says something else.
pub(crate) async fn exit_of(socket: &Path, id: &str) -> Result<ExitRecord, Error> {
    match shim::ask(socket, Request::Wait).await? {
        Reply::State(ProcessState::Exited(record)) => Ok(record),
        other => Err(Error::Shim { id: id.to_owned(), problem: format!("answered a wait with {other:?}") }),
    }
}

async fn wait(runtime: Weak<Inner>, mut closing: watch::Receiver<()>, container: Arc<Container>) {
    let socket = container.paths.socket();
    let seen = tokio::select! {
        // Cancel-safe: a wait that is dropped is asked again by the next daemon.
        seen = exit_of(&socket, container.id()) => seen,
        // The runtime is closed, or dropped.
        _ = closing.changed() => return,
    };
    if let Some(runtime) = runtime.upgrade() {
        runtime.ended(&container, seen).await;
    }
}

/// Takes down the mounts of another container's root and image: for as long as they stand, so do that one's volumes and layers. What cannot be
/// done is logged; the pod's end takes them down too.
async fn give_root_back(container: &Container) {
    let config = &container.record().config;
    let root = root_of(config).map(|_| container.paths.rootfs());
    let image = image_of(config).map(|_| container.paths.shown_image());
    let mounts: Vec<_> = root.into_iter().chain(image).collect();
    if mounts.is_empty() {
        return;
    }
    let unmount = move || Ok(mounts.iter().try_for_each(|mount| remora_sys::mount::unmount_below(mount))?);
    if let Err(error) = blocking(unmount).await {
        tracing::warn!(
            container = container.id(),
            error = crate::error::chain(&error),
            "a borrowed root stays mounted"
        );
    }
}

async fn start_of(paths: &ContainerPaths) -> Option<StartRecord> {
    let places = paths.start_record();
    // Damaged or missing alike: the time of the start is then not known.
    blocking(move || places.recover::<StartRecord>()).await.ok().flatten()
}
