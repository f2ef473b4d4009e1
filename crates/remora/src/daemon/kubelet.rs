//! The node's own HTTP API: joined with the agent, served in memory to the API server of this process, and at a port if that was asked for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use remora_http::{MemoryConnector, Server, TlsListener, User, memory};
use remora_kubelet_api::{Agent, AgentError, ApiAccess, Config, KubeletApi, Parts, ProbeCount, limits};
use remora_model::usage::NodeUsage;
use remora_node::{Extent, Inspector, Node, ProbeTally};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::Stop;

/// How long open sessions get to finish when the daemon ends.
const GRACE: Duration = Duration::from_secs(2);
/// What kubeadm calls the user as whom an API server asks kubelets.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// The API, which is being served.
pub(crate) struct Kubelet {
    connector: MemoryConnector,
    closing: Stop,
    serving: JoinHandle<()>,
}

impl Kubelet {
    /// Serves what the agent tells. `client` is the agent's own.
    pub(crate) fn serve(name: &str, node: &Node, client: kube::Client, listener: Option<TlsListener>) -> Kubelet {
        let api = KubeletApi::new(Config {
            agent: Arc::new(Told(node.inspector())),
            streams: node.streams(),
            access: Arc::new(ApiAccess::new(client, name)),
            clock: Timestamp::now,
        });
        let (memory_listener, connectors) = memory::listener();
        let connector = connectors.connector(User::new(API_SERVER, ["system:masters"]));
        let server = Server::new(api).limits(limits()).memory(memory_listener);
        let server = listener.into_iter().fold(server, Server::tls);
        let closing = Stop::new();
        let asked = closing.clone();
        let serving = tokio::spawn(async move {
            let ending = server.serve(async move { asked.asked().await }, GRACE).await;
            tracing::debug!(?ending, "the node's own API has ended");
        });
        Kubelet { connector, closing, serving }
    }

    /// The way of the API server.
    pub(crate) fn connector(&self) -> MemoryConnector {
        self.connector.clone()
    }

    /// Finishes or cuts what is open.
    pub(crate) async fn close(self) {
        self.closing.ask();
        if let Err(error) = self.serving.await
            && error.is_panic()
        {
            tracing::error!(%error, "the node's own API ended badly");
        }
    }
}

/// What the agent tells, in the API's words.
struct Told(Inspector);

fn failed(error: impl std::fmt::Display) -> AgentError {
    AgentError(error.to_string())
}

#[async_trait]
impl Agent for Told {
    fn pods(&self) -> Vec<Value> {
        self.0.pods()
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.0.pod(namespace, name)
    }

    async fn running_pods(&self) -> Result<Vec<Value>, AgentError> {
        self.0.running_pods().await.map_err(failed)
    }

    async fn usage(&self, parts: Parts) -> Result<NodeUsage, AgentError> {
        let extent = match parts {
            Parts::CpuAndMemory => Extent::CpuAndMemory,
            Parts::All => Extent::All,
        };
        self.0.usage(extent).await.map_err(failed)
    }

    fn probes(&self) -> Vec<ProbeCount> {
        let count = |tally: ProbeTally| {
            let ProbeTally { namespace, pod, uid, container, kind, successful, failed } = tally;
            ProbeCount { namespace, pod, uid, container, kind, successful, failed }
        };
        self.0.probes().into_iter().map(count).collect()
    }

    fn configuration(&self) -> Value {
        self.0.configuration()
    }

    async fn is_well(&self) -> Result<(), AgentError> {
        self.0.is_well().await.map_err(failed)
    }
}
