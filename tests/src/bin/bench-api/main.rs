//! `cargo xtask bench api`: how many requests an API server answers, how soon watchers know, and how that grows.
//!
//! It runs inside the node's network namespace, and measures any cluster whose kubeconfig it is given. Load comes from wrk (load.rs), watchers
//! are this process. All share the machine with the server, as they did when Kubernetes was measured. Pods are for a scheduler that does not exist: they are stored and
//! nothing else. What it makes is in namespaces of its own, `bench…`.

mod load;
mod watchers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use load::Load;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const PODS: usize = 500;

#[derive(Parser)]
struct Arguments {
    /// How long each load lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// How many PATCHes watchers wait for.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Also how it grows: up to 100,000 objects and 4,000 watchers. Minutes.
    #[arg(long)]
    growth: bool,
    /// Remora's program: measures memory too.
    #[arg(long)]
    remora: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("remora-bench-api-{}", std::process::id()));
    // One that somebody else has made is not ours: what lies there would be run.
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let measured = measure(&arguments, &folder).await;
    let removed = std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()));
    measured.and(removed)
}

async fn measure(arguments: &Arguments, folder: &std::path::Path) -> Result<()> {
    let config = kube::Config::infer().await.context("reading KUBECONFIG")?;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/').to_owned();
    let client = kube::Client::try_from(config.clone())?;
    let stage = Stage { client: client.clone() };
    let token = stage.set().await?;
    let load = Load { folder, server: &server, token: &token, seconds: arguments.seconds };
    rates(&load)?;
    // A client shares its connections only where the server speaks HTTP/2: a watch of HTTP/1.1 has its own anyway.
    let clients = (0..8).map(|_| kube::Client::try_from(config.clone())).collect::<Result<Vec<_>, _>>()?;
    for (count, kubernetes) in [(1, 5.6), (100, 10.8)] {
        let times = watchers::until_the_last(&clients, count, arguments.rounds).await?;
        let what = format!("PATCH → the last of {count} watchers");
        show(&format!("{what:<44} {:>9.2} ms    Kubernetes {kubernetes} ms", median(times)));
    }
    if let Some(remora) = &arguments.remora {
        stage.empty::<Pod>("bench-post").await?;
        let memory = remora_tests::memory::of_node(remora)?;
        show(&format!(
            "{:<44} {memory:>9.1} MiB   Kubernetes 305 MiB (with etcd)",
            "memory with 500 pods stored, after all that"
        ));
    }
    if arguments.growth {
        growth(&load, &stage, &clients, arguments.rounds).await?;
    }
    stage.clear().await
}

/// Beside what was measured of kube-apiserver v1.34.4 with etcd on this kind of machine (reference/baseline.md).
fn rates(load: &Load<'_>) -> Result<()> {
    for (kind, connections, kubernetes) in [
        ("get pod", 1, 619.0),
        ("get pod", 8, 1476.0),
        ("get pod", 32, 2313.0),
        ("list pods", 1, 49.0),
        ("list pods", 4, 83.0),
        ("patch pod", 1, 251.0),
        ("patch pod", 8, 415.0),
        ("patch pod", 32, 451.0),
        ("post pod", 8, 462.0),
    ] {
        let rate = load.run(kind, connections, PODS)?;
        let what = format!("{kind}, {connections} at once");
        let (each, median) = (rate.per_second, rate.median);
        let ratio = each / kubernetes;
        show(&format!("{what:<44} {each:>9.0} /s ({median:.2} ms)   Kubernetes {kubernetes:.0}: {ratio:.1}×"));
    }
    Ok(())
}

async fn growth(load: &Load<'_>, stage: &Stage, clients: &[kube::Client], rounds: usize) -> Result<()> {
    let mut there = 0;
    for objects in [100, 1_000, 10_000, 100_000] {
        let begun = Instant::now();
        stage.fill(there..objects).await?;
        let filled = (objects - there) as f64 / begun.elapsed().as_secs_f64();
        there = objects;
        let [get, page, patch] = [("get map", 8), ("page of maps", 4), ("patch map", 8)]
            .map(|(kind, connections)| load.run(kind, connections, objects).map(|rate| rate.per_second));
        let (get, page, patch) = (get?, page?, patch?);
        show(&format!(
            "{objects:>7} objects: get {get:>7.0} /s, page of 500 {page:>6.0} /s, patch {patch:>6.0} /s, created {filled:>6.0} /s"
        ));
    }
    // The server takes 4,096 connections.
    for count in [1, 10, 100, 1_000, 4_000] {
        let times = watchers::until_the_last(clients, count, rounds.min(10)).await?;
        show(&format!("{count:>7} watchers: PATCH → the last of them {:.2} ms", median(times)));
    }
    Ok(())
}

/// What must be there, and goes again.
struct Stage {
    client: kube::Client,
}

impl Stage {
    /// Gives the token of one who may do everything.
    async fn set(&self) -> Result<String> {
        self.clear().await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in ["bench", "bench-post", "bench-maps"] {
            namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": name}}))?).await?;
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "bench");
        accounts.create(&PostParams::default(), &object(json!({"metadata": {"name": "load"}}))?).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
        let subject = json!({"kind": "ServiceAccount", "name": "load", "namespace": "bench"});
        let binding = json!({"metadata": {"name": "bench-load"}, "roleRef": role, "subjects": [subject]});
        bindings.create(&PostParams::default(), &object(binding)?).await?;
        for namespace in ["bench", "bench-post"] {
            self.until_it_has_an_account(namespace).await?;
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "bench");
        let made = futures::stream::iter(0..PODS).map(|n| {
            let pods = &pods;
            async move { Ok::<_, anyhow::Error>(pods.create(&PostParams::default(), &pod(n)?).await?) }
        });
        made.buffer_unordered(8).try_for_each(|_| async { Ok(()) }).await?;
        let spec: TokenRequest = object(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))?;
        let token = accounts.create_token_request("load", &PostParams::default(), &spec).await?;
        Ok(token.status.context("no token")?.token)
    }

    /// Pods are refused before; the controller makes it in its own time.
    async fn until_it_has_an_account(&self, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = kube::runtime::wait::await_condition(accounts, "default", |account: Option<&ServiceAccount>| {
            account.is_some()
        });
        tokio::time::timeout(Duration::from_secs(30), found).await.context("no default service account")??;
        Ok(())
    }

    async fn fill(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "bench-maps");
        let made = futures::stream::iter(numbers).map(|n| {
            let maps = &maps;
            async move {
                let map = object(json!({"metadata": {"name": format!("m-{n}")}, "data": {"key": "x".repeat(200)}}))?;
                Ok::<_, anyhow::Error>(maps.create(&PostParams::default(), &map).await?)
            }
        });
        made.buffer_unordered(32).try_for_each(|_| async { Ok(()) }).await
    }

    async fn empty<K>(&self, namespace: &str) -> Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let all: Api<K> = Api::namespaced(self.client.clone(), namespace);
        all.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
        Ok(())
    }

    /// What this or an earlier run has made. Namespaces go in the background: a run that follows waits for them.
    async fn clear(&self) -> Result<()> {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        gone(bindings.delete("bench-load", &DeleteParams::default()).await.map(drop))?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in ["bench", "bench-post", "bench-maps"] {
            gone(namespaces.delete(name, &DeleteParams::default()).await.map(drop))?;
            let away =
                kube::runtime::wait::await_condition(namespaces.clone(), name, |it: Option<&Namespace>| it.is_none());
            tokio::time::timeout(Duration::from_secs(300), away).await.context("a namespace does not go")??;
        }
        Ok(())
    }
}

/// What is not there need not be removed.
fn gone(removed: Result<(), kube::Error>) -> Result<()> {
    match removed {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other?),
    }
}

fn pod(number: usize) -> Result<Pod> {
    // About 2 kB once it is stored with its defaults, as those that Kubernetes was measured with.
    let environment: Vec<Value> =
        (0..12).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "some value"})).collect();
    let container = json!({"name": "c", "image": "busybox", "env": environment});
    let spec = json!({"schedulerName": "nobody", "containers": [container]});
    object(json!({"metadata": {"name": format!("p-{number}"), "labels": {"app": "bench"}}, "spec": spec}))
}

fn object<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(line: &str) {
    println!("{line}");
}
