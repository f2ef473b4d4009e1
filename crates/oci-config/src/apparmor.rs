//! Which AppArmor profile a container is under, and the text of the one that Remora brings along.
//!
//! Source: containerd `internal/cri/sputil/sputil_linux.go` for who gets which; the kubelet hands over what the pod says.

use std::collections::BTreeSet;

use remora_cri::{LinuxContainerSecurityContext, ProfileType};

use crate::SpecError;

/// The name of the profile for containers that ask for none, or for the runtime's.
pub const DEFAULT_APPARMOR: &str = "remora-default";

/// What AppArmor can do on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmor {
    /// Nothing: the kernel has none, or it is off.
    Off,
    /// It is on.
    On {
        /// [`DEFAULT_APPARMOR`] is loaded.
        has_default: bool,
        /// The names of all that are.
        loaded: BTreeSet<String>,
    },
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedAppArmor {
    /// The runtime's, if there is any.
    Unsaid,
    /// The runtime's.
    Default,
    /// None.
    Unconfined,
    /// The host's of this name.
    Named(String),
}

impl AskedAppArmor {
    /// As CRI says it, also in its older way (a text such as `localhost/NAME`).
    pub fn of(security: &LinuxContainerSecurityContext) -> Self {
        let usual = |asked| if security.privileged { Self::Unconfined } else { asked };
        let Some(profile) = &security.apparmor else {
            return match security.apparmor_profile.as_str() {
                "" => usual(Self::Unsaid),
                "runtime/default" => usual(Self::Default),
                "unconfined" => Self::Unconfined,
                name => Self::Named(name.strip_prefix("localhost/").unwrap_or(name).to_owned()),
            };
        };
        match profile.profile_type() {
            ProfileType::RuntimeDefault => usual(Self::Default),
            ProfileType::Unconfined => Self::Unconfined,
            ProfileType::Localhost => {
                let name = &profile.localhost_ref;
                Self::Named(name.strip_prefix("localhost/").unwrap_or(name).to_owned())
            }
        }
    }

    /// Whether [`DEFAULT_APPARMOR`] has to be there.
    pub fn is_runtimes(&self) -> bool {
        matches!(self, Self::Unsaid | Self::Default)
    }
}

/// The profile's name for the spec.
pub(crate) fn apparmor(security: &LinuxContainerSecurityContext, host: &AppArmor) -> Result<Option<String>, SpecError> {
    let asked = AskedAppArmor::of(security);
    match (asked, host) {
        (AskedAppArmor::Unconfined, _) => Ok(None),
        (AskedAppArmor::Unsaid, AppArmor::Off | AppArmor::On { has_default: false, .. }) => Ok(None),
        (_, AppArmor::Off) => Err(SpecError::AppArmor),
        (AskedAppArmor::Unsaid | AskedAppArmor::Default, AppArmor::On { has_default: true, .. }) => {
            Ok(Some(DEFAULT_APPARMOR.to_owned()))
        }
        (AskedAppArmor::Default, AppArmor::On { has_default: false, .. }) => Err(SpecError::NoDefaultAppArmor),
        (AskedAppArmor::Named(name), AppArmor::On { loaded, .. }) if !loaded.contains(&name) => {
            Err(SpecError::AppArmorProfile(name))
        }
        (AskedAppArmor::Named(name), AppArmor::On { .. }) => Ok(Some(name)),
    }
}

/// [`DEFAULT_APPARMOR`] in apparmor.d(5). `daemon`: the profile that the runtime itself is under, which may then signal containers.
///
/// It is the second wall behind capabilities, seccomp, and masked and read-only paths: what a container has no business with in `/proc` and `/sys`, mounts,
/// and other containers' processes, also for a root that has got hold of more than it was given.
pub fn default_apparmor(daemon: Option<&str>) -> String {
    let daemon = daemon.map(|name| format!("  signal (receive) peer=\"{name}\",\n")).unwrap_or_default();
    format!(
        "profile {DEFAULT_APPARMOR} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  deny mount,

  signal (receive) peer=unconfined,
{daemon}  signal (send, receive) peer={DEFAULT_APPARMOR},
  ptrace (trace, read, tracedby, readby) peer={DEFAULT_APPARMOR},

  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /proc/{{acpi,bus,driver,fs,irq,scsi}}/** wklx,
  deny /proc/sys/{{abi,debug,dev,fs,vm}}/** wklx,
  deny /proc/sys/kernel/{{core_*,hotplug,kexec*,modprobe,modules_disabled,perf_*,sysrq,unprivileged_*,yama/**}} wklx,
  deny /sys/{{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::SecurityProfile;

    fn asks(kind: ProfileType, name: &str) -> LinuxContainerSecurityContext {
        let profile = SecurityProfile { profile_type: kind as i32, localhost_ref: name.to_owned() };
        LinuxContainerSecurityContext { apparmor: Some(profile), ..Default::default() }
    }

    fn on(has_default: bool) -> AppArmor {
        AppArmor::On { has_default, loaded: ["mine".to_owned()].into() }
    }

    #[test]
    fn who_is_under_which_profile() {
        let check = |security: &LinuxContainerSecurityContext,
                     host: &AppArmor,
                     expected: Result<Option<&str>, &str>| {
            let found = apparmor(security, host).map_err(|error| error.to_string());
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected, "{security:?} {host:?}");
        };
        const NONE: Result<Option<&str>, &str> = Ok(None);
        let unsaid = LinuxContainerSecurityContext::default();
        check(&unsaid, &on(true), Ok(Some(DEFAULT_APPARMOR)));
        check(&unsaid, &on(false), NONE);
        check(&unsaid, &AppArmor::Off, NONE);
        let default = asks(ProfileType::RuntimeDefault, "");
        check(&default, &on(true), Ok(Some(DEFAULT_APPARMOR)));
        check(
            &default,
            &on(false),
            Err(
                "the default apparmor profile cannot be loaded on this host: install apparmor_parser (package apparmor)",
            ),
        );
        check(&default, &AppArmor::Off, Err("apparmor is not supported by this host"));
        check(&asks(ProfileType::Unconfined, ""), &on(true), NONE);
        check(&asks(ProfileType::Unconfined, ""), &AppArmor::Off, NONE);
        let named = asks(ProfileType::Localhost, "mine");
        check(&named, &on(false), Ok(Some("mine")));
        check(&named, &AppArmor::Off, Err("apparmor is not supported by this host"));
        check(
            &asks(ProfileType::Localhost, "other"),
            &on(true),
            Err("apparmor profile \"other\" is not loaded on this host"),
        );
        // As containerd has it: a privileged container is under none but one that was named.
        for (security, expected) in [(unsaid, None), (default, None), (named, Some("mine"))] {
            check(&LinuxContainerSecurityContext { privileged: true, ..security }, &on(true), Ok(expected));
        }
    }

    #[test]
    fn the_older_way_of_asking_is_understood() {
        let check = |text: &str, expected| {
            let security = LinuxContainerSecurityContext { apparmor_profile: text.to_owned(), ..Default::default() };
            assert_eq!(AskedAppArmor::of(&security), expected);
        };
        check("", AskedAppArmor::Unsaid);
        check("runtime/default", AskedAppArmor::Default);
        check("unconfined", AskedAppArmor::Unconfined);
        check("localhost/mine", AskedAppArmor::Named("mine".to_owned()));
    }
}
