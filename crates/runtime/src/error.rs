//! What a runtime call can fail with, and what of that a CRI client is told.

use std::io;
use std::path::{Path, PathBuf};

use remora_cri::Code;
use remora_oci_config::SpecError;
use remora_shim_protocol::FrameError;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox or container.
    #[error("{what} {id:?} not found")]
    NotFound {
        /// `sandbox`, `container`.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// The name is taken.
    #[error("failed to reserve {what} name {name:?}: name {name:?} is reserved for {id:?}")]
    NameTaken {
        /// `sandbox`, `container`.
        what: &'static str,
        /// `name_…_attempt`.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A request without a part that CRI requires.
    #[error("the request lacks {0}")]
    Missing(&'static str),
    /// A runtime handler that is not configured.
    #[error("no runtime for {0:?} is configured")]
    Handler(String),
    /// The sandbox or container is not in the state that the call needs.
    #[error("{what} {id:?} is {state}")]
    State {
        /// `sandbox`, `container`.
        what: &'static str,
        /// Its id.
        id: String,
        /// In words.
        state: &'static str,
    },
    /// A target for a PID namespace that cannot be one.
    #[error("invalid target container: {0}")]
    Target(String),
    /// A container's root that another one cannot stand on.
    #[error("cannot use another container's root: {0}")]
    Root(String),
    /// A container whose root another one stands on.
    #[error("container {id:?} cannot be removed: container {user:?} stands on its root")]
    InUse {
        /// The container.
        id: String,
        /// Who stands on it.
        user: String,
    },
    /// An annotation that means something to this runtime, with a value that does not.
    #[error("annotation {annotation} cannot be {value:?}")]
    Annotation {
        /// Its name.
        annotation: &'static str,
        /// As asked for.
        value: String,
    },
    /// The configuration cannot become a container.
    #[error("failed to generate container {id:?} spec")]
    Spec {
        /// The container's id.
        id: String,
        /// Why.
        #[source]
        source: SpecError,
    },
    /// The processes that the container is to join cannot be joined.
    #[error("failed to generate container {id:?} spec")]
    Processes {
        /// The container's id.
        id: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The sandbox's configuration cannot be carried out.
    #[error("failed to generate sandbox spec")]
    SandboxSpec(#[source] SpecError),
    /// A runtime handler that cannot run what is asked for.
    #[error("runtime handler {0:?} does not support user namespaces (hostUsers: false)")]
    UserNamespaces(String),
    /// A folder above the runtime's that a pod's root, who is somebody else on the host, cannot pass.
    #[error(
        "a pod with a user namespace (hostUsers: false) cannot come to its files: {} must be passable for others (chmod o+x)",
        .0.display()
    )]
    NoWay(PathBuf),
    /// A file system whose files' owners cannot be mapped.
    #[error(
        "cannot mount {} for a pod with a user namespace (hostUsers: false): file system {kind} does not support idmapped mounts on this kernel",
        path.display()
    )]
    Unmappable {
        /// What was to be mounted.
        path: PathBuf,
        /// The file system's name, as the kernel has it.
        kind: String,
    },
    /// The image's user database does not know the user.
    #[error("failed to generate container {id:?} spec: failed to generate spec")]
    User {
        /// The container's id.
        id: String,
        /// Who, and why.
        #[source]
        source: remora_sys::users::UserError,
    },
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[from] remora_sys::Error),
    /// A file or folder of ours, or of a mount.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A record that is not what was written.
    #[error("record {} is damaged: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another process has the runtime's folder.
    #[error("runtime folder {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Less memory than is used: the kernel would end the container, or refuse.
    #[error("attempting to set {what} memory limit ({limit}) below current usage ({usage})")]
    BelowUsage {
        /// `pod`, or the container with its name.
        what: String,
        /// In bytes, as asked for.
        limit: i64,
        /// In bytes.
        usage: u64,
    },
    /// The network.
    #[error("failed to set up the network of sandbox {id:?}")]
    Network {
        /// The sandbox.
        id: String,
        /// Why.
        #[source]
        source: remora_network::Error,
    },
    /// The image service, in its own words.
    #[error("{0}")]
    Image(remora_cri::Error),
    /// The low-level runtime could not start the container; the sentence is its own.
    #[error("{0}")]
    Start(String),
    /// The shim cannot be reached, or does not speak as it should.
    #[error("shim of {id:?}: {problem}")]
    Shim {
        /// The container.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A shim's socket.
    #[error("cannot talk to the shim")]
    Connection(#[source] io::Error),
    /// Bytes on a shim's socket.
    #[error("cannot understand the shim")]
    Frame(#[from] FrameError),
    /// systemd, which keeps this machine's cgroups.
    #[error("cannot {action} {unit}")]
    Systemd {
        /// What was tried.
        action: &'static str,
        /// On which unit.
        unit: String,
        /// Its answer.
        #[source]
        source: Box<zbus::Error>,
    },
    /// The cgroup driver `systemd` on a machine where it cannot work.
    #[error("the cgroup driver systemd cannot be used: {missing}")]
    CgroupDriver {
        /// Why.
        missing: &'static str,
        /// What came instead of an answer.
        #[source]
        source: Option<Box<zbus::Error>>,
    },
    /// A command took longer than the request allows.
    #[error("command {command:?} timed out after {seconds} s")]
    Timeout {
        /// What ran.
        command: Vec<String>,
        /// The limit.
        seconds: i64,
    },
    /// A task of the runtime ended without an answer.
    #[error("the runtime is shutting down")]
    Closed,
}

impl Error {
    pub(crate) fn sandbox_not_found(id: &str) -> Self {
        Error::NotFound { what: "sandbox", id: id.to_owned() }
    }

    pub(crate) fn container_not_found(id: &str) -> Self {
        Error::NotFound { what: "container", id: id.to_owned() }
    }

    /// A container that could not be started, by the low-level runtime's sentence. The words before it are containerd's, which Kubernetes shows
    /// unchanged: what people search for, and what alerts are made of, is the whole of it.
    pub(crate) fn not_started(said: &str) -> Self {
        Error::Start(format!("failed to create containerd task: failed to create shim task: {said}"))
    }

    fn code(&self) -> Code {
        match self {
            Error::NotFound { .. } => Code::NotFound,
            Error::NameTaken { .. } => Code::AlreadyExists,
            Error::Missing(_)
            | Error::Annotation { .. }
            | Error::Handler(_)
            | Error::Spec { .. }
            | Error::SandboxSpec(_)
            | Error::UserNamespaces(_)
            | Error::User { .. } => Code::InvalidArgument,
            Error::State { .. }
            | Error::Target(_)
            | Error::Root(_)
            | Error::InUse { .. }
            | Error::NoWay(_)
            | Error::Unmappable { .. } => Code::FailedPrecondition,
            Error::Network { source: remora_network::Error::Exhausted { .. }, .. } => Code::ResourceExhausted,
            Error::Kernel(error) if error.kind() == io::ErrorKind::StorageFull => Code::ResourceExhausted,
            Error::BelowUsage { .. } => Code::ResourceExhausted,
            Error::Timeout { .. } => Code::DeadlineExceeded,
            Error::Closed | Error::Locked(_) => Code::Unavailable,
            Error::Image(error) => error.code,
            Error::Processes { source, .. } => source.code(),
            _ => Code::Internal,
        }
    }
}

impl From<Error> for remora_cri::Error {
    fn from(error: Error) -> Self {
        remora_cri::Error::new(error.code(), chain(&error))
    }
}

/// An error and its causes in one line, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = source.source();
    }
    text
}

/// Makes the closure for `map_err`: `.map_err(failed("create", &path))`.
pub(crate) fn failed(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { action, path: path.as_ref().to_owned(), source }
}
