//! AppArmor, and the paths of `/proc` and `/sys` that a container must not read or write.

use remora_cri::{LinuxContainerSecurityContext, ProfileType};

use crate::SpecError;

/// The profile's name for the spec. Where the host has no AppArmor, only a profile named by the user is an error.
pub(crate) fn apparmor(security: &LinuxContainerSecurityContext, available: bool) -> Result<Option<String>, SpecError> {
    let named = match &security.apparmor {
        Some(profile) if profile.profile_type() == ProfileType::Localhost => Some(profile.localhost_ref.clone()),
        Some(_) => None,
        None => security.apparmor_profile.strip_prefix("localhost/").map(str::to_owned),
    };
    match named {
        // Remora loads no profile of its own: RuntimeDefault is what the host gives every process.
        None => Ok(None),
        Some(_) if security.privileged => Ok(None),
        Some(_) if !available => Err(SpecError::AppArmor),
        Some(name) => Ok(Some(name)),
    }
}

/// `(masked, read-only)`: as CRI says them, none for a privileged container.
pub(crate) fn paths(security: &LinuxContainerSecurityContext) -> (Vec<String>, Vec<String>) {
    match security.privileged {
        true => (Vec::new(), Vec::new()),
        false => (security.masked_paths.clone(), security.readonly_paths.clone()),
    }
}
