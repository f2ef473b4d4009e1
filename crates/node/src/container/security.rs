//! The pod's and the container's security contexts, as CRI wants them. The container's word goes before the pod's.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/security_context.go`, `pkg/securitycontext`.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SELinuxOptions, SecurityContext};
use remora_cri::{
    Capability, Image, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, ProfileType, SELinuxOption, SecurityProfile, SupplementalGroupsPolicy, UserNamespace,
};

use crate::context::{Context, id_of};

/// Why a container may not run as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecurityError {
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    RootImage { pod: String, container: String },
    #[error("container's runAsUser breaks non-root policy (pod: {pod:?}, container: {container})")]
    RootUser { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {pod:?}, container: {container})"
    )]
    NamedUser { user: String, pod: String, container: String },
}

/// The kernel's files that containers should not see, and those that they should not write.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Holds `runAsNonRoot` against the user that would run.
pub(crate) fn verify_not_root(pod: &Pod, container: &Container, image: Option<&Image>) -> Result<(), SecurityError> {
    let (of_pod, own) = contexts(pod, container);
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let id = id_of(pod);
    let (pod, container) = (format!("{}_{}({})", id.name, id.namespace, id.uid), container.name.clone());
    match own.run_as_user.or(of_pod.run_as_user) {
        Some(0) => return Err(SecurityError::RootUser { pod, container }),
        Some(_) => return Ok(()),
        None => {}
    }
    match image.map(|i| (i.uid.as_ref().map(|u| u.value), i.username.as_str())) {
        Some((Some(uid), _)) if uid != 0 => Ok(()),
        Some((None, user)) if !user.is_empty() => {
            Err(SecurityError::NamedUser { user: user.to_owned(), pod, container })
        }
        _ => Err(SecurityError::RootImage { pod, container }),
    }
}

/// A container's security context. `target` is the container whose processes it joins; `users` is the pod's user namespace.
pub(crate) fn of_container(
    context: &Context,
    pod: &Pod,
    container: &Container,
    target: Option<&str>,
    users: Option<UserNamespace>,
) -> LinuxContainerSecurityContext {
    let (of_pod, own) = contexts(pod, container);
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(ToString::to_string).collect() };
    LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(namespaces(pod, target, users)),
        selinux_options: selinux(own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref())),
        run_as_user: own.run_as_user.or(of_pod.run_as_user).map(|value| Int64Value { value }),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(|value| Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(context, &of_pod, &own)),
        apparmor: apparmor(&of_pod, &own),
        ..LinuxContainerSecurityContext::default()
    }
}

/// The sandbox's security context.
pub(crate) fn of_sandbox(context: &Context, pod: &Pod, users: Option<UserNamespace>) -> LinuxSandboxSecurityContext {
    let of_pod = pod_context(pod);
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let privileged = |c: &Container| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None, users)),
        selinux_options: selinux(of_pod.se_linux_options.as_ref()),
        run_as_user: of_pod.run_as_user.map(|value| Int64Value { value }),
        run_as_group: of_pod.run_as_group.map(|value| Int64Value { value }),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        privileged: containers.into_iter().any(privileged),
        seccomp: Some(seccomp(context, &of_pod, &SecurityContext::default())),
        apparmor: apparmor(&of_pod, &SecurityContext::default()),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// Which namespaces are shared with whom. A target counts only where each container has its own processes.
fn namespaces(pod: &Pod, target: Option<&str>, users: Option<UserNamespace>) -> NamespaceOption {
    let spec = pod.spec.as_ref();
    let is = |field: Option<bool>| field.unwrap_or(false);
    let node_or_pod = |node: bool| (if node { NamespaceMode::Node } else { NamespaceMode::Pod }) as i32;
    let host_pid = is(spec.and_then(|s| s.host_pid));
    let shared = is(spec.and_then(|s| s.share_process_namespace));
    let pid = match (host_pid, shared, target) {
        (true, _, _) => NamespaceMode::Node,
        (false, true, _) => NamespaceMode::Pod,
        (false, false, Some(_)) => NamespaceMode::Target,
        (false, false, None) => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or_pod(is(spec.and_then(|s| s.host_network))),
        pid: pid as i32,
        ipc: node_or_pod(is(spec.and_then(|s| s.host_ipc))),
        target_id: target.filter(|_| pid == NamespaceMode::Target).unwrap_or_default().to_owned(),
        userns_options: users,
    }
}

fn contexts(pod: &Pod, container: &Container) -> (PodSecurityContext, SecurityContext) {
    (pod_context(pod), container.security_context.clone().unwrap_or_default())
}

fn pod_context(pod: &Pod) -> PodSecurityContext {
    pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default()
}

fn capabilities(own: &SecurityContext) -> Capability {
    let list = own.capabilities.clone().unwrap_or_default();
    Capability {
        add_capabilities: list.add.unwrap_or_default(),
        drop_capabilities: list.drop.unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    }
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<SELinuxOption> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    options.map(|o| SELinuxOption {
        user: text(&o.user),
        role: text(&o.role),
        r#type: text(&o.type_),
        level: text(&o.level),
    })
}

/// The file system group is a supplemental group, too: so files of that group can be read.
fn groups(of_pod: &PodSecurityContext) -> Vec<i64> {
    of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group).collect()
}

fn groups_policy(of_pod: &PodSecurityContext) -> i32 {
    match of_pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict as i32,
        _ => SupplementalGroupsPolicy::Merge as i32,
    }
}

fn seccomp(context: &Context, of_pod: &PodSecurityContext, own: &SecurityContext) -> SecurityProfile {
    let usual = if context.config.seccomp_default { "RuntimeDefault" } else { "Unconfined" };
    let wanted = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let file = wanted.and_then(|p| p.localhost_profile.clone()).unwrap_or_default();
    let localhost = context.config.root.join("seccomp").join(file).display().to_string();
    profile(wanted.map_or(usual, |p| p.type_.as_str()), localhost)
}

fn apparmor(of_pod: &PodSecurityContext, own: &SecurityContext) -> Option<SecurityProfile> {
    let wanted = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref())?;
    Some(profile(&wanted.type_, wanted.localhost_profile.clone().unwrap_or_default()))
}

fn profile(kind: &str, localhost_ref: String) -> SecurityProfile {
    let (profile_type, localhost_ref) = match kind {
        "RuntimeDefault" => (ProfileType::RuntimeDefault, String::new()),
        "Localhost" => (ProfileType::Localhost, localhost_ref),
        _ => (ProfileType::Unconfined, String::new()),
    };
    SecurityProfile { profile_type: profile_type as i32, localhost_ref }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn check_root(context: Value, image: Image, expected: Option<&str>) {
        let pod = pod(json!({"containers": [{"name": "c", "securityContext": context}]}));
        let container = pod.spec.clone().unwrap().containers.remove(0);
        let error = verify_not_root(&pod, &container, Some(&image)).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), expected);
    }

    #[test]
    fn run_as_non_root_is_held_against_the_user_that_would_run() {
        let image = |uid: Option<i64>, name: &str| Image {
            uid: uid.map(|value| Int64Value { value }),
            username: name.into(),
            ..Image::default()
        };
        let root = "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)";
        check_root(json!({"runAsNonRoot": true}), image(None, ""), Some(root));
        check_root(json!({"runAsNonRoot": true}), image(Some(0), ""), Some(root));
        check_root(json!({"runAsNonRoot": true}), image(Some(65532), ""), None);
        check_root(json!({"runAsNonRoot": true, "runAsUser": 5}), image(None, ""), None);
        check_root(json!({}), image(None, ""), None);
        let user = "container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)";
        check_root(json!({"runAsNonRoot": true, "runAsUser": 0}), image(Some(5), ""), Some(user));
    }

    #[test]
    fn a_target_counts_only_where_each_container_has_its_own_processes() {
        for (spec, target, expected) in [
            (json!({"containers": []}), None, NamespaceMode::Container),
            (json!({"containers": []}), Some("t"), NamespaceMode::Target),
            (json!({"containers": [], "shareProcessNamespace": true}), Some("t"), NamespaceMode::Pod),
            (json!({"containers": [], "hostPID": true}), Some("t"), NamespaceMode::Node),
        ] {
            let option = namespaces(&pod(spec), target, None);
            assert_eq!(option.pid(), expected);
            assert_eq!(option.target_id.is_empty(), expected != NamespaceMode::Target);
        }
    }
}
