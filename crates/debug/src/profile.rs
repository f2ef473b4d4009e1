//! What a tool container may do, in the words of `kubectl debug --profile` (source: kubectl `pkg/cmd/debug/profiles.go`). Pure.

use k8s_openapi::api::core::v1::{Capabilities, SeccompProfile, SecurityContext};

/// A named set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Sees and traces the target's processes: adds `SYS_PTRACE`.
    #[default]
    General,
    /// Passes Pod Security level `baseline`: nothing is added.
    Baseline,
    /// What the image and the namespace give; nothing is set.
    Legacy,
    /// May change the pod's network: adds `NET_ADMIN` and `NET_RAW`.
    Netadmin,
    /// Everything: privileged.
    Sysadmin,
    /// Passes Pod Security level `restricted`.
    Restricted,
}

/// kubectl's warning about a profile, if there is one.
pub(crate) const LEGACY_WARNING: &str = "--profile=legacy is deprecated and will be removed in the future. It is recommended to explicitly specify a \
                                  profile, for example \"--profile=general\".";

impl Profile {
    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::General => "general",
            Profile::Baseline => "baseline",
            Profile::Legacy => "legacy",
            Profile::Netadmin => "netadmin",
            Profile::Sysadmin => "sysadmin",
            Profile::Restricted => "restricted",
        }
    }

    /// It is of no use to any user but root: capabilities of others are empty when their program starts.
    pub(crate) fn needs_root(self) -> bool {
        matches!(self, Profile::Netadmin | Profile::Sysadmin)
    }

    /// The rights of a container in a pod, over what it has already.
    pub(crate) fn in_a_pod(self, context: Option<SecurityContext>) -> Option<SecurityContext> {
        let context = match self {
            Profile::Legacy => return context,
            Profile::Baseline | Profile::Restricted => SecurityContext::default(),
            _ => context.unwrap_or_default(),
        };
        Some(self.grant(context)).filter(|context| *context != SecurityContext::default())
    }

    /// The rights of the container of a node's own pod: `general` needs no more than the host's namespaces.
    pub(crate) fn on_a_node(self) -> Option<SecurityContext> {
        if self == Profile::General { None } else { self.in_a_pod(None) }
    }

    /// What the profile adds. A user that is set already stays.
    pub(crate) fn grant(self, context: SecurityContext) -> SecurityContext {
        match self {
            Profile::Legacy | Profile::Baseline => context,
            Profile::General => with_capabilities(context, &["SYS_PTRACE"]),
            Profile::Netadmin => with_capabilities(context, &["NET_ADMIN", "NET_RAW"]),
            Profile::Sysadmin => SecurityContext { privileged: Some(true), ..context },
            Profile::Restricted => SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                run_as_non_root: Some(true),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
                ..context
            },
        }
    }
}

fn with_capabilities(mut context: SecurityContext, names: &[&str]) -> SecurityContext {
    let add = &mut context.capabilities.get_or_insert_default().add;
    add.get_or_insert_default().extend(names.iter().map(|name| (*name).to_owned()));
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_profile_gives_what_kubectl_gives() {
        let existing = SecurityContext { run_as_user: Some(7), ..SecurityContext::default() };
        let check = |profile: Profile, in_a_pod: Value, over: Value, on_a_node: Value| {
            let shown = |context: Option<SecurityContext>| serde_json::to_value(context).unwrap();
            assert_eq!(shown(profile.in_a_pod(None)), in_a_pod, "{profile:?}");
            assert_eq!(shown(profile.in_a_pod(Some(existing.clone()))), over, "{profile:?} over a context");
            assert_eq!(shown(profile.on_a_node()), on_a_node, "{profile:?} on a node");
        };
        check(
            Profile::General,
            json!({"capabilities": {"add": ["SYS_PTRACE"]}}),
            json!({"runAsUser": 7, "capabilities": {"add": ["SYS_PTRACE"]}}),
            Value::Null,
        );
        check(Profile::Baseline, Value::Null, Value::Null, Value::Null);
        check(Profile::Legacy, Value::Null, json!({"runAsUser": 7}), Value::Null);
        let network = json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}});
        let over = json!({"runAsUser": 7, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}});
        check(Profile::Netadmin, network.clone(), over, network);
        let privileged = json!({"privileged": true});
        check(Profile::Sysadmin, privileged.clone(), json!({"privileged": true, "runAsUser": 7}), privileged);
        let restricted = json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        check(Profile::Restricted, restricted.clone(), restricted.clone(), restricted);
    }
}
