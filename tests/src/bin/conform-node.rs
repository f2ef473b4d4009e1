//! `cargo xtask conform node`: makes 47 kinds of pods in the cluster of a kubeconfig, whosever it is, and compares what becomes of each, status and
//! events, with what was recorded on Kubernetes v1.34.4. It needs a node that runs pods, the image `busybox`, and an admin's rights. It
//! works in a namespace of its own, which it deletes.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use remora_testkit::behaviours::{Played, Recording, Seen};
use remora_tests::cluster::{ApiServer, Asked, judge, show};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../data/behaviours.json");
/// Whose image and node the others then find.
const FIRST: &str = "first";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let play = async |server: &ApiServer, namespace: &str, verbose| Player { server, namespace }.play(verbose).await;
    judge(Asked::parse(), "behaviours", play).await
}

struct Player<'a> {
    server: &'a ApiServer,
    namespace: &'a str,
}

impl Player<'_> {
    async fn play(&self, verbose: bool) -> Result<(usize, usize)> {
        let recording = Recording::read(RECORDED)?;
        let node = self.first().await?;
        for case in &recording.cases {
            self.server.done("POST", &self.path("pods"), Some(&case.pod())).await?;
        }
        // What was recorded is what is so after this time; there is nothing to wait for in a pod that never starts.
        tokio::time::sleep(Recording::JOIN_AFTER).await;
        for case in &recording.cases {
            if let Some(patch) = case.join() {
                let path = self.path(&format!("pods/{}/ephemeralcontainers", case.name()));
                self.server.done("PATCH", &path, Some(&patch)).await?;
            }
        }
        tokio::time::sleep(Recording::LOOK_AFTER).await;
        let mut seen = self.seen().await?;
        let (mut passed, mut failed) = (0, 0);
        for case in &recording.cases {
            let pod = seen.remove(case.name()).with_context(|| format!("pod {} is gone", case.name()))?;
            let differences = case.differences(&pod, Played { namespace: self.namespace, node: &node });
            if differences.is_empty() {
                passed += 1;
                if verbose {
                    show(&format!("ok   {}", case.name()));
                }
            } else {
                failed += 1;
                show(&format!("FAIL {}\n{}", case.name(), differences.join("\n")));
            }
        }
        Ok((passed, failed))
    }

    /// A pod that fetches the image, as it was there when the others were recorded. The node that it ran on.
    async fn first(&self) -> Result<String> {
        let container =
            json!({"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["true"]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": FIRST},
            "spec": {"restartPolicy": "Never", "containers": [container]}});
        self.server.done("POST", &self.path("pods"), Some(&pod)).await?;
        let path = self.path(&format!("pods/{FIRST}"));
        self.server.wait(&path, "status.phase", &"Succeeded".into()).await?;
        let pod = self.server.done("GET", &path, None).await?;
        Ok(pod["spec"]["nodeName"].as_str().context("a pod that ran without a node")?.to_owned())
    }

    /// All pods by name.
    async fn seen(&self) -> Result<BTreeMap<String, Seen>> {
        let mut all: BTreeMap<String, Seen> = BTreeMap::new();
        for pod in items(self.server.done("GET", &self.path("pods"), None).await?) {
            let name = text(&pod["metadata"]["name"]);
            all.entry(name).or_default().pod = pod;
        }
        for event in items(self.server.done("GET", &self.path("events"), None).await?) {
            let about = text(&event["involvedObject"]["name"]);
            all.entry(about).or_default().events.push(event);
        }
        for row in self.table().await?["rows"].as_array().into_iter().flatten() {
            all.entry(text(&row["cells"][0])).or_default().shown = row["cells"][2].clone();
        }
        Ok(all)
    }

    /// What `kubectl get pods` shows.
    async fn table(&self) -> Result<Value> {
        let request = http::Request::get(self.path("pods"))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new().into())?;
        Ok(self.server.answer(request).await?.body)
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }
}

fn items(list: Value) -> Vec<Value> {
    match list {
        Value::Object(mut list) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
