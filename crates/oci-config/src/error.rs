//! Why a container's configuration cannot become a spec. Users read these sentences in a container's status.

/// A request that no container can be made of. All are the request's fault, none the host's, unless the sentence says so.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Neither image nor container name a program.
    #[error("no command specified")]
    NoCommand,
    /// A message without a part that CRI requires.
    #[error("the request lacks {0}")]
    Missing(&'static str),
    /// A user namespace that cannot be had.
    #[error("invalid user namespace (hostUsers: false): {0}")]
    UserNamespace(String),
    /// An id that a pod with a user namespace of its own does not have.
    #[error("{what} {id} is not in the pod's user namespace (hostUsers: false): it has 0 to {last}")]
    IdNotMapped {
        /// `user id`, `group id`.
        what: &'static str,
        /// As asked for.
        id: u32,
        /// The highest that it has.
        last: u32,
    },
    /// A mount that cannot be made as it is asked for.
    #[error("cannot mount on {path:?}: {why}")]
    Mount {
        /// Where in the container.
        path: String,
        /// In words.
        why: &'static str,
    },
    /// CRI allows a group only beside a user.
    #[error("user group \"{0}\" is specified without user")]
    GroupWithoutUser(i64),
    /// An id outside 0 to 2³²-2.
    #[error("{what} {id} is out of range")]
    IdOutOfRange {
        /// `user id`, `group id`.
        what: &'static str,
        /// As asked for.
        id: i64,
    },
    /// A sysctl that would change more than the pod's own namespaces.
    #[error("sysctl {0:?} cannot be set: it does not belong to a namespace of the pod's own")]
    Sysctl(String),
    /// A range of groups that a pod with a user namespace of its own does not have.
    #[error("sysctl {name:?} cannot be {value:?}: the pod's user namespace (hostUsers: false) has groups 0 to {last}")]
    SysctlValue {
        /// Which sysctl.
        name: &'static str,
        /// As asked for.
        value: String,
        /// The highest group that it has.
        last: u32,
    },
    /// A capability that Linux does not have.
    #[error("unknown capability {0:?}")]
    UnknownCapability(String),
    /// A capability that this host may not hand out.
    #[error("capability {0} cannot be added: this host does not hold it itself")]
    CapabilityNotHeld(String),
    /// A path that must start with `/`.
    #[error("{what} {path:?} is not an absolute path")]
    RelativePath {
        /// What the path is for.
        what: &'static str,
        /// As asked for.
        path: String,
    },
    /// An AppArmor profile was asked for where there is no AppArmor.
    #[error("apparmor is not supported by this host")]
    AppArmor,
    /// The runtime's AppArmor profile was asked for, and could not be loaded.
    #[error("the default apparmor profile cannot be loaded on this host: install apparmor_parser (package apparmor)")]
    NoDefaultAppArmor,
    /// An AppArmor profile was asked for by name that the kernel does not have.
    #[error("apparmor profile {0:?} is not loaded on this host")]
    AppArmorProfile(String),
    /// A profile reference that is none of the known forms.
    #[error("invalid seccomp profile {0:?}")]
    SeccompReference(String),
    /// A Localhost profile whose text was not handed over.
    #[error("seccomp profile {0:?} was not found")]
    SeccompMissing(String),
    /// The text of a Localhost profile.
    #[error("seccomp profile {path:?} does not parse")]
    SeccompParse {
        /// Where it came from.
        path: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A device that the host does not have.
    #[error("device {0:?} was not found on this host")]
    DeviceNotFound(String),
    /// A mount over the folder in which a container on another one's root has its image's files.
    #[error(
        "nothing can be mounted on {0:?} here: the image's own files are below /dev/remora, its root is another container's"
    )]
    CoversTools(String),
    /// Something of CRI that this runtime does not offer.
    #[error("{0} are not supported by this runtime")]
    Unsupported(&'static str),
}
