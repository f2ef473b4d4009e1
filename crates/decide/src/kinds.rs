//! How kinds of containers differ: one row of data each. No other place branches on the kind for these questions.

use remora_model::ContainerKind;

/// When a container of a kind may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// After every entry of `spec.initContainers` before it.
    InTurn,
    /// After all of `spec.initContainers`.
    AfterInit,
    /// As soon as the sandbox stands.
    WithSandbox,
}

/// When a container of a kind is started again after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// Until it ends with 0; not at all if the pod's policy is Never.
    UntilSuccess,
    /// Whatever the pod's policy is.
    Always,
    /// As the pod's `restartPolicy` says.
    ByPodPolicy,
    /// Never, whatever the pod's policy is.
    Never,
}

/// What a kind of container may do and what depends on it.
///
/// Sources: KEP-277 (ephemeral containers), KEP-753 (sidecars), kubernetes `pkg/kubelet/kuberuntime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRules {
    /// When it may start.
    pub starts: Starts,
    /// When it is started again.
    pub restarts: Restarts,
    /// Its end decides whether the pod has succeeded or failed.
    pub counts_for_phase: bool,
    /// The pod is ready only if it is.
    pub counts_for_readiness: bool,
    /// It may join another container's processes.
    pub may_target: bool,
    /// Its status tells `started`, and `ready` can become true.
    pub reports_readiness: bool,
    /// When the pod ends, it is stopped after the ordinary containers, in reverse order.
    pub stops_last: bool,
    /// It can be given other resources while it runs.
    pub resizable: bool,
    /// A guest of the pod: it has no limits of its own, so the node's ceiling holds, and the kernel kills it before its hosts.
    pub guest: bool,
}

/// The rules of a kind.
pub const fn rules_of(kind: ContainerKind) -> KindRules {
    match kind {
        ContainerKind::Init => KindRules {
            starts: Starts::InTurn,
            restarts: Restarts::UntilSuccess,
            counts_for_phase: false,
            counts_for_readiness: false,
            may_target: false,
            reports_readiness: true,
            stops_last: false,
            resizable: false,
            guest: false,
        },
        ContainerKind::Sidecar => KindRules {
            starts: Starts::InTurn,
            restarts: Restarts::Always,
            counts_for_phase: false,
            counts_for_readiness: true,
            may_target: false,
            reports_readiness: true,
            stops_last: true,
            resizable: true,
            guest: false,
        },
        ContainerKind::Container => KindRules {
            starts: Starts::AfterInit,
            restarts: Restarts::ByPodPolicy,
            counts_for_phase: true,
            counts_for_readiness: true,
            may_target: false,
            reports_readiness: true,
            stops_last: false,
            resizable: true,
            guest: false,
        },
        ContainerKind::Ephemeral => KindRules {
            starts: Starts::WithSandbox,
            restarts: Restarts::Never,
            counts_for_phase: false,
            counts_for_readiness: false,
            may_target: true,
            reports_readiness: false,
            stops_last: false,
            resizable: false,
            guest: true,
        },
    }
}
