//! What a tool container takes over from its target, and what it cannot take over. Pure.

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, Pod, SecurityContext, VolumeMount};

use crate::choose::status;
use crate::{DebugRequest, Mirror, Profile, Root};

/// Whoever is nobody on most systems: for profiles that refuse root where the target's own number is not known.
const NOBODY: i64 = 65534;

/// Variables by which a target's world would break the tools: where programs and libraries are.
const NOT_MIRRORED: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"];

/// Mounts there would hide the image's programs.
const PLACES_OF_TOOLS: [&str; 6] = ["/", "/bin", "/sbin", "/usr", "/lib", "/lib64"];

/// The parts of an entry that come from the target.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mirrored {
    pub(crate) env: Vec<EnvVar>,
    pub(crate) env_from: Vec<EnvFromSource>,
    pub(crate) working_dir: Option<String>,
    pub(crate) mounts: Vec<VolumeMount>,
    /// Mounts left out, with the reason.
    pub(crate) left_out: Vec<(String, &'static str)>,
}

/// All but the user, which depends on the profile: see [`user`].
pub(crate) fn mirror(target: &Container, wanted: Mirror, profile: Profile, root: Root) -> Mirrored {
    let mut mirrored = Mirrored::default();
    if wanted.env {
        let own = target.env.iter().flatten().filter(|v| !NOT_MIRRORED.contains(&v.name.as_str()));
        mirrored.env = own.map(|variable| of_the_target(variable, &target.name)).collect();
        mirrored.env_from = target.env_from.clone().unwrap_or_default();
    }
    if wanted.working_dir {
        mirrored.working_dir.clone_from(&target.working_dir);
    }
    // In the target's own root its volumes are there.
    if wanted.volumes && root != Root::Target {
        for mount in target.volume_mounts.iter().flatten() {
            match obstacle(mount, root) {
                Some(why) => mirrored.left_out.push((mount.mount_path.clone(), why)),
                None => mirrored.mounts.push(shared(mount, profile)),
            }
        }
    }
    mirrored
}

/// A container's own limits are meant by a `resourceFieldRef` that names none: here they are still the target's.
fn of_the_target(variable: &EnvVar, target: &str) -> EnvVar {
    let mut variable = variable.clone();
    if let Some(limits) = variable.value_from.as_mut().and_then(|from| from.resource_field_ref.as_mut()) {
        limits.container_name.get_or_insert_with(|| target.to_owned());
    }
    variable
}

fn obstacle(mount: &VolumeMount, root: Root) -> Option<&'static str> {
    let is_set = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.is_empty());
    let path = mount.mount_path.trim_end_matches('/');
    let hides_tools = root == Root::Image && PLACES_OF_TOOLS.iter().any(|place| place.trim_end_matches('/') == path);
    if is_set(&mount.sub_path) || is_set(&mount.sub_path_expr) {
        Some("subPath: the API forbids it in ephemeral containers")
    } else if hides_tools {
        Some("it would hide the image's programs")
    } else {
        None
    }
}

/// Only a privileged container may pass its mounts on.
fn shared(mount: &VolumeMount, profile: Profile) -> VolumeMount {
    let mut mount = mount.clone();
    if mount.mount_propagation.as_deref() == Some("Bidirectional") && profile != Profile::Sysadmin {
        mount.mount_propagation = Some("HostToContainer".to_owned());
    }
    mount
}

/// Whom the tool container runs as: the part of its security context, and a line where that is not what one expects.
pub(crate) fn user(
    request: &DebugRequest,
    pod: &Pod,
    target: Option<&Container>,
    profile: Profile,
) -> (SecurityContext, Option<String>) {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let pod_refuses_root = of_pod.run_as_non_root == Some(true);
    let mut own = SecurityContext::default();
    if let Some(user) = request.user {
        own.run_as_user = Some(user.uid);
        own.run_as_group = user.gid;
        own.run_as_non_root = (user.uid == 0 && pod_refuses_root).then_some(false);
        return (own, None);
    }
    if profile.needs_root() {
        if !pod_refuses_root && of_pod.run_as_user.unwrap_or(0) == 0 {
            return (own, None);
        }
        own.run_as_user = Some(0);
        own.run_as_non_root = pod_refuses_root.then_some(false);
        let note = format!("Runs as root: profile {} is of no use to another user (--user chooses).", profile.name());
        return (own, Some(note));
    }
    if let Some(target) = target.filter(|_| request.mirror.user) {
        own = of_target(pod, target, of_pod.run_as_user);
    }
    let refuses_root = profile == Profile::Restricted || own.run_as_non_root.unwrap_or(pod_refuses_root);
    if refuses_root && own.run_as_user.or(of_pod.run_as_user).unwrap_or(0) == 0 {
        own.run_as_user = Some(NOBODY);
        let note =
            format!("Runs as user {NOBODY}: root is refused, and the target's user is not known (--user chooses).");
        return (own, Some(note));
    }
    (own, None)
}

/// As the target's spec says, else as its node reports (Kubernetes 1.31 and later).
fn of_target(pod: &Pod, target: &Container, of_pod: Option<i64>) -> SecurityContext {
    let context = target.security_context.clone().unwrap_or_default();
    let reported = status(pod, &target.name).and_then(|status| status.user.as_ref()?.linux.clone());
    let reported = reported.filter(|_| context.run_as_user.or(of_pod).is_none());
    SecurityContext {
        run_as_user: context.run_as_user.or(reported.as_ref().map(|user| user.uid)),
        run_as_group: context.run_as_group.or(reported.as_ref().map(|user| user.gid)),
        run_as_non_root: context.run_as_non_root,
        se_linux_options: context.se_linux_options,
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;
    use serde_json::{Value, json};

    fn pod(security_context: Value, container: Value, status: Value) -> Pod {
        let mut app = json!({"name": "app"});
        app["securityContext"] = container;
        let status = json!({"containerStatuses": [
            {"name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "user": status},
        ]});
        serde_json::from_value(json!({
            "spec": {"securityContext": security_context, "containers": [app]}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_user_is_the_targets_unless_the_profile_cannot_have_it() {
        let check = |pod: &Pod, profile: Profile, request: &DebugRequest, expected: Value, noted: bool| {
            let (own, note) = user(request, pod, crate::choose::container(pod, "app"), profile);
            assert_eq!(serde_json::to_value(own).unwrap(), expected, "{profile:?} {pod:?}");
            assert_eq!(note.is_some(), noted, "{note:?}");
        };
        let asked = DebugRequest::default();
        let plain = pod(json!({}), json!({}), Value::Null);
        check(&plain, Profile::General, &asked, json!({}), false);
        check(&plain, Profile::Restricted, &asked, json!({"runAsUser": 65534}), true);
        check(&plain, Profile::Sysadmin, &asked, json!({}), false);
        let own = pod(json!({}), json!({"runAsUser": 7, "runAsGroup": 8}), Value::Null);
        check(&own, Profile::General, &asked, json!({"runAsUser": 7, "runAsGroup": 8}), false);
        check(&own, Profile::Restricted, &asked, json!({"runAsUser": 7, "runAsGroup": 8}), false);
        let reported = pod(json!({}), json!({}), json!({"linux": {"uid": 9, "gid": 10}}));
        check(&reported, Profile::General, &asked, json!({"runAsUser": 9, "runAsGroup": 10}), false);
        // The pod's own user holds for every container: there is nothing to set.
        let pods = pod(json!({"runAsUser": 5}), json!({}), json!({"linux": {"uid": 5, "gid": 0}}));
        check(&pods, Profile::Restricted, &asked, json!({}), false);
        check(&pods, Profile::Netadmin, &asked, json!({"runAsUser": 0}), true);
        // An image of unknown user under runAsNonRoot would be refused by the node, for good.
        let no_root = pod(json!({"runAsNonRoot": true}), json!({}), Value::Null);
        check(&no_root, Profile::General, &asked, json!({"runAsUser": 65534}), true);
        let root = DebugRequest { user: Some(User { uid: 0, gid: None }), ..DebugRequest::default() };
        check(&no_root, Profile::General, &root, json!({"runAsUser": 0, "runAsNonRoot": false}), false);
        let not_mirrored = DebugRequest { mirror: Mirror::NONE, ..DebugRequest::default() };
        check(&own, Profile::General, &not_mirrored, json!({}), false);
    }

    #[test]
    fn variables_and_mounts_are_copied_and_what_cannot_be_is_told() {
        let target: Container = serde_json::from_value(json!({
            "name": "app", "workingDir": "/srv",
            "env": [
                {"name": "PATH", "value": "/app"}, {"name": "A", "value": "1"},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "volumeMounts": [
                {"name": "d", "mountPath": "/data"}, {"name": "c", "mountPath": "/etc/a", "subPath": "a"},
                {"name": "u", "mountPath": "/usr/"}, {"name": "b", "mountPath": "/b", "mountPropagation": "Bidirectional"},
            ],
        }))
        .unwrap();
        let mirrored = mirror(&target, Mirror::default(), Profile::General, Root::Image);
        let env = serde_json::to_value(&mirrored.env).unwrap();
        let cpu = json!({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "app"}});
        assert_eq!(env, json!([{"name": "A", "value": "1"}, {"name": "CPU", "valueFrom": cpu}]));
        assert_eq!((mirrored.env_from.len(), mirrored.working_dir.as_deref()), (1, Some("/srv")));
        let mounts: Vec<&str> = mirrored.mounts.iter().map(|m| m.mount_path.as_str()).collect();
        assert_eq!(mounts, ["/data", "/b"]);
        assert_eq!(mirrored.mounts[1].mount_propagation.as_deref(), Some("HostToContainer"));
        let left_out: Vec<&str> = mirrored.left_out.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(left_out, ["/etc/a", "/usr/"]);
        assert_eq!(mirror(&target, Mirror::default(), Profile::General, Root::Target).mounts, []);
        assert_eq!(mirror(&target, Mirror::NONE, Profile::General, Root::Image), Mirrored::default());
    }
}
