//! Which seccomp filter a container gets: the default profile, one from a file, or none.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};
use remora_cri::{LinuxContainerSecurityContext, ProfileType};

use crate::SpecError;
use crate::capabilities::Granted;
use crate::seccomp_table::{AF_VSOCK, ALLOWED, CLONE_NAMESPACES, PERSONALITIES, WITH_CAPABILITY};

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

enum Profile<'a> {
    Unconfined,
    Default,
    Localhost(&'a str),
}

/// The path of the Localhost profile that the request names, whose text is to be handed over in the facts.
///
/// # Errors
/// [`SpecError::SeccompReference`] for a reference of no known form.
pub fn localhost_seccomp_path(security: &LinuxContainerSecurityContext) -> Result<Option<&str>, SpecError> {
    Ok(match profile(security)? {
        Profile::Localhost(path) => Some(path),
        Profile::Unconfined | Profile::Default => None,
    })
}

/// Whether the request asks for no filter at all.
///
/// # Errors
/// As [`localhost_seccomp_path`].
pub fn unconfined_seccomp(security: &LinuxContainerSecurityContext) -> Result<bool, SpecError> {
    Ok(matches!(profile(security)?, Profile::Unconfined))
}

pub(crate) fn seccomp(
    security: &LinuxContainerSecurityContext,
    granted: &Granted,
    localhost: Option<&str>,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    match profile(security)? {
        Profile::Unconfined => Ok(None),
        Profile::Default => Ok(Some(default_profile(granted))),
        Profile::Localhost(path) => {
            let text = localhost.ok_or_else(|| SpecError::SeccompMissing(path.to_owned()))?;
            let parsed = serde_json::from_str(text);
            parsed.map(Some).map_err(|source| SpecError::SeccompParse { path: path.to_owned(), source })
        }
    }
}

/// A privileged container has none, whatever it asks for; no word at all is unconfined, as in containerd.
fn profile(security: &LinuxContainerSecurityContext) -> Result<Profile<'_>, SpecError> {
    if security.privileged {
        return Ok(Profile::Unconfined);
    }
    if let Some(profile) = &security.seccomp {
        return match profile.profile_type() {
            ProfileType::RuntimeDefault => Ok(Profile::Default),
            ProfileType::Unconfined => Ok(Profile::Unconfined),
            ProfileType::Localhost if profile.localhost_ref.starts_with('/') => {
                Ok(Profile::Localhost(&profile.localhost_ref))
            }
            ProfileType::Localhost => Err(SpecError::SeccompReference(profile.localhost_ref.clone())),
        };
    }
    match security.seccomp_profile_path.as_str() {
        "" | "unconfined" => Ok(Profile::Unconfined),
        "runtime/default" | "docker/default" => Ok(Profile::Default),
        other => match other.strip_prefix("localhost/") {
            Some(path) if path.starts_with('/') => Ok(Profile::Localhost(path)),
            _ => Err(SpecError::SeccompReference(other.to_owned())),
        },
    }
}

fn default_profile(granted: &Granted) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(LinuxSeccompAction::ScmpActErrno);
    profile.set_default_errno_ret(Some(EPERM));
    profile.set_architectures(architectures());
    profile.set_syscalls(Some(rules(granted)));
    profile
}

fn architectures() -> Option<Vec<Arch>> {
    match std::env::consts::ARCH {
        "x86_64" => Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]),
        "aarch64" => Some(vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]),
        _ => None,
    }
}

fn rules(granted: &Granted) -> Vec<LinuxSyscall> {
    let mut rules = vec![allow(ALLOWED, None)];
    for persona in PERSONALITIES {
        rules.push(allow(&["personality"], Some(argument(0, *persona, None, LinuxSeccompOperator::ScmpCmpEq))));
    }
    rules.push(allow(&["socket"], Some(argument(0, AF_VSOCK, None, LinuxSeccompOperator::ScmpCmpNe))));
    for (_, names) in WITH_CAPABILITY.iter().filter(|(capability, _)| granted.has(*capability)) {
        rules.push(allow(names, None));
    }
    if !granted.has(Capability::SysAdmin) {
        // The filter cannot look into clone3's structure. "Not there" makes C libraries fall back to clone, whose flags it can see.
        let flags = argument(0, CLONE_NAMESPACES, Some(0), LinuxSeccompOperator::ScmpCmpMaskedEq);
        rules.push(allow(&["clone"], Some(flags)));
        rules.push(rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None));
    }
    rules
}

fn allow(names: &[&str], argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, None, argument)
}

fn rule(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    argument: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect());
    rule.set_action(action);
    rule.set_errno_ret(errno);
    rule.set_args(argument.map(|argument| vec![argument]));
    rule
}

fn argument(index: usize, value: u64, value_two: Option<u64>, op: LinuxSeccompOperator) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).value(value).op(op);
    let builder = match value_two {
        Some(value_two) => builder.value_two(value_two),
        None => builder,
    };
    builder.build().expect("index, value and operator are set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::{granted, parse_capability_mask};
    use remora_cri::SecurityProfile;

    fn names(add: &[&str]) -> Vec<String> {
        let capabilities = remora_cri::Capability {
            add_capabilities: add.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        let security = LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() };
        let held = parse_capability_mask("000001ffffffffff").unwrap().into_iter().collect();
        let profile = default_profile(&granted(&security, &held).unwrap());
        let allowed = profile.syscalls().iter().flatten();
        let unconditional = allowed.filter(|rule| {
            rule.action() == LinuxSeccompAction::ScmpActAllow && rule.args().as_ref().is_none_or(Vec::is_empty)
        });
        unconditional.flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn a_capability_brings_its_calls_with_it() {
        let check = |add: &[&str], call: &str, expected: bool| {
            assert_eq!(names(add).iter().any(|name| name == call), expected, "{call} with {add:?}");
        };
        check(&[], "openat", true);
        check(&[], "chroot", true);
        check(&[], "mount", false);
        check(&[], "clone", false);
        check(&[], "io_uring_setup", false);
        check(&[], "keyctl", false);
        check(&["SYS_ADMIN"], "mount", true);
        check(&["SYS_ADMIN"], "clone", true);
        check(&["SYS_ADMIN"], "reboot", false);
        check(&["SYS_MODULE"], "init_module", true);
        check(&["SYS_TIME"], "clock_settime", true);
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut all = ALLOWED.to_vec();
        all.sort_unstable();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn profiles_are_found_by_either_field() {
        let check = |kind: Option<(ProfileType, &str)>, path: &str, expected: Result<Option<&str>, &str>| {
            let seccomp = kind.map(|(kind, localhost)| SecurityProfile {
                profile_type: kind.into(),
                localhost_ref: localhost.into(),
            });
            let security =
                LinuxContainerSecurityContext { seccomp, seccomp_profile_path: path.into(), ..Default::default() };
            let found = localhost_seccomp_path(&security).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(None, "", Ok(None));
        check(None, "runtime/default", Ok(None));
        check(None, "localhost//p.json", Ok(Some("/p.json")));
        check(None, "localhost/p.json", Err("invalid seccomp profile \"localhost/p.json\""));
        check(Some((ProfileType::Localhost, "/p.json")), "", Ok(Some("/p.json")));
        check(Some((ProfileType::Localhost, "p.json")), "", Err("invalid seccomp profile \"p.json\""));
        check(Some((ProfileType::Unconfined, "")), "runtime/default", Ok(None));
    }

    #[test]
    fn a_localhost_profile_that_does_not_parse_is_an_error() {
        let seccomp = SecurityProfile { profile_type: ProfileType::Localhost.into(), localhost_ref: "/p.json".into() };
        let security = LinuxContainerSecurityContext { seccomp: Some(seccomp), ..Default::default() };
        let granted = granted(&security, &Default::default()).unwrap();
        let check = |text: Option<&str>, expected: Option<&str>| {
            let found = super::seccomp(&security, &granted, text);
            assert_eq!(found.err().map(|error| error.to_string()).as_deref(), expected);
        };
        check(Some(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), None);
        check(Some("{"), Some("seccomp profile \"/p.json\" does not parse"));
        check(None, Some("seccomp profile \"/p.json\" was not found"));
    }
}
