//! An API server over the memory engine, called directly: no socket, no TLS. The test stands in for controllers and node.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use remora_apiserver::audit::Auditor;
use remora_apiserver::flow::DEFAULT_MAX_IN_FLIGHT;
use remora_apiserver::{ApiServer, Config, FixedNodes};
use remora_http::pki::ServerNames;
use remora_http::{Body, Connection, Handler, Peer, Pki, User, body};
use remora_store::Store;
use remora_store::memory::MemoryEngine;
use remora_streaming::{
    Duplex, ExecOptions, LogChunks, LogOptions, PodContainer, PodName, PodStreams, SessionEnd, Stdio, StreamError,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// The node of the tests.
pub const NODE: &str = "anchor";

/// A pod whose log makes the handler panic.
pub const PANICS: &str = "panics";

/// A pod whose log never begins.
pub const HANGS: &str = "hangs";

/// An API server and who calls it.
#[derive(Clone)]
pub struct Server {
    pub api: ApiServer,
    pub store: Arc<dyn Store>,
    connection: Arc<Connection>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub code: StatusCode,
    pub body: Value,
    pub text: String,
    pub warning: Option<String>,
}

/// A request on its way.
pub struct Asked<'s> {
    server: &'s Server,
    builder: http::request::Builder,
    body: Option<Bytes>,
}

impl Server {
    /// With the system's namespaces, as admin.
    pub async fn start() -> Self {
        Self::start_with_clock(Timestamp::now).await
    }

    /// The same, for answers that depend on the time.
    pub async fn start_with_clock(clock: fn() -> Timestamp) -> Self {
        let store: Arc<dyn Store> = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
        Self::build(store, None, clock).await
    }

    pub async fn over(store: Arc<dyn Store>) -> Self {
        Self::build(store, None, Timestamp::now).await
    }

    /// The same, with an audit log.
    pub async fn audited(store: Arc<dyn Store>, audit: Option<Auditor>) -> Self {
        Self::build(store, audit, Timestamp::now).await
    }

    /// The same, with so few seats for requests.
    pub async fn with_seats(max_in_flight: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
        Self::build_with(store, None, Timestamp::now, max_in_flight).await
    }

    async fn build(store: Arc<dyn Store>, audit: Option<Auditor>, clock: fn() -> Timestamp) -> Self {
        Self::build_with(store, audit, clock, DEFAULT_MAX_IN_FLIGHT).await
    }

    async fn build_with(
        store: Arc<dyn Store>,
        audit: Option<Auditor>,
        clock: fn() -> Timestamp,
        max_in_flight: usize,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ServerNames::api_server(NODE, []);
        let pki = Pki::open_or_create(&folder.path().join("pki"), &names, SystemTime::now()).unwrap();
        let nodes = FixedNodes::new().with(NODE, Arc::new(FakeNode));
        let config =
            Config { store: Arc::clone(&store), nodes: Arc::new(nodes), key: Arc::new(pki), audit, max_in_flight };
        let api = ApiServer::with_clock(config, clock);
        api.prepare().await.unwrap();
        Self { api, store, connection: connection(User::new("kubernetes-admin", ["system:masters"])) }
    }

    /// The same server, called by another user.
    pub fn as_user(&self, user: User) -> Self {
        Self { connection: connection(user), ..self.clone() }
    }

    /// The same server, called by somebody with no certificate.
    pub fn as_nobody(&self) -> Self {
        let address = "127.0.0.1:1".parse().unwrap();
        Self { connection: Connection::detached(Peer::Tls { address, certificate: None }), ..self.clone() }
    }

    pub fn ask(&self, method: &str, path: &str) -> Asked<'_> {
        let method: Method = method.parse().unwrap();
        Asked { server: self, builder: Request::builder().method(method).uri(path), body: None }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path).send().await.ok()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path).json(&body).send().await.ok()
    }

    /// A namespace with its default service account, as the controllers make it.
    pub async fn namespace(&self, name: &str) {
        self.post("/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
        self.service_account(name).await;
    }

    pub async fn service_account(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.post(&path, json!({"metadata": {"name": "default"}})).await;
    }

    /// A pod, bound to the node of the tests.
    pub async fn bound_pod(&self, namespace: &str, name: &str) -> Value {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let spec = json!({"nodeName": NODE, "containers": [{"name": name, "image": "busybox"}]});
        self.post(&path, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    /// The lines of a watch.
    pub async fn watch(&self, path: &str) -> Lines {
        let response = self.ask("GET", path).raw().await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Lines::of(response)
    }
}

fn connection(user: User) -> Arc<Connection> {
    Connection::detached(Peer::Memory { user: Arc::new(user) })
}

impl Asked<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub fn merge(self, value: &Value) -> Self {
        self.body("application/merge-patch+json", value.to_string())
    }

    pub fn strategic(self, value: &Value) -> Self {
        self.body("application/strategic-merge-patch+json", value.to_string())
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    pub async fn raw(self) -> http::Response<Body> {
        let body = self.body.clone().map_or_else(body::empty, body::full);
        self.raw_with(body).await
    }

    /// With a body that need not be there as a whole.
    pub async fn raw_with(self, body: Body) -> http::Response<Body> {
        let request = self.builder.body(body).unwrap();
        self.server.api.call(request, Arc::clone(&self.server.connection)).await
    }

    pub async fn send(self) -> Answer {
        let response = self.raw().await;
        let code = response.status();
        let warnings: Vec<&str> = response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
        let warning = Some(warnings.join(", ")).filter(|all| !all.is_empty());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({"raw": text}));
        Answer { code, body, text, warning }
    }
}

impl Answer {
    /// The body of a success.
    pub fn ok(self) -> Value {
        assert!(self.code.is_success(), "{} {}", self.code, self.body);
        self.body
    }

    /// Code and message of a Status.
    pub fn refused(self) -> (u16, String) {
        (self.code.as_u16(), self.body["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// A watch, line by line.
pub struct Lines {
    body: Body,
    left: String,
}

impl Lines {
    /// Of a watch's answer.
    pub fn of(response: http::Response<Body>) -> Self {
        Self { body: response.into_body(), left: String::new() }
    }

    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.left.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.left = rest.to_owned();
                return Some(event);
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.left.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Type and name of the next event.
    pub async fn told(&mut self) -> String {
        let event = self.next().await.expect("the watch has ended");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

/// A node that echoes.
struct FakeNode;

#[async_trait]
impl PodStreams for FakeNode {
    async fn exec(&self, _: &PodContainer, options: ExecOptions, _: Stdio) -> Result<SessionEnd, StreamError> {
        Ok(SessionEnd::Exited(if options.command == ["true"] { 0 } else { 1 }))
    }

    async fn attach(&self, _: &PodContainer, _: Stdio) -> Result<SessionEnd, StreamError> {
        Ok(SessionEnd::Detached)
    }

    async fn logs(&self, at: &PodContainer, _: LogOptions) -> Result<LogChunks, StreamError> {
        assert_ne!(at.pod, PANICS, "as a fault of ours would");
        if at.pod == HANGS {
            std::future::pending::<()>().await;
        }
        let line = format!("log of {}/{}\n", at.pod, at.container);
        Ok(futures::stream::iter([Ok(Bytes::from(line))]).boxed())
    }

    async fn port_forward(&self, _: &PodName, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        let broken = |error: std::io::Error| StreamError::Internal(error.to_string());
        let Duplex { mut reader, mut writer } = duplex;
        writer.write_all(format!("port {port}\n").as_bytes()).await.map_err(broken)?;
        tokio::io::copy(&mut reader, &mut writer).await.map_err(broken)?;
        writer.shutdown().await.map_err(broken)
    }
}
