//! The API server's part of a daemon: keys, store, port, in-process clients.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use remora_apiserver::audit::Auditor;
use remora_apiserver::{ApiServer, Config, Meter, Nodes, TokenKey, compaction, service_address};
use remora_cli::control::SOCKET;
use remora_cli::kubeconfig::NodeAccess;
use remora_controllers::{Account, Clients};
use remora_http::pki::{ClientIdentity, ServerNames};
use remora_http::{MemoryConnector, MemoryConnectors, Pki, Server, TlsListener, User, memory};
use remora_model::usage::NodeUsage;
use remora_node::{Extent, Inspector, Node};
use remora_store::Store;
use remora_streaming::PodStreams;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Stop, own_address, quiet};
use crate::access;
use crate::control::{self, Control};
use crate::place::Place;

/// How long open requests get to finish when the daemon ends.
const GRACE: Duration = Duration::from_secs(2);
pub(crate) const PORTS_HINT: &str =
    "stop what listens there, or choose another address with --listen or --kubelet-listen";

/// Where is listened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// The API server.
    pub(crate) api: SocketAddr,
    /// The node's own API, if at all.
    pub(crate) kubelet: Option<SocketAddr>,
}

/// Keys, store and ports, before anything is served.
pub(crate) struct Prepared {
    admin: ClientIdentity,
    authority_pem: String,
    key: Pki,
    listener: TlsListener,
    store: Arc<dyn Store>,
    /// The port of the node's own API, if it is to have one.
    kubelet: Option<TlsListener>,
}

/// An API server that serves.
pub(crate) struct Api {
    admin: ClientIdentity,
    authority_pem: String,
    address: SocketAddr,
    connectors: MemoryConnectors,
    node: Arc<OneNode>,
    closing: Stop,
    audit: Option<Auditor>,
    tasks: Vec<JoinHandle<()>>,
}

impl Api {
    /// Opens the keys and takes the port, to serve what is in `store`; fails early, before anything else is touched.
    pub(crate) async fn prepare(place: &Place, node: &str, listen: Listen, store: Arc<dyn Store>) -> Result<Prepared> {
        let Listen { api, kubelet } = listen;
        let listen_ip = api.ip().to_string();
        let service_ip = service_address().ip().to_string();
        let names = ServerNames::api_server(node, [listen_ip.as_str(), service_ip.as_str()]);
        let pki = Pki::open_or_create(&place.pki(), &names, SystemTime::now())?;
        let admin = pki.client("admin", "kubernetes-admin", "system:masters", SystemTime::now())?;
        let listener = TlsListener::bind(api, pki.tls()?).await?;
        let kubelet = match kubelet {
            None => None,
            Some(address) => {
                let addresses = [address.ip(), own_address()].map(|ip| ip.to_string());
                let names = ServerNames::node(node, addresses.iter().map(String::as_str));
                Some(TlsListener::bind(address, pki.node_tls(node, names, SystemTime::now())?).await?)
            }
        };
        let authority_pem = pki.authority_pem().to_owned();
        Ok(Prepared { admin, authority_pem, key: pki, listener, store, kubelet })
    }

    /// `https://ADDRESS`
    pub(crate) fn server(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What the admin's kubeconfig holds.
    pub(crate) fn access(&self) -> NodeAccess {
        NodeAccess {
            name: access::CONTEXT.to_owned(),
            server: self.server(),
            ca_pem: self.authority_pem.clone(),
            cert_pem: self.admin.certificate_pem.clone(),
            key_pem: self.admin.key_pem.clone(),
        }
    }

    /// A client with every right, as kube-apiserver's own loopback client has.
    pub(crate) fn loopback_client(&self) -> kube::Client {
        self.client("kube-apiserver", "system:apiserver", &["system:masters", "system:authenticated"])
    }

    /// The node agent's client.
    pub(crate) fn node_client(&self, name: &str) -> kube::Client {
        self.client("kubelet", &format!("system:node:{name}"), &["system:nodes", "system:authenticated"])
    }

    /// The clients of scheduler and controllers, each with its own account.
    pub(crate) fn controller_clients(&self) -> Clients {
        Clients::connect(|account| self.client_of(account))
    }

    /// The client of one of their accounts.
    pub(crate) fn client_of(&self, account: Account) -> kube::Client {
        let groups: Vec<&str> = account.groups.iter().copied().chain(["system:authenticated"]).collect();
        let is_scheduler = account.user == "system:kube-scheduler";
        let agent = if is_scheduler { "kube-scheduler" } else { "kube-controller-manager" };
        self.client(agent, account.user, &groups)
    }

    /// Our authority's certificate, as pods get it.
    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// `agent` is what upstream's part of the same task calls itself: it is the manager of what this one writes.
    fn client(&self, agent: &'static str, name: &str, groups: &[&str]) -> kube::Client {
        let user = User::new(name, groups.iter().copied());
        let client = self.connectors.connector(user).client::<kube::client::Body>().named(agent);
        kube::Client::new(client, "default")
    }

    /// From now on, exec, attach and logs of pods on this node are answered, what they use, and its own API.
    pub(crate) fn set_node(&self, name: &str, node: &Node, agent: MemoryConnector) {
        let meter = Arc::new(Measured(node.inspector()));
        let reached = Reached { name: name.to_owned(), streams: node.streams(), meter, agent };
        // Set once, by the one who starts the daemon.
        let _set_already = self.node.0.set(reached);
    }

    /// Finishes or cuts what is open.
    pub(crate) async fn close(self) {
        self.closing.ask();
        for task in self.tasks {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!(%error, "a server ended badly");
            }
        }
        if let Some(audit) = self.audit
            && tokio::time::timeout(GRACE, audit.flush()).await.is_err()
        {
            tracing::warn!("the audit log's disk is too slow: its last events are lost");
        }
    }
}

impl Prepared {
    /// The port of the node's own API, for whoever serves that.
    pub(crate) fn take_kubelet(&mut self) -> Option<TlsListener> {
        self.kubelet.take()
    }

    /// Where it will serve.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Serves the API on TLS and in memory, and the control socket.
    pub(crate) async fn serve(
        self,
        place: &Place,
        control: Control,
        audit: Option<Auditor>,
        max_in_flight: usize,
    ) -> Result<Api> {
        let (memory_listener, connectors) = memory::listener();
        let node = Arc::new(OneNode::default());
        let nodes: Arc<dyn Nodes> = node.clone();
        let (key, store) = (Arc::new(AccountKey(self.key)), Arc::clone(&self.store));
        let api = ApiServer::new(Config { store: self.store, nodes, key, audit: audit.clone(), max_in_flight });
        let address = self.listener.address();
        let prepared = async {
            api.prepare().await?;
            api.announce(address.port()).await
        };
        prepared.await.map_err(|status| {
            anyhow::anyhow!("making the system's namespaces, roles and service: {}", status.message)
        })?;
        let asked = Arc::new(Notify::new());
        let observer = Arc::new(quiet::Listener::before(api.observer(), Arc::clone(&asked)));
        let server = Server::new(api.clone()).observer(observer).tls(self.listener).memory(memory_listener);
        let closing = Stop::new();
        let mut tasks = serve_control(place, control, &closing)?;
        let giving_back = quiet::each_time(Arc::clone(&asked), async || {
            // Its failure would be a panic, which has been told, and costs no more than the memory.
            let _given = tokio::task::spawn_blocking(remora_sys::memory::give_back).await;
        });
        // What the start has used is not needed again.
        asked.notify_one();
        let (asked, also_asked) = (closing.clone(), closing.clone());
        tasks.push(tokio::spawn(async move {
            // A compaction is whole or has not happened.
            tokio::select! {
                () = compaction::run(store) => {}
                // Waits, and calls what is whole or has not happened.
                never = giving_back => match never {},
                () = also_asked.asked() => {}
            }
        }));
        tasks.push(tokio::spawn(async move {
            let ending = server.serve(async move { asked.asked().await }, GRACE).await;
            tracing::debug!(?ending, "the API server has ended");
        }));
        let (admin, authority_pem) = (self.admin, self.authority_pem);
        Ok(Api { admin, authority_pem, address, connectors, node, closing, audit, tasks })
    }
}

/// Listens on the control socket; what an earlier daemon left there is removed first (we hold the folder's lock).
fn serve_control(place: &Place, control: Control, closing: &Stop) -> Result<Vec<JoinHandle<()>>> {
    let path = place.run.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", path.display()));
        }
        _ => {}
    }
    let socket = remora_sys::socket::listen(&path).with_context(|| format!("listening on {}", path.display()))?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let (listener, connectors) = memory::listener();
    let root = connectors.connector(User::new("root", ["system:masters"]));
    let server = Server::new(control).memory(listener);
    let (asked, also_asked) = (closing.clone(), closing.clone());
    let serving = tokio::spawn(async move {
        server.serve(async move { asked.asked().await }, GRACE).await;
    });
    let passing = tokio::spawn(async move {
        // Dropping `pass_on` between two connections loses none that was accepted.
        tokio::select! {
            () = control::pass_on(socket, root) => {}
            () = also_asked.asked() => {}
        }
    });
    Ok(vec![serving, passing])
}

/// Signs service account tokens with the key on disk.
struct AccountKey(Pki);

impl TokenKey for AccountKey {
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.service_account_key().sign(message).ok()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.service_account_key().verify(message, signature)
    }

    fn digest(&self) -> [u8; 32] {
        self.0.service_account_key().digest()
    }
}

/// This process's node. The API server serves before the node agent runs.
#[derive(Default)]
struct OneNode(OnceLock<Reached>);

/// How it is reached.
struct Reached {
    name: String,
    streams: Arc<dyn PodStreams>,
    meter: Arc<Measured>,
    agent: MemoryConnector,
}

impl OneNode {
    fn of_name(&self, node: &str) -> Option<&Reached> {
        self.0.get().filter(|reached| reached.name == node)
    }
}

impl Nodes for OneNode {
    fn streams_for(&self, node: &str) -> Option<Arc<dyn PodStreams>> {
        self.of_name(node).map(|reached| Arc::clone(&reached.streams))
    }

    fn agent_of(&self, node: &str) -> Option<MemoryConnector> {
        self.of_name(node).map(|reached| reached.agent.clone())
    }

    fn meter_of(&self, node: &str) -> Option<Arc<dyn Meter>> {
        self.of_name(node).map(|reached| Arc::clone(&reached.meter) as Arc<dyn Meter>)
    }
}

/// What the node's agent measures.
struct Measured(Inspector);

impl Meter for Measured {
    fn usage(&self) -> BoxFuture<'_, Result<NodeUsage, String>> {
        Box::pin(async { self.0.usage(Extent::CpuAndMemory).await.map_err(|error| error.to_string()) })
    }
}
