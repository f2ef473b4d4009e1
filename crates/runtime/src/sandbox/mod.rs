//! One sandbox: what the containers of a pod share, and whether it still stands.
//!
//! Its net, ipc and uts namespaces are pinned on files: no process holds them. Only a pod that shares its processes has a pause
//! process, as process 1 of the PID namespace.

mod create;
mod files;
mod remove;
mod status;
mod stop;
mod update;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use remora_cri::{
    LinuxContainerResources, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, UserNamespace,
};
use remora_oci_config::{EtcFiles, Join, NamespacePaths, SandboxFiles};
use tokio::sync::watch;

use crate::Error;
use crate::config::SandboxPaths;
use crate::record::SandboxRecord;
use crate::users::{USER, Users};

pub(crate) use status::sandbox_matches;

/// A sandbox that has been set up and not removed.
pub(crate) struct Sandbox {
    record: SandboxRecord,
    pub(crate) paths: SandboxPaths,
    standing: watch::Sender<Standing>,
    /// What it may use at present: it can be given other limits than those in its record.
    resources: Mutex<Option<LinuxContainerResources>>,
}

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: SandboxState,
    /// Somebody stops or removes it: one at a time.
    pub(crate) busy: bool,
}

/// See [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SandboxState {
    /// Containers can be started in it.
    Ready,
    /// Its pause process has ended, or the machine was started anew: it must still be stopped.
    Broken,
    /// Its network is given back.
    Stopped,
    Removed,
}

impl Sandbox {
    pub(crate) fn new(record: SandboxRecord, paths: SandboxPaths, state: SandboxState) -> Self {
        let standing = watch::Sender::new(Standing { state, busy: false });
        let resources = Mutex::new(linux(&record.config).resources);
        Sandbox { record, paths, standing, resources }
    }

    pub(crate) fn id(&self) -> &str {
        &self.record.id
    }

    pub(crate) fn record(&self) -> &SandboxRecord {
        &self.record
    }

    /// What it may use.
    pub(crate) fn resources(&self) -> Option<LinuxContainerResources> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The record as it is to be written down now.
    fn present_record(&self) -> SandboxRecord {
        let mut record = self.record.clone();
        if let Some(resources) = self.resources() {
            record.config.linux.get_or_insert_default().resources = Some(resources);
        }
        record
    }

    pub(crate) fn state(&self) -> SandboxState {
        self.standing.borrow().state
    }

    pub(crate) fn set_state(&self, state: SandboxState) {
        self.standing.send_modify(|standing| standing.state = state);
    }

    /// Whether it still holds what the network gave it.
    pub(crate) fn is_attached(&self) -> bool {
        self.record.network.is_some() && matches!(self.state(), SandboxState::Ready | SandboxState::Broken)
    }

    pub(crate) fn require_ready(&self) -> Result<(), Error> {
        let state = match self.state() {
            SandboxState::Ready => return Ok(()),
            SandboxState::Broken | SandboxState::Stopped => "not ready",
            SandboxState::Removed => "removed",
        };
        Err(Error::State { what: "sandbox", id: self.id().to_owned(), state })
    }

    /// The right to stop or remove it, one caller after the other. It ends when the guard is dropped.
    async fn own(&self) -> Busy<'_> {
        let mut watcher = self.standing.subscribe();
        loop {
            let taken = self.standing.send_if_modified(|standing| !std::mem::replace(&mut standing.busy, true));
            if taken {
                return Busy(self);
            }
            // An error cannot be: the sender is part of `self`.
            let _ = watcher.wait_for(|standing| !standing.busy).await;
        }
    }

    /// How its containers are joined to it. The PID namespace is the one of the pause process, if there is one.
    pub(crate) fn namespaces(&self) -> NamespacePaths {
        namespaces(&self.record.config, &self.paths)
    }

    /// Its user namespace; none is the host's.
    pub(crate) fn users(&self) -> Result<Option<Users>, Error> {
        Users::of(&self.record.config, &self.paths)
    }

    /// Files that its containers see.
    pub(crate) fn files(&self) -> SandboxFiles {
        let shm = match options(&self.record.config).ipc() {
            NamespaceMode::Node => PathBuf::from("/dev/shm"),
            _ => self.paths.shm(),
        };
        SandboxFiles {
            shm,
            etc: Some(EtcFiles {
                hosts: self.paths.file(files::HOSTS),
                hostname: self.paths.file(files::HOSTNAME),
                resolv_conf: self.paths.file(files::RESOLV_CONF),
            }),
        }
    }
}

/// See [`Sandbox::own`].
struct Busy<'a>(&'a Sandbox);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.standing.send_modify(|standing| standing.busy = false);
    }
}

/// The pod's part of a sandbox's configuration.
pub(crate) fn linux(config: &PodSandboxConfig) -> LinuxPodSandboxConfig {
    config.linux.clone().unwrap_or_default()
}

pub(crate) fn security(config: &PodSandboxConfig) -> LinuxSandboxSecurityContext {
    linux(config).security_context.unwrap_or_default()
}

pub(crate) fn options(config: &PodSandboxConfig) -> NamespaceOption {
    security(config).namespace_options.unwrap_or_default()
}

fn namespaces(config: &PodSandboxConfig, paths: &SandboxPaths) -> NamespacePaths {
    let options = options(config);
    let join = |mode: NamespaceMode, name| match mode {
        NamespaceMode::Node => Join::Host,
        _ => Join::Path(paths.pin(name)),
    };
    NamespacePaths {
        network: join(options.network(), "net"),
        ipc: join(options.ipc(), "ipc"),
        // As containerd: whoever is in the host's network has its name too.
        uts: join(options.network(), "uts"),
        pid: match options.pid() {
            NamespaceMode::Pod => Join::Path(paths.pin("pid")),
            NamespaceMode::Node => Join::Host,
            NamespaceMode::Container | NamespaceMode::Target => Join::New,
        },
        user: match options.userns_options.as_ref().map(UserNamespace::mode) {
            Some(NamespaceMode::Pod) => Join::Path(paths.pin(USER)),
            _ => Join::Host,
        },
    }
}
