//! The API over fakes of its seams: who is let in, and what they are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use remora_http::{Connection, Handler, Peer, User, body};
use remora_kubelet_api::access::{AccessError, NodeRight};
use remora_kubelet_api::{Access, Agent, AgentError, Config, KubeletApi, Parts, ProbeCount};
use remora_model::usage::{
    ContainerUsage, Cpu, Filesystem, Interface, Memory, Network, NodeUsage, PodUsage, Processes, Rate,
};
use remora_streaming::{
    Duplex, ExecOptions, LogChunks, LogOptions, PodContainer, PodName, PodStreams, SessionEnd, Stdio, StreamError,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// Whose name says what they may have of the node: `get:stats`.
struct ByName;

#[async_trait]
impl Access for ByName {
    async fn token(&self, token: &str) -> Result<Option<User>, AccessError> {
        Ok(token.strip_prefix("good-").map(|name| User::new(name, ["some"])))
    }

    async fn may(&self, user: &User, right: NodeRight<'_>) -> Result<bool, AccessError> {
        Ok(user.name == "admin" || user.name == format!("{}:{}", right.verb, right.subresource))
    }
}

struct OnePod;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn pod() -> Value {
    json!({
        "metadata": {"namespace": "a", "name": "web", "uid": "u"},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]},
    })
}

#[async_trait]
impl Agent for OnePod {
    fn pods(&self) -> Vec<Value> {
        vec![pod()]
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        ((namespace, name) == ("a", "web")).then(pod)
    }

    async fn running_pods(&self) -> Result<Vec<Value>, AgentError> {
        Err(AgentError("the runtime is away".to_owned()))
    }

    async fn usage(&self, parts: Parts) -> Result<NodeUsage, AgentError> {
        let rate = Some(Rate { nano_cores: 500_000_000, window: Duration::from_secs(15) });
        let cpu = Some(Cpu { at: at(100), total: 1_500_000_000, rate });
        let memory = Some(Memory { at: at(100), usage: 4096, working_set: 3072, rss: 2048, ..Memory::default() });
        let disk = Filesystem { at: at(100), used: 512, capacity: 1 << 20, ..Filesystem::default() };
        let layer = (parts == Parts::All).then_some(disk);
        let eth0 = Interface { name: "eth0".to_owned(), received: 10, sent: 20, ..Interface::default() };
        let container = ContainerUsage {
            name: "c".to_owned(),
            id: "id".to_owned(),
            image: "busybox \"1\"".to_owned(),
            since: at(50),
            cpu,
            memory,
            layer,
            logs: layer,
            ..ContainerUsage::default()
        };
        let pod = PodUsage {
            namespace: "a".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            since: at(40),
            cpu,
            memory,
            network: Some(Network { at: at(100), interfaces: vec![eth0] }),
            processes: Some(2),
            containers: vec![container],
        };
        Ok(NodeUsage {
            node: "n".to_owned(),
            since: at(10),
            cpu,
            memory,
            processes: Some(Processes { at: at(100), most: 1000, running: 7 }),
            cpus: 4,
            memory_bytes: 1 << 30,
            pods: vec![pod],
            ..NodeUsage::default()
        })
    }

    fn probes(&self) -> Vec<ProbeCount> {
        let [namespace, pod, uid, container] = ["a", "web", "u", "c"].map(str::to_owned);
        vec![ProbeCount { namespace, pod, uid, container, kind: "Liveness", successful: 3, failed: 0 }]
    }

    fn configuration(&self) -> Value {
        json!({"port": 10250})
    }

    async fn is_well(&self) -> Result<(), AgentError> {
        Ok(())
    }
}

/// `false` fails, everything else says itself.
struct Echo;

#[async_trait]
impl PodStreams for Echo {
    async fn exec(&self, _: &PodContainer, options: ExecOptions, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        let mut stdout = stdio.stdout.unwrap();
        stdout.write_all(options.command.join("|").as_bytes()).await.unwrap();
        Ok(SessionEnd::Exited(i32::from(options.command == ["false"])))
    }

    async fn attach(&self, _: &PodContainer, _: Stdio) -> Result<SessionEnd, StreamError> {
        Ok(SessionEnd::Exited(0))
    }

    async fn logs(&self, at: &PodContainer, options: LogOptions) -> Result<LogChunks, StreamError> {
        let line = format!("{} {:?} {:?}\n", at.container, options.tail_lines, options.since);
        Ok(Box::pin(futures::stream::iter([Ok(line.into())])))
    }

    async fn port_forward(&self, _: &PodName, _: u16, _: Duplex) -> Result<(), StreamError> {
        Ok(())
    }
}

/// Asks, as the user that a certificate or a token says; the status and the text of the answer.
async fn ask(method: &str, path: &str, certificate: Option<&str>, token: Option<&str>) -> (u16, String) {
    let (agent, streams, access) = (Arc::new(OnePod), Arc::new(Echo), Arc::new(ByName));
    let api = KubeletApi::new(Config { agent, streams, access, clock: || at(1000) });
    let certificate = certificate.map(|name| Arc::new(User::new(name, ["some"])));
    let peer = Peer::Tls { address: "127.0.0.1:1".parse().unwrap(), certificate };
    let mut request = Request::new(body::empty());
    *request.method_mut() = method.parse::<Method>().unwrap();
    *request.uri_mut() = path.parse().unwrap();
    let token = token.map(|token| format!("Bearer {token}").parse().unwrap());
    request.headers_mut().extend(token.map(|token| (AUTHORIZATION, token)));
    let response = api.call(request, Connection::detached(peer)).await;
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

async fn as_admin(method: &str, path: &str) -> (u16, String) {
    ask(method, path, Some("admin"), None).await
}

#[tokio::test]
async fn nobody_gets_more_than_their_right() {
    let endpoints = [
        ("GET", "/healthz", "get:healthz"),
        ("GET", "/pods", "get:pods"),
        ("GET", "/stats/summary", "get:stats"),
        ("GET", "/metrics", "get:metrics"),
        ("GET", "/metrics/resource", "get:metrics"),
        ("GET", "/metrics/cadvisor", "get:metrics"),
        ("GET", "/metrics/probes", "get:metrics"),
        ("GET", "/configz", "get:configz"),
        ("GET", "/containerLogs/a/web/c", "get:proxy"),
        ("POST", "/run/a/web/c?cmd=ls", "create:proxy"),
    ];
    for (method, path, right) in endpoints {
        let user = |name| ask(method, path, Some(name), None);
        assert_eq!(user(right).await.0, 200, "{path} with {right}");
        assert_eq!(user("admin").await.0, 200, "{path}");
        let other = if right == "get:metrics" { "get:stats" } else { "get:metrics" };
        let (status, words) = user(other).await;
        assert_eq!(status, 403, "{path} with {other}");
        assert!(words.starts_with(&format!("Forbidden (user={other}, verb=")), "{words}");
        assert_eq!(ask(method, path, None, None).await, (401, "Unauthorized".to_owned()), "{path}");
        assert_eq!(ask(method, path, None, Some("bad")).await.0, 401, "{path}");
        assert_eq!(ask(method, path, None, Some(&format!("good-{right}"))).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn the_coarse_right_is_enough_where_there_is_a_fine_one() {
    for path in ["/healthz", "/pods", "/configz"] {
        assert_eq!(ask("GET", path, Some("get:proxy"), None).await.0, 200, "{path}");
    }
    assert_eq!(ask("GET", "/stats/summary", Some("get:proxy"), None).await.0, 403);
}

#[tokio::test]
async fn who_may_only_read_gets_no_shell() {
    for path in ["/exec/a/web/c?command=sh&output=1", "/attach/a/web/c?output=1", "/portForward/a/web?port=80"] {
        assert_eq!(ask("GET", path, Some("get:proxy"), None).await.0, 403, "{path}");
        // Let in, but it is no upgrade.
        assert_eq!(ask("GET", path, Some("create:proxy"), None).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn requests_are_refused_in_the_kubelets_words() {
    for (method, path, expected) in [
        ("GET", "/nothing", (404, "404 page not found\n")),
        ("POST", "/pods", (405, "405: Method Not Allowed")),
        ("GET", "/logs/syslog", (405, "logs endpoint is disabled.\n")),
        ("GET", "/debug/pprof/heap", (405, "profiling endpoint is disabled.\n")),
        ("GET", "/containerLogs/a/gone/c", (404, "pod \"gone\" does not exist")),
        ("GET", "/containerLogs/a/web/x", (404, "container \"x\" not found in pod \"web\"")),
        ("GET", "/containerLogs/a/web/c?tailLines=x", (400, "{\"message\": \"Unable to decode query.\"}")),
        ("GET", "/containerLogs/a/web/c?tailLines=-1", (422, "{\"message\": \"Invalid request.\"}")),
        ("POST", "/exec/a/web/c?command=ls", (400, "you must specify at least 1 of stdin, stdout, stderr")),
        ("POST", "/exec/a/gone/c?command=ls&output=1", (404, "pod does not exist")),
        ("POST", "/exec/a/web/other-uid/c?command=ls&output=1", (404, "pod not found")),
        ("POST", "/exec/a/web/c?command=ls&output=1", (400, "Upgrade request required")),
        ("POST", "/checkpoint/a/gone/c", (404, "pod does not exist")),
        ("POST", "/checkpoint/a/web/x", (404, "container x does not exist")),
        ("GET", "/runningpods/", (500, "the runtime is away")),
    ] {
        let (status, words) = as_admin(method, path).await;
        assert_eq!((status, words.as_str()), expected, "{method} {path}");
    }
    let (status, words) = as_admin("POST", "/checkpoint/a/web/c").await;
    assert_eq!(status, 500);
    assert!(words.starts_with("checkpointing of a/web/c failed (") && words.contains("Unimplemented"), "{words}");
}

#[tokio::test]
async fn logs_and_commands_come_from_the_node() {
    let logs = async |query: &str| as_admin("GET", &format!("/containerLogs/a/web/c{query}")).await.1;
    assert_eq!(logs("").await, "c None None\n");
    assert_eq!(logs("?tailLines=5&sinceSeconds=1000").await, "c Some(5) Some(0)\n");
    assert_eq!(logs("?tail=7").await, "c Some(7) None\n");
    assert_eq!(logs("?tail=all&tailLines=3").await, "c None None\n");
    assert_eq!(as_admin("POST", "/run/a/web/c?cmd=ls%20-l").await, (200, "ls|-l".to_owned()));
    assert_eq!(as_admin("POST", "/run/a/web/c?cmd=false").await, (500, "command exited with 1: false".to_owned()));
}

#[tokio::test]
async fn the_summary_has_what_was_asked_for() {
    let summary = async |query: &str| -> Value {
        serde_json::from_str(&as_admin("GET", &format!("/stats/summary{query}")).await.1).unwrap()
    };
    let all = summary("").await;
    let pod = &all["pods"][0];
    assert_eq!(pod["podRef"], json!({"name": "web", "namespace": "a", "uid": "u"}));
    let cpu =
        json!({"time": "1970-01-01T00:01:40Z", "usageNanoCores": 500_000_000, "usageCoreNanoSeconds": 1_500_000_000});
    assert_eq!(pod["containers"][0]["cpu"], cpu);
    assert_eq!(pod["containers"][0]["memory"]["workingSetBytes"], 3072);
    assert_eq!(pod["containers"][0]["memory"].get("availableBytes"), None);
    assert_eq!(pod["network"]["txBytes"], 20);
    assert_eq!(pod["network"]["interfaces"][0]["name"], "eth0");
    assert_eq!(pod["ephemeral-storage"]["usedBytes"], 1024);
    assert_eq!(all["node"]["rlimit"]["curproc"], 7);
    let less = summary("?only_cpu_and_memory=true").await;
    assert_eq!(less["pods"][0]["cpu"], pod["cpu"]);
    assert_eq!((less["pods"][0].get("network"), less["pods"][0]["containers"][0].get("rootfs")), (None, None));
}

#[tokio::test]
async fn metrics_have_upstreams_names_and_labels() {
    let resource = as_admin("GET", "/metrics/resource").await.1;
    for line in [
        "# TYPE node_cpu_usage_seconds_total counter",
        "node_cpu_usage_seconds_total 1.5 100000",
        "pod_memory_working_set_bytes{namespace=\"a\",pod=\"web\"} 3072 100000",
        "container_cpu_usage_seconds_total{container=\"c\",namespace=\"a\",pod=\"web\"} 1.5 100000",
        "container_start_time_seconds{container=\"c\",namespace=\"a\",pod=\"web\"} 50",
        "resource_scrape_error 0",
    ] {
        assert!(resource.lines().any(|told| told == line), "{line} is not in\n{resource}");
    }
    let cadvisor = as_admin("GET", "/metrics/cadvisor").await.1;
    let of_container =
        "container=\"c\",id=\"/kubepods/podu/id\",image=\"busybox \\\"1\\\"\",name=\"id\",namespace=\"a\",pod=\"web\"";
    let of_pod = "container=\"\",id=\"/kubepods/podu\",image=\"\",name=\"\",namespace=\"a\",pod=\"web\"";
    for line in [
        format!("container_cpu_usage_seconds_total{{{of_container},cpu=\"total\"}} 1.5 100000"),
        format!("container_memory_working_set_bytes{{{of_pod}}} 3072 100000"),
        format!("container_network_receive_bytes_total{{{of_pod},interface=\"eth0\"}} 10 100000"),
        format!("container_fs_usage_bytes{{{of_container},device=\"\"}} 512 100000"),
        "machine_cpu_cores 4".to_owned(),
    ] {
        assert!(cadvisor.lines().any(|told| told == line), "{line} is not in\n{cadvisor}");
    }
    let probes = as_admin("GET", "/metrics/probes").await.1;
    let line = "prober_probe_total{container=\"c\",namespace=\"a\",pod=\"web\",pod_uid=\"u\",probe_type=\"Liveness\",result=\"successful\"} 3";
    assert!(probes.lines().any(|told| told == line), "{probes}");
    let own = as_admin("GET", "/metrics").await.1;
    assert!(own.contains("kubelet_running_pods 1\n") && own.contains("kubelet_node_name{node=\"n\"} 1\n"), "{own}");
    let inflight = "kubelet_http_inflight_requests{method=\"GET\",path=\"metrics\",server_type=\"readwrite\",long_running=\"false\"} 1";
    assert!(own.lines().any(|told| told == inflight), "{own}");
}
