//! Labels and annotations that a kubelet puts on sandboxes and containers, by which it knows them again after a restart.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/labels.go` and `staging/src/k8s.io/kubelet/pkg/types/labels.go` (v1.34).

/// The pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name in the pod's spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Annotation: hash of the container's spec when it was created.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often a container of this name was restarted before this one.
pub const CONTAINER_RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: the termination message file, as the container sees it.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period in seconds.
pub const POD_TERMINATION_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
