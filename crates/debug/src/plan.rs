//! From arguments and the pod as it is to what will be asked of the API server. Pure.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Value, json};

/// The annotation by which a pod names the container that tools mean when none is given (kubectl's convention).
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugRequest {
    /// The tool container's image.
    pub image: String,
    /// Its name; none is `debugger-` and five random characters.
    pub name: Option<String>,
    /// The container whose processes it shall see.
    pub target: Option<String>,
    /// What to run instead of the image's own entrypoint (with `as_arguments`: its arguments).
    pub command: Vec<String>,
    /// `command` holds arguments for the image's entrypoint.
    pub as_arguments: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// A terminal.
    pub tty: bool,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// `Always`, `IfNotPresent` or `Never`; none leaves it to the server's default.
    pub image_pull_policy: Option<String>,
    /// What the container may do.
    pub profile: Profile,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the tool container may do, in the words of `kubectl debug --profile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Sees and traces the target's processes: adds `SYS_PTRACE`.
    #[default]
    General,
    /// What the image and the namespace give; nothing is set.
    Legacy,
    /// May change the pod's network: adds `NET_ADMIN` and `NET_RAW`.
    Netadmin,
    /// Everything: privileged.
    Sysadmin,
    /// Passes Pod Security level `restricted`.
    Restricted,
}

/// What to do, ready to be shown or carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct DebugPlan {
    /// The new container's name.
    pub container: String,
    /// A strategic merge patch for `pods/NAME/ephemeralcontainers`.
    pub patch: Value,
    /// Things worth saying before it starts, one line each.
    pub notices: Vec<String>,
    /// Attach once it runs.
    pub attach: bool,
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No image was given.
    #[error("no image given for the debug container")]
    NoImage,
    /// A terminal without input is of no use.
    #[error("a terminal (-t) needs standard input (-i)")]
    TerminalWithoutInput,
}

/// Plans an ephemeral container. `suffix` are five random lower-case characters for a defaulted name.
///
/// What the server refuses (an unknown target, a taken name) is left to it: its words are the contract.
///
/// # Errors
/// [`PlanError`] for what can be told without asking a server.
pub fn plan(request: &DebugRequest, pod: &Pod, suffix: &str) -> Result<DebugPlan, PlanError> {
    if request.image.is_empty() {
        return Err(PlanError::NoImage);
    }
    if request.tty && !request.stdin {
        return Err(PlanError::TerminalWithoutInput);
    }
    let container = request.name.clone().unwrap_or_else(|| format!("debugger-{suffix}"));
    Ok(DebugPlan {
        notices: notices(request, &container),
        patch: patch(pod, &container, entry(request, &container)),
        attach: request.stdin,
        container,
    })
}

/// The container that is meant when the user names none: the annotated one, else the first.
pub fn default_container(pod: &Pod) -> Option<&str> {
    let annotated = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CONTAINER_ANNOTATION));
    let spec = pod.spec.as_ref()?;
    let first = spec.containers.first().map(|c| c.name.as_str());
    annotated.map(String::as_str).filter(|name| has_container(spec, name)).or(first)
}

fn has_container(spec: &PodSpec, name: &str) -> bool {
    let ephemeral = spec.ephemeral_containers.iter().flatten().any(|c| c.name == name);
    let init = spec.init_containers.iter().flatten().any(|c| c.name == name);
    ephemeral || init || spec.containers.iter().any(|c| c.name == name)
}

fn notices(request: &DebugRequest, container: &str) -> Vec<String> {
    let target = request.target.as_ref().map(|target| {
        format!(
            "Targeting container \"{target}\". If you don't see processes from this container it may be because the \
             container runtime doesn't support this feature."
        )
    });
    let named = request.name.is_none().then(|| format!("Defaulting debug container name to {container}."));
    target.into_iter().chain(named).collect()
}

fn entry(request: &DebugRequest, container: &str) -> Value {
    let mut entry = json!({
        "name": container,
        "image": request.image,
        "terminationMessagePolicy": "File",
    });
    let mut set = |field: &str, value: Value| entry[field] = value;
    if !request.command.is_empty() {
        set(if request.as_arguments { "args" } else { "command" }, json!(request.command));
    }
    if !request.env.is_empty() {
        let env: Vec<Value> = request.env.iter().map(|v| json!({"name": v.name, "value": v.value})).collect();
        set("env", Value::Array(env));
    }
    if let Some(policy) = &request.image_pull_policy {
        set("imagePullPolicy", json!(policy));
    }
    if let Some(target) = &request.target {
        set("targetContainerName", json!(target));
    }
    if let Some(context) = security_context(request.profile) {
        set("securityContext", context);
    }
    if request.stdin {
        set("stdin", json!(true));
    }
    if request.tty {
        set("tty", json!(true));
    }
    entry
}

fn security_context(profile: Profile) -> Option<Value> {
    match profile {
        Profile::Legacy => None,
        Profile::General => Some(json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
        Profile::Netadmin => Some(json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}})),
        Profile::Sysadmin => Some(json!({"privileged": true})),
        Profile::Restricted => Some(json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        })),
    }
}

/// Sends the new entry and the order of all: without the order, a strategic merge puts new entries first.
fn patch(pod: &Pod, container: &str, entry: Value) -> Value {
    let present = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let names = present.map(|c| c.name.as_str()).chain([container]);
    let order: Vec<Value> = names.map(|name| json!({"name": name})).collect();
    json!({"spec": {"$setElementOrder/ephemeralContainers": order, "ephemeralContainers": [entry]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ephemeral: &[&str]) -> Pod {
        let entries: Vec<Value> = ephemeral.iter().map(|name| json!({"name": name, "image": "x"})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "app"}, {"name": "side"}], "ephemeralContainers": entries},
        }))
        .unwrap()
    }

    fn request() -> DebugRequest {
        DebugRequest { image: "busybox".into(), profile: Profile::Legacy, ..DebugRequest::default() }
    }

    #[track_caller]
    fn check(request: &DebugRequest, pod: &Pod, expected_patch: Value, expected_notices: &[&str]) {
        let plan = plan(request, pod, "abcde").unwrap();
        assert_eq!(plan.patch, expected_patch);
        assert_eq!(plan.notices, expected_notices);
    }

    #[test]
    fn a_plain_request_adds_one_entry_with_a_defaulted_name() {
        check(
            &request(),
            &pod(&[]),
            json!({"spec": {
                "$setElementOrder/ephemeralContainers": [{"name": "debugger-abcde"}],
                "ephemeralContainers": [
                    {"name": "debugger-abcde", "image": "busybox", "terminationMessagePolicy": "File"},
                ],
            }}),
            &["Defaulting debug container name to debugger-abcde."],
        );
    }

    #[test]
    fn earlier_entries_keep_their_place_and_are_not_sent_again() {
        let request = DebugRequest { name: Some("d3".into()), ..request() };
        check(
            &request,
            &pod(&["d1", "d2"]),
            json!({"spec": {
                "$setElementOrder/ephemeralContainers": [{"name": "d1"}, {"name": "d2"}, {"name": "d3"}],
                "ephemeralContainers": [{"name": "d3", "image": "busybox", "terminationMessagePolicy": "File"}],
            }}),
            &[],
        );
    }

    #[test]
    fn every_option_reaches_the_entry() {
        let request = DebugRequest {
            name: Some("d".into()),
            target: Some("app".into()),
            command: vec!["sleep".into(), "5".into()],
            stdin: true,
            tty: true,
            env: vec![EnvVar { name: "A".into(), value: "1".into() }],
            image_pull_policy: Some("Never".into()),
            profile: Profile::General,
            ..request()
        };
        check(
            &request,
            &pod(&[]),
            json!({"spec": {
                "$setElementOrder/ephemeralContainers": [{"name": "d"}],
                "ephemeralContainers": [{
                    "name": "d", "image": "busybox", "terminationMessagePolicy": "File", "command": ["sleep", "5"],
                    "env": [{"name": "A", "value": "1"}], "imagePullPolicy": "Never", "targetContainerName": "app",
                    "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}, "stdin": true, "tty": true,
                }],
            }}),
            &["Targeting container \"app\". If you don't see processes from this container it may be because the \
               container runtime doesn't support this feature."],
        );
    }

    #[test]
    fn what_needs_no_server_is_refused_at_once() {
        let check = |request: &DebugRequest, expected| assert_eq!(plan(request, &pod(&[]), "x"), Err(expected));
        check(&DebugRequest { image: String::new(), ..request() }, PlanError::NoImage);
        check(&DebugRequest { tty: true, ..request() }, PlanError::TerminalWithoutInput);
    }

    #[test]
    fn the_default_container_is_the_annotated_one_or_the_first() {
        let mut pod = pod(&[]);
        assert_eq!(default_container(&pod), Some("app"));
        let mut annotate = |name: &str| {
            pod.metadata.annotations = Some([(DEFAULT_CONTAINER_ANNOTATION.to_owned(), name.to_owned())].into());
            default_container(&pod).map(str::to_owned)
        };
        assert_eq!(annotate("side").as_deref(), Some("side"));
        assert_eq!(annotate("ghost").as_deref(), Some("app"));
    }
}
