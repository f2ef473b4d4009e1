//! A start that the daemon before did not see the end of: its shim is still at it.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Weak};

use remora_cri::ContainerEventType;
use remora_shim_protocol::{ExitRecord, ProcessState, Reply, Request};
use remora_sys::inotify::Watcher;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Container, State, exit_of};
use crate::config::ContainerPaths;
use crate::task::blocking;
use crate::{Error, Inner, shim};

impl Inner {
    /// Waits, in a task of its own, until the shim has started the container or given up.
    pub(crate) fn watch_start(self: &Arc<Self>, container: Arc<Container>) -> JoinHandle<()> {
        tokio::spawn(settle(Arc::downgrade(self), self.closing.subscribe(), container))
    }
}

async fn settle(runtime: Weak<Inner>, mut closing: watch::Receiver<()>, container: Arc<Container>) {
    let outcome = tokio::select! {
        // Cancel-safe: both are asked again by whoever comes next.
        outcome = outcome(&container.paths, container.id()) => outcome,
        _ = closing.changed() => return,
    };
    let Some(runtime) = runtime.upgrade() else { return };
    match outcome {
        Ok(ProcessState::Running(start)) => {
            container.set_state(State::Running(start));
            runtime.announce(&container, ContainerEventType::Started);
            runtime.watch(container);
        }
        Ok(ProcessState::Exited(exit)) => runtime.exited(&container, exit),
        Ok(ProcessState::Creating) => {}
        Err(error) => runtime.lost(&container, &error).await,
    }
}

/// Never [`ProcessState::Creating`].
async fn outcome(paths: &ContainerPaths, id: &str) -> Result<ProcessState, Error> {
    let socket = paths.socket();
    tokio::select! {
        started = started(&paths.durable, &socket, id) => started,
        // A shim that gives up ends, and with it the wait.
        ended = exit_of(&socket, id) => ended.map(|record: ExitRecord| ProcessState::Exited(record)),
    }
}

/// The shim's start record appears in the folder: each change there is a reason to ask again.
async fn started(folder: &Path, socket: &Path, id: &str) -> Result<ProcessState, Error> {
    let folder = folder.to_owned();
    let watcher = blocking(move || {
        let watcher = Watcher::new()?;
        watcher.watch(&folder)?;
        Ok(watcher)
    })
    .await?;
    let changes = async_watcher(watcher)?;
    loop {
        match shim::ask(socket, Request::State).await? {
            Reply::State(ProcessState::Creating) => {}
            Reply::State(state) => return Ok(state),
            other => return Err(Error::Shim { id: id.to_owned(), problem: format!("answered with {other:?}") }),
        }
        let mut ready = changes.readable().await.map_err(Error::Connection)?;
        changes.get_ref().0.events()?;
        ready.clear_ready();
    }
}

/// tokio asks for the descriptor's number.
struct Watched(Watcher);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe; what it asks for holds: the descriptor is owned and never changes"
)]
fn async_watcher(watcher: Watcher) -> Result<AsyncFd<Watched>, Error> {
    AsyncFd::new(Watched(watcher)).map_err(Error::Connection)
}
