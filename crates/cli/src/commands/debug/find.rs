//! From what was typed to one pod, or a node. Several that fit are shown: one is never guessed.

use std::io::IsTerminal;

use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use remora_debug::SessionError;
use serde_json::Value;

use super::args::DebugArgs;
use crate::cluster::Cluster;
use crate::commands::exec::default_container;
use crate::output::{print_note, print_part};
use crate::{CommandError, resource};

/// What a session is for.
pub(crate) enum Subject {
    Pod(Box<Pod>),
    Node(String),
}

/// Finds it.
pub(super) async fn subject(cluster: &Cluster, args: &DebugArgs) -> Result<Subject, CommandError> {
    if let Some(selector) = &args.selector {
        return one_of(cluster, selector, &format!("selector {selector}")).await.map(Subject::Pod);
    }
    let word = match (&args.what, &args.filename) {
        (Some(word), _) => word.clone(),
        (None, Some(path)) => described(path)?,
        (None, None) => return Err(CommandError::usage("NAME or filename is required for debug")),
    };
    match word.split_once('/') {
        Some(("node" | "nodes" | "no", name)) => Ok(Subject::Node(name.to_owned())),
        _ => pod(cluster, &word).await.map(Subject::Pod),
    }
}

/// The pod that a word means: by its name, or by whatever selects it.
pub(crate) async fn pod(cluster: &Cluster, word: &str) -> Result<Box<Pod>, CommandError> {
    match word.split_once('/') {
        None => named(cluster, word).await,
        Some(("pod" | "pods" | "po", name)) => named(cluster, name).await,
        Some((kind, name)) => of_owner(cluster, kind, name).await,
    }
}

/// A container that is meant.
pub(crate) struct Chosen {
    pub(crate) pod: Box<Pod>,
    /// The pod's.
    pub(crate) name: String,
    pub(crate) container: String,
}

/// The container that a word for a pod and perhaps a name mean.
pub(crate) async fn container(cluster: &Cluster, word: &str, named: Option<&String>) -> Result<Chosen, CommandError> {
    let pod = pod(cluster, word).await?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let container = match named {
        Some(container) => container.clone(),
        None => default_container(&pod, &name)?,
    };
    Ok(Chosen { pod, name, container })
}

async fn named(cluster: &Cluster, name: &str) -> Result<Box<Pod>, CommandError> {
    match cluster.api::<Pod>().get(name).await {
        Ok(pod) => Ok(Box::new(pod)),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let error = CommandError::from(kube::Error::Api(status));
            Err(match similar(cluster, name).await {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
        Err(error) => Err(SessionError::Api(error).into()),
    }
}

/// Pods of a deployment are seldom called by their full names.
async fn similar(cluster: &Cluster, name: &str) -> Option<String> {
    let pods = cluster.api::<Pod>().list(&ListParams::default()).await.ok()?;
    let names = pods.items.into_iter().filter_map(|pod| pod.metadata.name);
    let similar: Vec<String> = names.filter(|pod| pod.starts_with(&format!("{name}-"))).collect();
    (!similar.is_empty())
        .then(|| format!("did you mean {}? or whatever has these pods, such as deploy/{name}", similar.join(", ")))
}

/// Whatever selects pods: deployments, replica sets, stateful sets, daemon sets, jobs, services, and kinds that we have never heard of.
async fn of_owner(cluster: &Cluster, kind: &str, name: &str) -> Result<Box<Pod>, CommandError> {
    let object = owner(cluster, kind, name).await?;
    let selector = selector(&object).ok_or_else(|| {
        CommandError::usage(format_args!("{kind}/{name} selects no pods")).hint("name a pod, or give labels with -l")
    })?;
    one_of(cluster, &selector, &format!("{kind}/{name}")).await
}

/// An object of any kind, which may select pods.
pub(crate) async fn owner(cluster: &Cluster, kind: &str, name: &str) -> Result<Value, CommandError> {
    let resource = resource::find(cluster, kind).await?;
    let path = format!("{}/{name}", resource.path(Some(&cluster.namespace)));
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|error| CommandError::usage(format_args!("{name} is no name: {error}")))?;
    Ok(cluster.client.request(request).await.map_err(SessionError::Api)?)
}

/// A label selector in one line, from `spec.selector` in either of its two shapes.
pub(crate) fn selector(object: &Value) -> Option<String> {
    let selector = object["spec"]["selector"].as_object()?;
    let equals = |labels: &serde_json::Map<String, Value>| -> Vec<String> {
        labels.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect()
    };
    let is_nested = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    if !is_nested {
        return Some(equals(selector).join(",")).filter(|text| !text.is_empty());
    }
    let labels = selector.get("matchLabels").and_then(Value::as_object).map(equals).unwrap_or_default();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let all: Vec<String> = labels.into_iter().chain(expressions.filter_map(expression)).collect();
    Some(all.join(",")).filter(|text| !text.is_empty())
}

fn expression(expression: &Value) -> Option<String> {
    let key = expression["key"].as_str()?;
    let values: Vec<&str> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match expression["operator"].as_str()? {
        "In" => Some(format!("{key} in ({})", values.join(","))),
        "NotIn" => Some(format!("{key} notin ({})", values.join(","))),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

/// Every pod that fits, by name.
pub(super) async fn all(cluster: &Cluster, selector: &str) -> Result<Vec<Pod>, CommandError> {
    let found = fitting(selected(cluster, selector).await?);
    if found.is_empty() {
        return Err(none(cluster, &format!("selector {selector}")));
    }
    Ok(found)
}

/// In a session, who refuses decides the exit status.
async fn selected(cluster: &Cluster, selector: &str) -> Result<Vec<Pod>, CommandError> {
    let pods = cluster.api::<Pod>().list(&ListParams::default().labels(selector)).await;
    Ok(pods.map_err(SessionError::Api)?.items)
}

fn none(cluster: &Cluster, place: &str) -> CommandError {
    CommandError::failed(format_args!("no pod of {place} in namespace {} can be debugged", cluster.namespace))
}

async fn one_of(cluster: &Cluster, selector: &str, place: &str) -> Result<Box<Pod>, CommandError> {
    let mut fitting = fitting(selected(cluster, selector).await?);
    match fitting.len() {
        0 => Err(none(cluster, place)),
        1 => Ok(Box::new(fitting.remove(0))),
        _ if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => {
            let chosen = pick(&fitting)?;
            Ok(Box::new(fitting.swap_remove(chosen)))
        }
        _ => {
            let names: Vec<&str> = fitting.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
            Err(CommandError::usage(format_args!("{} pods of {place} fit: {}", names.len(), names.join(", ")))
                .hint(format_args!("name one: remora debug {}", names[0])))
        }
    }
}

/// Those that run; if none does, those that have not ended.
pub(crate) fn fitting(pods: Vec<Pod>) -> Vec<Pod> {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let alive =
        |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod).as_str(), "Succeeded" | "Failed");
    let (running, others): (Vec<Pod>, Vec<Pod>) =
        pods.into_iter().filter(alive).partition(|pod| phase(pod) == "Running");
    if running.is_empty() { others } else { running }
}

/// Shows a numbered list and reads a number. The terminal still reads lines: nothing that is typed for the session is taken.
fn pick(pods: &[Pod]) -> Result<usize, CommandError> {
    print_note("Several pods fit:");
    for (i, pod) in pods.iter().enumerate() {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
        print_note(format_args!("  {}  {}  ({node})", i + 1, pod.metadata.name.as_deref().unwrap_or_default()));
    }
    loop {
        print_part(format_args!("Which one? [1-{}] ", pods.len()));
        let mut line = String::new();
        let read = std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| CommandError::caused("reading your choice", &error))?;
        if read == 0 {
            return Err(CommandError::usage("no pod was chosen"));
        }
        if let Some(chosen) = line.trim().parse::<usize>().ok().filter(|n| (1..=pods.len()).contains(n)) {
            return Ok(chosen - 1);
        }
    }
}

/// `kind/name` of the object in a file.
fn described(path: &std::path::Path) -> Result<String, CommandError> {
    let place = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| CommandError::caused(format_args!("reading {place}"), &error))?;
    let object: Value = serde_norway::from_str(&text)
        .map_err(|error| CommandError::caused(format_args!("{place} is neither YAML nor JSON"), &error))?;
    match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
        (Some(kind), Some(name)) => Ok(format!("{}/{name}", kind.to_lowercase())),
        _ => Err(CommandError::usage(format_args!("{place} describes no object: kind or metadata.name is missing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_shapes_of_selectors_become_a_line() {
        let check =
            |spec: Value, expected: Option<&str>| assert_eq!(selector(&json!({"spec": spec})).as_deref(), expected);
        check(json!({"selector": {"app": "web", "tier": "a"}}), Some("app=web,tier=a"));
        let nested = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "b", "operator": "DoesNotExist"},
            {"key": "c", "operator": "NotIn", "values": ["z"]}, {"key": "d", "operator": "Exists"},
        ]});
        check(json!({"selector": nested}), Some("app=web,a in (x,y),!b,c notin (z),d"));
        // No selector selects nothing: all pods of a namespace would be a guess.
        check(json!({"selector": {}}), None);
        check(json!({"selector": {"matchLabels": {}}}), None);
        check(json!({}), None);
    }

    #[test]
    fn pods_that_run_are_preferred_and_ended_ones_never_fit() {
        let pod = |name: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": phase}})).unwrap()
        };
        let check = |pods: &[(&str, &str)], expected: &[&str]| {
            let found = fitting(pods.iter().map(|(name, phase)| pod(name, phase)).collect());
            let names: Vec<_> = found.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
            assert_eq!(names, expected);
        };
        check(&[("a", "Running"), ("b", "Pending"), ("c", "Running")], &["a", "c"]);
        check(&[("a", "Failed"), ("b", "Pending")], &["b"]);
        check(&[("a", "Succeeded")], &[]);
    }
}
