//! The kinds of containers that a pod has. What each may do is data elsewhere (`decide`'s `KindRules`, `rules`' tables).

/// Which list of the pod a container stands in, and for init containers whether it is a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// In `spec.initContainers`, runs to completion before the next.
    Init,
    /// In `spec.initContainers` with `restartPolicy: Always` (KEP-753): starts in order, runs as long as the pod.
    Sidecar,
    /// In `spec.containers`.
    Container,
    /// In `spec.ephemeralContainers` (KEP-277): added to a pod that exists already.
    Ephemeral,
}

impl ContainerKind {
    /// Every kind, in the order in which upstream visits a pod's containers.
    pub const ALL: [Self; 4] = [Self::Init, Self::Sidecar, Self::Container, Self::Ephemeral];

    /// The field of `spec` that holds containers of this kind.
    pub fn spec_field(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::Container => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }

    /// The field of `status` that holds their states.
    pub fn status_field(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainerStatuses",
            Self::Container => "containerStatuses",
            Self::Ephemeral => "ephemeralContainerStatuses",
        }
    }

    /// The kind of an entry of `spec.initContainers`, by its restart policy.
    pub fn of_init(restart_policy: Option<&str>) -> Self {
        if restart_policy == Some("Always") { Self::Sidecar } else { Self::Init }
    }
}
