//! kube-rs, the client of Rust programs and of Remora's own command line, step by step.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, SinkExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions, TerminalSize,
    WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};
use remora_tests::TestNode;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

const NAMESPACE: &str = "clients-kube-rs";
/// A step that takes longer counts as hung.
const HANGS: Duration = Duration::from_secs(60);

#[test]
fn kube_rs_does_everything() {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    kubectl.ok(&format!("create namespace {NAMESPACE}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {NAMESPACE} --timeout=30s")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let played = node.inside(|| runtime.block_on(play(&node)));
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false")).unwrap();
    played.unwrap().unwrap();
}

async fn play(node: &TestNode) -> Result<()> {
    let config = Kubeconfig::read_from(node.dir().join("data/kubeconfig"))?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let (maps, pods) = (Api::namespaced(client.clone(), NAMESPACE), Api::namespaced(client, NAMESPACE));
    step("pages", pages(&maps)).await?;
    step("watch", watch(&maps)).await?;
    step("patches", patches(&maps)).await?;
    step("deletion", deletion(&maps)).await?;
    step("pods", run(&pods)).await?;
    step("exec", exec(&pods)).await?;
    step("terminal", terminal(&pods)).await?;
    step("attach", attach(&pods)).await?;
    step("logs", logs(&pods)).await?;
    step("port-forward", forward(&pods)).await
}

async fn step(name: impl Display, does: impl Future<Output = Result<()>>) -> Result<()> {
    let done = tokio::time::timeout(HANGS, does).await;
    done.with_context(|| format!("{name} hangs"))?.with_context(|| format!("{name} failed"))
}

fn map(name: &str) -> Result<ConfigMap> {
    let map = json!({"metadata": {"name": name, "labels": {"paged": "yes"}}, "data": {"a": "one", "b": "same"}});
    Ok(serde_json::from_value(map)?)
}

async fn pages(maps: &Api<ConfigMap>) -> Result<()> {
    for number in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("page-{number}"))?).await?;
    }
    let mut sizes = Vec::new();
    let mut params = ListParams::default().labels("paged=yes").limit(2);
    loop {
        let page = maps.list(&params).await?;
        sizes.push(page.items.len());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    ensure!(sizes == [2, 2, 1], "{sizes:?}");
    Ok(())
}

async fn watch(maps: &Api<ConfigMap>) -> Result<()> {
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version.context("a list has a version")?;
    let mut watched = maps.watch(&WatchParams::default().labels("paged=yes").timeout(4), &version).await?.boxed();
    maps.create(&PostParams::default(), &map("watched")?).await?;
    maps.patch("watched", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "two"}}))).await?;
    maps.delete("watched", &DeleteParams::default()).await?;
    let mut told = Vec::new();
    while let Some(event) = watched.try_next().await? {
        told.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        });
    }
    ensure!(told == ["added", "modified", "deleted", "bookmark"], "{told:?}");
    Ok(())
}

async fn patches(maps: &Api<ConfigMap>) -> Result<()> {
    let data = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value}});
    let forced = PatchParams::apply("clients").force();
    for (params, patch, expected) in [
        (PatchParams::default(), Patch::Merge(data("merge")), "merge"),
        (PatchParams::default(), Patch::Strategic(data("strategic")), "strategic"),
        (forced, Patch::Apply(data("apply")), "apply"),
    ] {
        let patched = maps.patch("page-0", &params, &patch).await?;
        let data = patched.data.unwrap_or_default();
        ensure!(data["a"] == expected && data["b"] == "same", "{data:?}");
    }
    let conflict = maps.patch("page-0", &PatchParams::apply("other"), &Patch::Apply(data("other"))).await;
    ensure!(code(&conflict) == Some(409), "{conflict:?}");
    Ok(())
}

fn code<T>(answer: &kube::Result<T>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

async fn deletion(maps: &Api<ConfigMap>) -> Result<()> {
    let uid = maps.get("page-0").await?.uid();
    let of = |uid| DeleteParams::default().preconditions(Preconditions { uid, ..Preconditions::default() });
    let refused = maps.delete("page-0", &of(Some("another".to_owned()))).await;
    ensure!(code(&refused) == Some(409), "{:?}", refused.err());
    maps.delete("page-0", &of(uid)).await?;
    ensure!(maps.get_opt("page-0").await?.is_none());
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("paged=yes")).await?;
    ensure!(maps.list(&ListParams::default().labels("paged=yes")).await?.items.is_empty());
    Ok(())
}

async fn run(pods: &Api<Pod>) -> Result<()> {
    let talks = "echo line 1; until test -e /go; do sleep 0.1; done; echo line 2; sleep 10000";
    for container in [
        json!({"name": "box", "image": "busybox", "command": ["sh", "-c", talks]}),
        json!({"name": "shell", "image": "busybox", "command": ["sh"], "stdin": true, "tty": true}),
        json!({"name": "web", "image": "registry.example/httpd:1"}),
    ] {
        let pod = json!({"metadata": {"name": container["name"]}, "spec": {"containers": [container]}});
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let one = WatchParams::default().fields(&format!("metadata.name={}", made.name_any()));
        let mut watched = pods.watch(&one, "0").await?.boxed();
        while let Some(event) = watched.try_next().await? {
            if matches!(event, WatchEvent::Added(pod) | WatchEvent::Modified(pod) if is_ready(&pod)) {
                break;
            }
        }
    }
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a stream says, up to a text.
async fn until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> Result<String> {
    let mut said = String::new();
    let mut chunk = [0; 1024];
    while !said.contains(text) {
        let count = stream.read(&mut chunk).await?;
        ensure!(count > 0, "it ended without {text:?}: {said:?}");
        said += &String::from_utf8_lossy(&chunk[..count]);
    }
    Ok(said)
}

async fn exec(pods: &Api<Pod>) -> Result<()> {
    let command = ["sh", "-c", "tr a-z A-Z; echo err >&2; exit 7"];
    let mut session = pods.exec("box", command, &AttachParams::default().stdin(true)).await?;
    let status = session.take_status().context("no status")?;
    let (mut out, mut err) = (session.stdout().context("no stdout")?, session.stderr().context("no stderr")?);
    let mut stdin = session.stdin().context("no stdin")?;
    stdin.write_all(b"shout\n").await?;
    stdin.shutdown().await?;
    drop(stdin);
    until(&mut out, "SHOUT\n").await?;
    until(&mut err, "err\n").await?;
    let causes = status.await.and_then(|status| status.details).and_then(|details| details.causes).unwrap_or_default();
    let said: Vec<_> = causes.iter().map(|cause| (cause.reason.as_deref(), cause.message.as_deref())).collect();
    ensure!(said.contains(&(Some("ExitCode"), Some("7"))), "{said:?}");
    Ok(())
}

async fn terminal(pods: &Api<Pod>) -> Result<()> {
    let script = "until stty size | grep -q '^44 122$'; do sleep 0.1; done; tty; echo re''sized";
    let params = AttachParams::interactive_tty();
    let mut session = pods.exec("box", ["sh", "-c", script], &params).await?;
    let mut sizes = session.terminal_size().context("no sizes")?;
    for (width, height) in [(101, 33), (122, 44)] {
        sizes.send(TerminalSize { width, height }).await?;
    }
    let said = until(&mut session.stdout().context("no stdout")?, "resized").await?;
    ensure!(said.contains("/dev/pts/"), "{said}");
    Ok(())
}

async fn attach(pods: &Api<Pod>) -> Result<()> {
    let mut session = pods.attach("shell", &AttachParams::interactive_tty()).await?;
    session.stdin().context("no stdin")?.write_all(b"echo at-$((1+1))\n").await?;
    until(&mut session.stdout().context("no stdout")?, "at-2").await.map(drop)
}

async fn logs(pods: &Api<Pod>) -> Result<()> {
    let mut lines = pods.log_stream("box", &LogParams { follow: true, ..LogParams::default() }).await?.lines();
    ensure!(lines.try_next().await?.as_deref() == Some("line 1"));
    let mut touched = pods.exec("box", ["touch", "/go"], &AttachParams::default()).await?;
    touched.take_status().context("no status")?.await.context("it has not ended")?;
    ensure!(lines.try_next().await?.as_deref() == Some("line 2"));
    Ok(())
}

async fn forward(pods: &Api<Pod>) -> Result<()> {
    let mut forwarder = pods.portforward("web", &[8080]).await?;
    let mut stream = forwarder.take_stream(8080).context("no stream")?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    until(&mut stream, "hello from user 65532").await.map(drop)
}
