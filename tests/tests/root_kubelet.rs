//! What a node tells of itself and lets others do, at the kubelet's port and through the API server; and `kubectl top`.
//!
//! `cargo xtask test` starts the node, which listens at 10250.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use remora_tests::{Client, TestNode, say};
use serde_json::Value;

const PORT: &str = "https://127.0.0.1:10250";
/// More than this, in millicores, no idle container uses; a busy one has more even where everybody else is busy too.
const IDLE: u64 = 2;
/// What takes longer counts as hung.
const HANGS: Duration = Duration::from_secs(60);

fn in_namespace(test: &str, check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let namespace = format!("kubelet-{test}");
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let result = check(&node, &kubectl.in_namespace(&namespace));
    kubectl.ok(&format!("delete clusterrole,clusterrolebinding {namespace} --ignore-not-found")).unwrap();
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    result.unwrap();
}

/// A pod that keeps a processor busy and serves its own words.
fn run_pod(kubectl: &Client<'_>) -> Result<()> {
    let script = "echo begun; nc -ll -p 7000 -e echo hello & while :; do :; done";
    let words = ["run", "busy", "--image=busybox", "--labels=app=busy", "--restart=Never", "--", "sh", "-c", script];
    let started = kubectl.run(&words)?;
    ensure!(started.code == 0, "{started:?}");
    kubectl.ok("wait --for=condition=Ready pod/busy --timeout=60s")?;
    Ok(())
}

/// What stands in a table in the row that begins so.
fn row(table: &str, begins: &[&str]) -> Result<Vec<String>> {
    let rows = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let found = rows.into_iter().find(|row| row.len() > begins.len() && row.iter().zip(begins).all(|(a, b)| a == b));
    found.with_context(|| format!("no row {begins:?} in\n{table}"))
}

fn millicores(cell: &str) -> Result<u64> {
    Ok(cell.strip_suffix('m').with_context(|| format!("{cell} is no amount of processors"))?.parse()?)
}

#[test]
fn kubectl_top_shows_who_is_busy() {
    in_namespace("top", |node, kubectl| {
        run_pod(kubectl)?;
        for kubectl in node.kubectls_of_every_version() {
            let kubectl = kubectl.in_namespace("kubelet-top");
            let pods = kubectl.ok("top pods")?;
            let busy = row(&pods, &["busy"])?;
            ensure!(millicores(&busy[1])? > IDLE && busy[2].ends_with("Mi"), "{}: {pods}", kubectl.name());
            let containers = kubectl.ok("top pods --containers -l app=busy")?;
            ensure!(millicores(&row(&containers, &["busy", "busy"])?[2])? > IDLE, "{containers}");
            ensure!(kubectl.ok("top pod busy --no-headers")?.starts_with("busy "));
            row(&kubectl.ok("top pods -A --sort-by=cpu")?, &["kubelet-top", "busy"])?;
            let nodes = kubectl.ok("top nodes")?;
            let node = nodes.lines().nth(1).context("no node")?.split_whitespace().collect::<Vec<_>>();
            ensure!(millicores(node[1])? > IDLE && node[2].ends_with('%') && node[3].ends_with("Mi"), "{nodes}");
            let missing = kubectl.fails("top pod none", 1)?;
            ensure!(missing.contains("NotFound") && missing.contains("none"), "{missing}");
        }
        kubectl.ok("create rolebinding jane --clusterrole=view --user=jane")?;
        kubectl.ok("top pods --as=jane")?;
        let refused = kubectl.fails("top pods -A --as=jane", 1)?;
        ensure!(refused.contains("cannot list resource \"pods\" in API group \"metrics.k8s.io\""), "{refused}");
        let raw = kubectl.ok("get --raw /apis/metrics.k8s.io/v1beta1/namespaces/kubelet-top/pods/busy")?;
        let shown: Value = serde_json::from_str(&raw)?;
        ensure!(shown["kind"] == "PodMetrics" && shown["apiVersion"] == "metrics.k8s.io/v1beta1", "{shown}");
        Ok(())
    });
}

fn node_name(kubectl: &Client<'_>) -> Result<String> {
    kubectl.ok("get nodes -o jsonpath={.items[0].metadata.name}")
}

/// The status and the text of an answer at the kubelet's port.
fn curl(node: &TestNode, arguments: &[&str], path: &str) -> Result<(u16, String)> {
    let mut command = node.command("curl")?;
    command.args(["-sk", "-m", "30", "-w", "\n%{http_code}"]).args(arguments).arg(format!("{PORT}{path}"));
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (text, code) = text.rsplit_once('\n').context("no answer")?;
    Ok((code.parse()?, text.to_owned()))
}

#[test]
fn each_endpoint_asks_for_its_right() {
    in_namespace("rights", |node, kubectl| {
        run_pod(kubectl)?;
        let ours = kubectl.namespace();
        kubectl.ok("create serviceaccount dev")?;
        let token = kubectl.ok("create token dev")?;
        let header = format!("Authorization: Bearer {}", token.trim());
        let as_dev = ["-H", header.as_str()];
        let get = "-X=GET";
        let endpoints = [
            ("nodes/healthz", get, "/healthz"),
            ("nodes/pods", get, "/pods"),
            ("nodes/pods", get, "/runningpods/"),
            ("nodes/stats", get, "/stats/summary"),
            ("nodes/metrics", get, "/metrics"),
            ("nodes/metrics", get, "/metrics/resource"),
            ("nodes/metrics", get, "/metrics/cadvisor"),
            ("nodes/metrics", get, "/metrics/probes"),
            ("nodes/configz", get, "/configz"),
            ("nodes/proxy", get, &format!("/containerLogs/{ours}/busy/busy")),
            ("nodes/proxy", "-X=POST", &format!("/run/{ours}/busy/busy?cmd=hostname")),
        ];
        for (_, method, path) in &endpoints {
            let method = method.trim_start_matches("-X=");
            ensure!(curl(node, &["-X", method], path)?.0 == 401, "{path} without a token");
            ensure!(curl(node, &["-X", method, "-H", "Authorization: Bearer x.y.z"], path)?.0 == 401, "{path}");
            let (code, words) = curl(node, &[&["-X", method][..], &as_dev].concat(), path)?;
            let who = format!("Forbidden (user=system:serviceaccount:{ours}:dev, verb=");
            ensure!(code == 403 && words.starts_with(&who), "{path}: {code} {words}");
        }
        kubectl.ok(&format!("create clusterrolebinding {ours} --clusterrole={ours} --serviceaccount={ours}:dev"))?;
        for right in ["nodes/healthz", "nodes/pods", "nodes/stats", "nodes/metrics", "nodes/configz", "nodes/proxy"] {
            kubectl.ok(&format!("delete clusterrole {ours} --ignore-not-found"))?;
            kubectl.ok(&format!("create clusterrole {ours} --verb=get,create --resource={right}"))?;
            for (needed, method, path) in &endpoints {
                let coarse = ["/healthz", "/pods", "/runningpods/", "/configz"].contains(path);
                let expected = if *needed == right || (right == "nodes/proxy" && coarse) { 200 } else { 403 };
                let method = method.trim_start_matches("-X=");
                let (code, words) = curl(node, &[&["-X", method][..], &as_dev].concat(), path)?;
                ensure!(code == expected, "{path} with {right}: {code} {words}");
            }
        }
        let (_, log) = curl(node, &as_dev, &format!("/containerLogs/{ours}/busy/busy"))?;
        ensure!(log == "begun\n", "{log}");
        let run = format!("/run/{ours}/busy/busy?cmd=hostname");
        ensure!(curl(node, &[&["-X", "POST"][..], &as_dev].concat(), &run)? == (200, "busy\n".to_owned()));
        let (code, words) =
            curl(node, &[&["-X", "POST"][..], &as_dev].concat(), &format!("/checkpoint/{ours}/busy/busy"))?;
        ensure!(code == 403 && words.contains("subresource(s)=[checkpoint]"), "{code} {words}");
        Ok(())
    });
}

#[test]
fn the_api_server_passes_requests_on_to_the_node() {
    in_namespace("proxy", |_, kubectl| {
        run_pod(kubectl)?;
        let (ours, name) = (kubectl.namespace(), node_name(kubectl)?);
        let port = kubectl.ok("get nodes -o jsonpath={.items[0].status.daemonEndpoints.kubeletEndpoint.Port}")?;
        ensure!(port == "10250", "{port}");
        for node in [name.clone(), format!("{name}:10250")] {
            let raw = |path: &str| kubectl.ok(&format!("get --raw /api/v1/nodes/{node}/proxy{path}"));
            ensure!(raw("/healthz")? == "ok");
            let summary: Value = serde_json::from_str(&raw("/stats/summary")?)?;
            let pods = summary["pods"].as_array().context("no pods")?;
            let busy = pods.iter().find(|pod| pod["podRef"]["namespace"] == ours).context("the pod is missing")?;
            ensure!(busy["cpu"]["usageNanoCores"].as_u64() > Some(2_000_000), "{busy}");
            ensure!(busy["memory"]["workingSetBytes"].as_u64() > Some(0), "{busy}");
            ensure!(busy["network"]["name"] == "eth0", "{busy}");
            ensure!(busy["containers"][0]["logs"]["usedBytes"].as_u64() > Some(0), "{busy}");
            ensure!(busy["containers"][0]["rootfs"]["usedBytes"].is_u64(), "{busy}");
            let config: Value = serde_json::from_str(&raw("/configz")?)?;
            ensure!(config["kubeletconfig"]["port"] == 10250, "{config}");
            let pods: Value = serde_json::from_str(&raw("/pods")?)?;
            let items = pods["items"].as_array().context("no items")?;
            let busy = items.iter().find(|pod| pod["metadata"]["namespace"] == ours).context("the pod is missing")?;
            ensure!(busy["status"]["phase"] == "Running" && busy.get("kind").is_none(), "{busy}");
            ensure!(raw(&format!("/containerLogs/{ours}/busy/busy"))? == "begun\n");
        }
        Ok(())
    });
}

/// One message of a session after another, until it is closed: channels and bytes.
async fn session(client: &kube::Client, path: &str, protocol: &str, input: Option<&[u8]>) -> Result<Vec<(u8, String)>> {
    let mut request = http::Request::get(path).body(Vec::new())?;
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse()?);
    let mut stream = client.connect(request).await?.into_stream();
    if let Some(input) = input {
        stream.send(input.to_vec().into()).await?;
    }
    let mut seen: Vec<(u8, String)> = Vec::new();
    while let Some(message) = stream.next().await {
        let Ok(message) = message else { break };
        if message.is_close() {
            break;
        }
        if let Some((channel, text)) = message.into_data().split_first() {
            seen.push((*channel, String::from_utf8_lossy(text).into_owned()));
        }
    }
    Ok(seen)
}

fn joined(seen: &[(u8, String)], channel: u8) -> String {
    seen.iter().filter(|(of, _)| *of == channel).map(|(_, text)| text.as_str()).collect()
}

/// Exec and a port-forward, as the client's user.
async fn sessions(client: &kube::Client, root: &str, namespace: &str) -> Result<()> {
    let exec = format!(
        "{root}/exec/{namespace}/busy/busy?command=sh&command=-c&command=echo+out;echo+err+%3E%262;exit+3&output=1&error=1"
    );
    let seen = session(client, &exec, "v5.channel.k8s.io", None).await?;
    ensure!(joined(&seen, 1) == "out\n" && joined(&seen, 2) == "err\n", "{seen:?}");
    ensure!(joined(&seen, 3).contains("\"exitCode\"") || joined(&seen, 3).contains("ExitCode"), "{seen:?}");
    let forward = format!("{root}/portForward/{namespace}/busy?port=7000");
    let seen = session(client, &forward, "v4.channel.k8s.io", Some(b"\0x")).await?;
    ensure!(joined(&seen, 0).ends_with("hello\n"), "{seen:?}");
    Ok(())
}

#[test]
fn sessions_are_had_at_the_port_and_through_the_api_server() {
    in_namespace("sessions", |node, kubectl| {
        run_pod(kubectl)?;
        // A container that runs does not yet listen.
        let listens = "until netstat -lnt | grep -q :7000; do sleep 0.1; done";
        let waited = kubectl.run(&["exec", "busy", "--", "sh", "-c", listens])?;
        ensure!(waited.code == 0, "{waited:?}");
        let (ours, name) = (kubectl.namespace().to_owned(), node_name(kubectl)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        node.inside(|| {
            runtime.block_on(async {
                let config = Kubeconfig::read_from(node.dir().join("data/kubeconfig"))?;
                let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
                let through = kube::Client::try_from(config.clone())?;
                let mut direct = config;
                direct.cluster_url = PORT.parse()?;
                let at_port = kube::Client::try_from(direct)?;
                let both = async {
                    sessions(&at_port, "", &ours).await.context("at the port")?;
                    sessions(&through, &format!("/api/v1/nodes/{name}/proxy"), &ours)
                        .await
                        .context("through the API server")
                };
                tokio::time::timeout(HANGS, both).await.context("it hangs")?
            })
        })?
    });
}

#[test]
fn who_may_only_read_through_the_api_server_gets_no_shell() {
    in_namespace("shell", |node, kubectl| {
        run_pod(kubectl)?;
        let (ours, name) = (kubectl.namespace(), node_name(kubectl)?);
        kubectl.ok(&format!("create clusterrole {ours} --verb=get --resource=nodes/proxy"))?;
        kubectl
            .ok(&format!("create clusterrolebinding {ours} --clusterrole={ours} --serviceaccount={ours}:default"))?;
        let token = kubectl.ok("create token default")?;
        let server = kubectl.ok("config view --minify -o jsonpath={.clusters[0].cluster.server}")?;
        let ask = |path: &str| -> Result<String> {
            let mut curl = node.command("curl")?;
            curl.args(["-sk", "-m", "30", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}"]);
            curl.args(["-H", &format!("Authorization: Bearer {}", token.trim()), "-H", "Connection: Upgrade"]);
            curl.args(["-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"]);
            curl.args([
                "-H",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                &format!("{server}/api/v1/nodes/{name}/proxy{path}"),
            ]);
            Ok(String::from_utf8(curl.stdin(Stdio::null()).output()?.stdout)?)
        };
        let code = ask(&format!("/exec/{ours}/busy/busy?command=id&output=1"))?;
        ensure!(code == "403", "{code}");
        let read = kubectl
            .ok(&format!("get --raw /api/v1/nodes/{name}/proxy/healthz --as=system:serviceaccount:{ours}:default"))?;
        ensure!(read == "ok", "{read}");
        Ok(())
    });
}

/// A parser that is not ours, if this machine has one.
fn parser() -> Option<Command> {
    let found = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let code = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
                from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict\n\
                text = sys.stdin.read()\nfamilies = list((strict if text.endswith('# EOF\\n') else parse)(text))\n\
                print(sum(len(family.samples) for family in families))";
    if !found("python3", &["-c", "import prometheus_client"]) {
        say("SKIPPED: no parser of Prometheus' format on this machine: pip install prometheus_client");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-c", code]);
    Some(command)
}

#[test]
fn metrics_are_what_prometheus_reads() {
    in_namespace("metrics", |_, kubectl| {
        run_pod(kubectl)?;
        let name = node_name(kubectl)?;
        for path in ["/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics/probes"] {
            let text = kubectl.ok(&format!("get --raw /api/v1/nodes/{name}/proxy{path}"))?;
            let Some(mut parser) = parser() else { return Ok(()) };
            let begun = Instant::now();
            let mut child = parser.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            child.stdin.take().context("stdin")?.write_all(text.as_bytes())?;
            let output = child.wait_with_output()?;
            ensure!(output.status.success() && begun.elapsed() < HANGS, "{path}:\n{text}");
            let samples: usize = String::from_utf8(output.stdout)?.trim().parse()?;
            ensure!(samples > 0 || path == "/metrics/probes", "{path} says nothing");
        }
        Ok(())
    });
}
