//! One container: its record, and where it is in its life.
//!
//! ```text
//! Created ──start──▶ Starting ──▶ Running ──exit──▶ Exited ──remove──▶ Removed
//!    │                  └──────── failed ─────────────▲ │
//!    └──────────────────remove─────────────────────────┴┘   (Removing is a mark beside the state, so that a failed
//!                                                             removal leaves it as it was)
//! ```
//!
//! The life is a `watch` value: transitions are compare-and-set, and whoever waits for one sees it as an event. So no lock is
//! held while the kernel or a shim is waited for.

mod asked;
mod crash;
mod create;
mod exit;
mod facts;
mod remove;
mod resume;
mod root;
mod start;
mod status;
mod stop;
mod tools;
mod update;
mod working_dir;

use std::sync::{Mutex, PoisonError};

use remora_cri::{ContainerConfig, LinuxContainerResources, NamespaceOption};
use remora_shim_protocol::{ExitRecord, StartRecord};
use tokio::sync::watch;

use crate::Error;
use crate::config::ContainerPaths;
use crate::record::{ContainerRecord, Verdict};
use crate::shim::Ahead;

pub(crate) use create::{clear, first_process, pin_pid_namespace, remove_folder, write_json};
pub(crate) use exit::exit_of;
pub(crate) use status::{event, matches, selected};

/// containerd's reason for a container that could not be started, which Kubernetes shows unchanged.
const START_ERROR: &str = "StartError";

/// A container that has been created and not removed.
pub(crate) struct Container {
    record: ContainerRecord,
    pub(crate) paths: ContainerPaths,
    life: watch::Sender<Life>,
    /// The shim that waits for the container's start.
    ahead: Mutex<Option<Ahead>>,
    /// What it may use at present: it can be given other limits than those in its record.
    resources: Mutex<Option<LinuxContainerResources>>,
    /// Whose turn it is to give it others.
    updating: Mutex<()>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Life {
    pub(crate) state: State,
    /// Somebody is removing it.
    pub(crate) removing: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Created,
    Starting,
    Running(StartRecord),
    Exited(Exit),
    Removed,
}

/// How a container ended, as a status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: i64,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, paths: ContainerPaths, state: State) -> Self {
        let life = watch::Sender::new(Life { state, removing: false });
        let resources = Mutex::new(record.config.linux.as_ref().and_then(|linux| linux.resources.clone()));
        Container { record, paths, life, ahead: Mutex::default(), resources, updating: Mutex::default() }
    }

    /// The same, with a shim that waits for its start.
    pub(crate) fn with_ahead(self, ahead: Option<Ahead>) -> Self {
        Self { ahead: Mutex::new(ahead), ..self }
    }

    /// For whoever starts it.
    fn take_ahead(&self) -> Option<Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn id(&self) -> &str {
        &self.record.id
    }

    pub(crate) fn record(&self) -> &ContainerRecord {
        &self.record
    }

    /// What it may use.
    pub(crate) fn resources(&self) -> Option<LinuxContainerResources> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_resources(&self, resources: LinuxContainerResources) {
        *self.resources.lock().unwrap_or_else(PoisonError::into_inner) = Some(resources);
    }

    /// The record as it is to be written down now.
    fn present_record(&self) -> ContainerRecord {
        let mut record = self.record.clone();
        if let Some(resources) = self.resources() {
            record.config.linux.get_or_insert_default().resources = Some(resources);
        }
        record
    }

    pub(crate) fn state(&self) -> State {
        self.life.borrow().state.clone()
    }

    /// The first process, if it runs.
    pub(crate) fn running(&self) -> Option<StartRecord> {
        match &self.life.borrow().state {
            State::Running(start) => Some(start.clone()),
            _ => None,
        }
    }

    /// It is being removed, or has been.
    pub(crate) fn is_going(&self) -> bool {
        let life = self.life.borrow();
        life.removing || life.state == State::Removed
    }

    /// Moves on if the present life allows it: compare-and-set.
    fn step(&self, change: impl FnOnce(&Life) -> Option<Life>) -> Result<(), Life> {
        let mut refused = None;
        self.life.send_if_modified(|life| match change(life) {
            Some(next) => {
                *life = next;
                true
            }
            None => {
                refused = Some(life.clone());
                false
            }
        });
        refused.map_or(Ok(()), Err)
    }

    /// Sets the state whatever it was; only the one who owns the transition may.
    pub(crate) fn set_state(&self, state: State) {
        self.life.send_modify(|life| life.state = state);
    }

    /// Waits until the life is as wanted; the present one counts.
    async fn until(&self, wanted: impl FnMut(&Life) -> bool) -> Life {
        let mut watcher = self.life.subscribe();
        match watcher.wait_for(wanted).await {
            Ok(life) => life.clone(),
            // Cannot be: the sender is part of `self`.
            Err(_) => self.life.borrow().clone(),
        }
    }

    /// As the request has them.
    fn namespace_options(&self) -> NamespaceOption {
        namespace_options(&self.record.config)
    }

    /// Why it cannot be the target of another container.
    fn cannot_be_target(&self) -> Error {
        Error::Target(format!("container {:?} is not running: it is {}", self.id(), self.state().name()))
    }

    fn wrong_state(&self, state: &State) -> Error {
        Error::State { what: "container", id: self.id().to_owned(), state: state.name() }
    }
}

fn namespace_options(config: &ContainerConfig) -> NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

impl State {
    /// In words.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            State::Created => "not started",
            State::Starting => "being started",
            State::Running(_) => "running",
            State::Exited(_) => "stopped",
            State::Removed => "removed",
        }
    }
}

impl From<ExitRecord> for Exit {
    /// The reasons are containerd's.
    fn from(record: ExitRecord) -> Self {
        let (reason, message) = match (record.exit_code, record.expired) {
            _ if record.failure.is_some() => {
                (START_ERROR, Error::not_started(&record.failure.unwrap_or_default()).to_string())
            }
            _ if record.oom_killed => ("OOMKilled", String::new()),
            (_, Some(expired)) => asked::expired_in_words(expired),
            (0, None) => ("Completed", String::new()),
            (_, None) => ("Error", String::new()),
        };
        Exit {
            exit_code: record.exit_code,
            reason: reason.to_owned(),
            message,
            started_at: record.started_at,
            finished_at: record.finished_at,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        let Verdict { exit_code, reason, message, started_at, finished_at } = verdict;
        Exit { exit_code, reason, message, started_at, finished_at }
    }
}
