//! The paths of `/proc` and `/sys` that a container must not read or write.

use remora_cri::LinuxContainerSecurityContext;

/// `(masked, read-only)`: as CRI says them, none for a privileged container.
pub(crate) fn paths(security: &LinuxContainerSecurityContext) -> (Vec<String>, Vec<String>) {
    match security.privileged {
        true => (Vec::new(), Vec::new()),
        false => (security.masked_paths.clone(), security.readonly_paths.clone()),
    }
}
