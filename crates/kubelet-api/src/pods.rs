//! Pods: those that are bound here, those that run, and which of them is meant.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_rules::pod::containers;
use serde_json::{Value, json};

use crate::answer;
use crate::endpoint::Target;
use crate::server::Call;

/// `/pods`
pub(crate) fn bound(call: &Call) -> Response<Body> {
    answer::json(&list(call.agent().pods()))
}

/// `/runningpods/`
pub(crate) async fn running(call: &Call) -> Response<Body> {
    match call.agent().running_pods().await {
        Ok(pods) => answer::json(&list(pods)),
        Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn list(pods: Vec<Value>) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
}

/// The pod that is meant.
///
/// # Errors
/// 404, in the kubelet's words.
pub(crate) fn find(call: &Call, target: &Target) -> Result<Value, Box<Response<Body>>> {
    let missing = |words: &str| Box::new(answer::text(StatusCode::NOT_FOUND, words.to_owned()));
    let pod = call.agent().pod(&target.namespace, &target.pod).ok_or_else(|| missing("pod does not exist"))?;
    let is_meant = target.uid.is_empty() || text(&pod, "/metadata/uid") == target.uid;
    if is_meant { Ok(pod) } else { Err(missing("pod not found")) }
}

/// Whether a pod has a container of this name.
pub(crate) fn has(pod: &Value, container: &str) -> bool {
    containers::all(pod).any(|(_, of)| of.get("name").and_then(Value::as_str) == Some(container))
}

/// A text of a pod.
pub(crate) fn text<'p>(pod: &'p Value, path: &str) -> &'p str {
    pod.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// `/checkpoint/…`: what a kubelet says over a runtime that cannot do it.
pub(crate) fn checkpoint(call: &Call, target: &Target) -> Response<Body> {
    let pod = match find(call, target) {
        Ok(pod) => pod,
        Err(missing) => return *missing,
    };
    let Target { namespace, pod: name, container, .. } = target;
    if !has(&pod, container) {
        return answer::text(StatusCode::NOT_FOUND, format!("container {container} does not exist"));
    }
    let why = "rpc error: code = Unimplemented desc = method CheckpointContainer not implemented";
    let text = format!("checkpointing of {namespace}/{name}/{container} failed ({why})");
    answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}
