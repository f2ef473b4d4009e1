//! A whole cluster in one process, without root: the real API server on the memory store, the real controllers, the real
//! node agent on the fake runtime, joined by in-memory connections. Time is paused.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use remora_apiserver::flow::DEFAULT_MAX_IN_FLIGHT;
use remora_apiserver::{ApiServer, Config, Nodes};
use remora_controllers::{Account, Clients, Settings};
use remora_http::pki::ServerNames;
use remora_http::{MemoryConnectors, Pki, Server, User, memory};
use remora_node::{Dns, Inspector, Node, PlainFolders, StaticPods};
use remora_rules::pod::static_pod;
use remora_store::memory::MemoryEngine;
use remora_streaming::PodStreams;
use remora_testkit::{FakeRuntime, ephemeral_patch, paused_clock};
use serde_json::Value;

const NODE: &str = "anchor";
/// Paused time: long waits cost nothing, and a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(3600);

/// As the daemon does.
fn read_manifest(bytes: &[u8], path: &Path) -> Result<Pod, String> {
    let read = static_pod::read(bytes, &path.to_string_lossy(), NODE, jiff::Timestamp::UNIX_EPOCH)?;
    Ok(serde_json::from_value(read.pod).unwrap())
}

/// The streams of whichever node agent runs now.
#[derive(Default)]
struct OneNode(OnceLock<Arc<dyn PodStreams>>);

impl Nodes for OneNode {
    fn streams_for(&self, node: &str) -> Option<Arc<dyn PodStreams>> {
        self.0.get().filter(|_| node == NODE).cloned()
    }
}

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) runtime: FakeRuntime,
    pub(crate) client: Client,
    connectors: MemoryConnectors,
    folder: tempfile::TempDir,
    nodes: Arc<OneNode>,
    node: Option<Node>,
    clock: remora_node::Clock,
}

impl Cluster {
    /// With a node that is ready.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ServerNames::api_server(NODE, []);
        let pki = Pki::open_or_create(&folder.path().join("pki"), &names, SystemTime::now()).unwrap();
        let authority_pem = "the authority's certificate".to_owned();
        let store = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
        let nodes = Arc::new(OneNode::default());
        let api = ApiServer::new(Config {
            store,
            nodes: nodes.clone(),
            key: Arc::new(pki),
            audit: None,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
        });
        api.prepare().await.unwrap();
        let (listener, connectors) = memory::listener();
        let server = Server::new(api.clone()).memory(listener);
        tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
        let client = client(&connectors, "kubernetes-admin", &["system:masters"]);
        let clients = Clients::connect(|account: Account| client_of(&connectors, &account));
        let volumes = folder.path().join("volumes").display().to_string();
        let settings = Settings { host: NODE.to_owned(), authority_pem, volumes };
        tokio::spawn(remora_controllers::run(clients, settings));
        let clock = paused_clock();
        let runtime = FakeRuntime::new(clock.clone());
        let mut cluster = Self { runtime, client, connectors, folder, nodes, node: None, clock };
        cluster.start_node().await;
        cluster.default_account().await;
        cluster
    }

    /// Starts a node agent over the same folders and the same runtime.
    pub(crate) async fn start_node(&mut self) {
        let name = format!("system:node:{NODE}");
        let config = remora_node::Config {
            node_name: NODE.to_owned(),
            node_ips: vec!["10.0.0.1".parse().unwrap()],
            root: self.folder.path().join("node"),
            logs: self.folder.path().join("logs"),
            cgroup_root: "/remora".to_owned(),
            seccomp_default: false,
            pod_pids_limit: None,
            debug_limits: Default::default(),
            static_pods: Some(StaticPods { folder: self.manifests(), read: Arc::new(read_manifest) }),
            log_limits: Default::default(),
            dns: Dns::default(),
            kubernetes_service: None,
            kubelet_port: None,
            client: client(&self.connectors, &name, &["system:nodes"]),
            runtime: Arc::new(self.runtime.clone()),
            images: Arc::new(self.runtime.clone()),
            streams: Arc::new(self.runtime.clone()),
            clock: self.clock.clone(),
        };
        let node = Node::start_with(config, Arc::new(PlainFolders)).await.unwrap();
        // The first node's streams stay: tests of sessions do not restart it.
        let _first_only = self.nodes.0.set(node.streams());
        self.node = Some(node);
    }

    /// What the node tells.
    pub(crate) fn inspector(&self) -> Inspector {
        self.node.as_ref().unwrap().inspector()
    }

    /// Where the node agent keeps volumes and logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the node agent; containers go on.
    pub(crate) async fn stop_node(&mut self) {
        self.node.take().unwrap().shutdown().await;
    }

    /// Where the manifests of static pods are.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create(&self, pod: Value) -> Pod {
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// Adds ephemeral containers, as kubectl does.
    pub(crate) async fn debug(&self, pod: &str, containers: &[Value]) {
        let patch = Patch::Strategic(ephemeral_patch(containers));
        self.pods().patch_ephemeral_containers(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, pod: &str, grace: u32) {
        self.pods().delete(pod, &DeleteParams::default().grace_period(grace)).await.unwrap();
    }

    /// Waits until the pod is as wanted; its JSON then.
    pub(crate) async fn until(&self, pod: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let (api, fields) = (self.pods(), format!("metadata.name={pod}"));
        let seen = std::sync::Mutex::new(Value::Null);
        let wait = async {
            let list = api.list(&ListParams::default().fields(&fields)).await.unwrap();
            let mut revision = list.metadata.resource_version.unwrap();
            let mut now = list.items.into_iter().next().map(|p| serde_json::to_value(p).unwrap());
            loop {
                if let Some(now) = now.take() {
                    *seen.lock().unwrap() = now.clone();
                    if is(&now) {
                        return now;
                    }
                }
                let params = WatchParams::default().fields(&fields);
                let mut stream = std::pin::pin!(api.watch(&params, &revision).await.unwrap());
                while let Some(event) = stream.try_next().await.unwrap() {
                    if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event {
                        revision = pod.metadata.resource_version.clone().unwrap();
                        let value = serde_json::to_value(pod).unwrap();
                        *seen.lock().unwrap() = value.clone();
                        if is(&value) {
                            return value;
                        }
                    }
                }
            }
        };
        let done = tokio::time::timeout(PATIENCE, wait).await;
        done.unwrap_or_else(|_| panic!("never {what}; last seen: {:#}", seen.lock().unwrap()["status"]))
    }

    pub(crate) async fn until_phase(&self, pod: &str, phase: &str) -> Value {
        self.until(pod, phase, |p| p["status"]["phase"] == phase).await
    }

    pub(crate) async fn until_ready(&self, pod: &str) -> Value {
        self.until(pod, "ready", |p| condition(p, "Ready") == "True").await
    }

    /// Waits until a container is in a state (`running`, `waiting`, `terminated`); that state.
    pub(crate) async fn until_state(&self, pod: &str, container: &str, state: &str) -> Value {
        let seen = self.until(pod, state, |p| status_of(p, container)["state"].get(state).is_some()).await;
        status_of(&seen, container)["state"][state].clone()
    }

    pub(crate) async fn until_gone(&self, pod: &str) {
        let api = self.pods();
        wait_for("gone", || async { api.get_opt(pod).await.unwrap().is_none() }).await;
    }

    /// Reasons and messages of the pod's events, oldest first, once there are at least so many.
    pub(crate) async fn events(&self, pod: &str, at_least: usize) -> Vec<(String, String, Option<String>)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let params = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        wait_for("enough events", || async { api.list(&params).await.unwrap().items.len() >= at_least }).await;
        let mut items = api.list(&params).await.unwrap().items;
        items.sort_by_key(|e| e.metadata.resource_version.as_ref().and_then(|r| r.parse::<u64>().ok()));
        let row =
            |e: Event| (e.reason.unwrap_or_default(), e.message.unwrap_or_default(), e.involved_object.field_path);
        items.into_iter().map(row).collect()
    }

    async fn default_account(&self) {
        let api: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(self.client.clone(), "default");
        wait_for("a default account", || async { api.get_opt("default").await.unwrap().is_some() }).await;
    }
}

/// Looks again and again, on paused time: for tests only, where nobody pays for it.
pub(crate) async fn wait_for<F: Future<Output = bool>>(what: &str, is: impl Fn() -> F) {
    for _ in 0..10_000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {what}");
}

/// A condition's status.
pub(crate) fn condition(pod: &Value, name: &str) -> String {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == name);
    found.and_then(|c| c["status"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// A container's status, whatever list it stands in.
pub(crate) fn status_of(pod: &Value, container: &str) -> Value {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let all = lists.iter().flat_map(|list| pod["status"][list].as_array().cloned().unwrap_or_default());
    all.into_iter().find(|s| s["name"] == container).unwrap_or_default()
}

fn client_of(connectors: &MemoryConnectors, account: &Account) -> Client {
    client(connectors, account.user, account.groups)
}

fn client(connectors: &MemoryConnectors, user: &str, groups: &[&str]) -> Client {
    let user = User::new(user, groups.iter().copied().chain(["system:authenticated"]));
    Client::new(connectors.connector(user).client::<kube::client::Body>(), "default")
}
