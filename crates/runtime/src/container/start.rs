//! StartContainer: the shim is spawned, and the container has been executed when it says so.

use std::sync::Arc;

use remora_cri::{ContainerEventType, NamespaceMode};
use remora_shim_protocol::StartRecord;

use super::{Container, Exit, Life, START_ERROR, State};
use crate::config::ContainerPaths;
use crate::identity;
use crate::record::Verdict;
use crate::shim::{self, ShimFiles};
use crate::task::blocking;
use crate::{Error, Inner};

/// containerd's, which Kubernetes shows unchanged.
const START_FAILED: i32 = 128;

impl Inner {
    pub(crate) async fn start_container(self: Arc<Self>, container: Arc<Container>) -> Result<(), Error> {
        let sandbox = self.table.sandbox(&container.record().sandbox_id)?;
        let claimed = container.step(|life| match life {
            Life { state: State::Created, removing: false } => Some(Life { state: State::Starting, removing: false }),
            _ => None,
        });
        claimed.map_err(|life| container.wrong_state(&life.state))?;
        // Only now: whoever stops the sandbox first says so and then looks at its containers, so one of the two sees the other.
        if let Err(error) = sandbox.require_ready() {
            container.set_state(State::Created);
            return Err(error);
        }
        match self.launch(&container).await {
            Ok(start) => {
                container.set_state(State::Running(start));
                self.announce(&container, ContainerEventType::Started);
                self.watch(container);
                Ok(())
            }
            Err(error) => {
                self.start_failed(&container, &error).await;
                Err(error)
            }
        }
    }

    async fn launch(&self, container: &Container) -> Result<StartRecord, Error> {
        // First of all: whatever comes of this, nothing waits for this container any more.
        let ahead = container.take_ahead();
        self.require_target(container)?;
        let (record, about) = (container.record(), format!("Container {}", container.id()));
        // Made with the container, and still there unless somebody has ended it.
        self.make_room_for(record.cgroup.as_ref(), &about).await?;
        shim::spawn(self.shim_files(&container.paths, container.id()), ahead).await
    }

    pub(crate) fn shim_files(&self, paths: &ContainerPaths, id: &str) -> ShimFiles {
        let program = self.shim.clone();
        ShimFiles { program, config: paths.shim_config(), log: paths.shim_log(), id: id.to_owned() }
    }

    /// A target that has ended since the container was created has left a PID namespace that nobody can enter any more.
    fn require_target(&self, container: &Container) -> Result<(), Error> {
        let options = container.namespace_options();
        if options.pid() != NamespaceMode::Target {
            return Ok(());
        }
        let target = self.table.container(&options.target_id).map_err(|error| Error::Target(error.to_string()))?;
        target.running().map(drop).ok_or_else(|| target.cannot_be_target())
    }

    /// The container has ended without having begun; a status and a restarted daemon say why.
    async fn start_failed(&self, container: &Container, error: &Error) {
        // A shim that reported has cleaned up after itself; one that died has not.
        if !matches!(error, Error::Start(_)) {
            self.clean_up_after_shim(container).await;
        }
        let verdict = Verdict {
            exit_code: START_FAILED,
            reason: START_ERROR.to_owned(),
            message: crate::error::chain(error),
            started_at: None,
            finished_at: identity::now(),
        };
        self.pronounce(container, verdict).await;
    }

    /// Writes down and announces an end that no shim has written down.
    pub(crate) async fn pronounce(&self, container: &Container, verdict: Verdict) {
        let mut record = container.present_record();
        record.verdict = Some(verdict.clone());
        let places = container.paths.record();
        if let Err(error) = blocking(move || places.write(&record)).await {
            // The status below is right until the daemon ends; after that the container is reported as of unknown fate.
            let error = crate::error::chain(&error);
            tracing::error!(container = container.id(), error, "the end of a container could not be written down");
        }
        container.set_state(State::Exited(Exit::from(verdict)));
        self.announce(container, ContainerEventType::Stopped);
    }
}
