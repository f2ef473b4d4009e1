//! `cargo xtask bench session`: what a user waits for, measured through the API of a running node, as medians.
//!
//! It runs inside the node's network namespace and talks to it as any client would. The same program measures any cluster
//! whose kubeconfig it is given; what is Remora's own (start, memory) is measured only with `--remora`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use remora_tests::memory::of_node;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// After this a node is idle: longer than it waits itself.
const QUIET: Duration = Duration::from_secs(15);

#[derive(Parser)]
struct Arguments {
    /// How often each thing is done.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Remora's program: measures start and memory too.
    #[arg(long)]
    remora: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let client = kube::Client::try_default().await.context("reading KUBECONFIG")?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let bench = Bench { pods, rounds: arguments.rounds };
    let mut results = bench.sessions().await?;
    results.push(bench.pod_starts().await?);
    results.push(bench.execs().await?);
    if let Some(remora) = &arguments.remora {
        results.push(bench.memory(remora).await?);
        results.extend(starts(remora, arguments.rounds)?);
    }
    for result in results {
        show(&result.line());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(line: &str) {
    println!("{line}");
}

/// One measured thing and the figure that real Kubernetes had on this kind of machine (reference/baseline.md).
struct Figure {
    what: &'static str,
    unit: &'static str,
    samples: Vec<f64>,
    kubernetes: f64,
}

impl Figure {
    fn times(what: &'static str, samples: Vec<Duration>, kubernetes: f64) -> Figure {
        Figure { what, unit: "ms", samples: samples.iter().map(|d| d.as_secs_f64() * 1e3).collect(), kubernetes }
    }

    fn line(&self) -> String {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
        let ratio = self.kubernetes / median;
        format!(
            "{:<42} {median:>8.1} {} ({low:.1}–{high:.1}, n={}); Kubernetes' recorded {} {}: {ratio:.0}×",
            self.what,
            self.unit,
            sorted.len(),
            self.kubernetes,
            self.unit
        )
    }
}

struct Bench {
    pods: Api<Pod>,
    rounds: usize,
}

impl Bench {
    /// Adds tool containers to one pod at a time and attaches: running seen in a watch, first byte of the prompt.
    async fn sessions(&self) -> Result<Vec<Figure>> {
        let (mut running, mut prompt) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let pod = format!("bench-debug-{round}");
            self.create(&pod).await?;
            running.push(self.debug_until_running(&pod, "plain").await?);
            prompt.push(self.debug_until_prompt(&pod, "shell").await?);
            self.delete(&pod).await?;
        }
        Ok(vec![
            Figure::times("PATCH sent → running seen in a watch", running, 1016.0),
            Figure::times("PATCH sent → first byte of the prompt", prompt, 1042.0),
        ])
    }

    async fn pod_starts(&self) -> Result<Figure> {
        let mut samples = Vec::new();
        for round in 0..self.rounds {
            let pod = format!("bench-start-{round}");
            samples.push(self.create(&pod).await?);
            self.delete(&pod).await?;
        }
        Ok(Figure::times("pod create → Ready", samples, 996.0))
    }

    async fn execs(&self) -> Result<Figure> {
        self.create_with("bench-exec", "busybox", Some(&["sleep", "10000"])).await?;
        let mut samples = Vec::new();
        for _ in 0..self.rounds {
            let begun = Instant::now();
            let mut process = self.pods.exec("bench-exec", ["true"], &AttachParams::default()).await?;
            let status = process.take_status().context("exec has no status")?.await.context("exec gave no status")?;
            ensure!(status.status.as_deref() == Some("Success"), "true failed: {status:?}");
            samples.push(begun.elapsed());
        }
        self.delete("bench-exec").await?;
        Ok(Figure::times("exec `true`", samples, 47.0))
    }

    /// Resident memory of the daemon and, for each pod, of everything that it adds: the shims too.
    async fn memory(&self, remora: &std::path::Path) -> Result<Figure> {
        const PODS: usize = 20;
        let busy = of_node(remora)?;
        // Measuring it asks nothing of the API server. In this time the node gives back what it does not need: see `daemon::quiet`.
        tokio::time::sleep(QUIET).await;
        let idle = of_node(remora)?;
        for (what, memory) in [("resident memory, after all that", busy), ("resident memory, idle", idle)] {
            show(&Figure { what, unit: "MiB", samples: vec![memory], kubernetes: 602.0 }.line());
        }
        for i in 0..PODS {
            self.create(&format!("bench-memory-{i}")).await?;
        }
        tokio::time::sleep(QUIET).await;
        let with_pods = of_node(remora)?;
        for i in 0..PODS {
            self.delete(&format!("bench-memory-{i}")).await?;
        }
        let each = (with_pods - idle) / PODS as f64;
        Ok(Figure { what: "memory per pod (PSS, shim included)", unit: "MiB", samples: vec![each], kubernetes: 4.8 })
    }

    async fn create(&self, name: &str) -> Result<Duration> {
        self.create_with(name, "k8s.gcr.io/pause:3.1", None).await
    }

    /// From the request to Ready in a watch.
    async fn create_with(&self, name: &str, image: &str, command: Option<&[&str]>) -> Result<Duration> {
        let spec = json!({"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [{
            "name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
        let begun = Instant::now();
        let created = self.pods.create(&PostParams::default(), &pod).await?;
        self.until(&created, name, |pod| {
            pod.pointer("/status/conditions")
                .and_then(Value::as_array)
                .is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        })
        .await?;
        Ok(begun.elapsed())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    async fn debug_until_running(&self, pod: &str, container: &str) -> Result<Duration> {
        let begun = Instant::now();
        let patched = self.add(pod, container, Some(&["sleep", "10000"])).await?;
        self.until(&patched, pod, |pod| is_running(pod, container)).await?;
        Ok(begun.elapsed())
    }

    async fn debug_until_prompt(&self, pod: &str, container: &str) -> Result<Duration> {
        let begun = Instant::now();
        let patched = self.add(pod, container, None).await?;
        self.until(&patched, pod, |pod| is_running(pod, container)).await?;
        let params = AttachParams::interactive_tty().container(container);
        let mut process = self.pods.attach(pod, &params).await?;
        let mut first = [0];
        process.stdout().context("attach has no output")?.read_exact(&mut first).await?;
        let elapsed = begun.elapsed();
        process.abort();
        Ok(elapsed)
    }

    /// As `kubectl debug -it --image=busybox --target=c` does.
    async fn add(&self, pod: &str, container: &str, command: Option<&[&str]>) -> Result<Pod> {
        let entry = json!({"name": container, "image": "busybox", "stdin": true, "tty": true,
            "targetContainerName": "c", "terminationMessagePolicy": "File", "command": command});
        let patch = json!({"spec": {"ephemeralContainers": [entry]}});
        Ok(self.pods.patch_ephemeral_containers(pod, &PatchParams::default(), &Patch::Strategic(patch)).await?)
    }

    /// Watches from the answer on, so that nothing is missed.
    async fn until(&self, from: &Pod, name: &str, reached: impl Fn(&Value) -> bool) -> Result<()> {
        let version = from.metadata.resource_version.clone().unwrap_or_default();
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = self.pods.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) | WatchEvent::Added(pod) = event
                && reached(&serde_json::to_value(pod)?)
            {
                return Ok(());
            }
        }
        bail!("the watch of {name} ended too early")
    }
}

fn is_running(pod: &Value, container: &str) -> bool {
    let statuses = pod.pointer("/status/ephemeralContainerStatuses").and_then(Value::as_array);
    statuses.is_some_and(|list| list.iter().any(|s| s["name"] == container && !s["state"]["running"].is_null()))
}

/// Starts fresh nodes beside the running one, on a port of their own.
fn starts(remora: &std::path::Path, rounds: usize) -> Result<Vec<Figure>> {
    let libexec = remora.parent().context("remora has no folder")?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        let dir = std::env::temp_dir().join(format!("remora-start-{}-{round}", std::process::id()));
        let command = |word: &str| {
            let mut command = Command::new(remora);
            command.arg(word).arg("--data-dir").arg(dir.join("data")).arg("--run-dir").arg(dir.join("run"));
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let begun = Instant::now();
        let up =
            command("up").args(["--detach", "--listen", "127.0.0.1:16443", "--libexec-dir"]).arg(libexec).status()?;
        samples.push(begun.elapsed());
        let down = command("down").status()?;
        ensure!(up.success() && down.success(), "up: {up}, down: {down}");
        std::fs::remove_dir_all(dir)?;
    }
    Ok(vec![Figure::times("up → node Ready, first start", samples, 5100.0)])
}
