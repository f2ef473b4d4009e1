//! A node in one process: joins store, API server, node agent, runtime and controllers, in the order in which they need
//! each other, and takes them apart again.
//!
//! ```text
//!  lock ─ store ─ keys ─ TLS port ─ images ─ network ─ runtime ─ API server ─ namespaces ─ node agent ─ controllers ─ Ready
//! ```
//! **Invariant:** what is started here leaves containers alone when it ends: only `remora down` ends them.

mod api;
mod audit;
mod kubelet;
mod quiet;
mod ready;
mod runtime;
mod runtime_classes;
mod stop;
mod vitals;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use remora_apiserver::service_address;
use remora_cli::kubeconfig::NodeAccess;
use remora_cli::{CommandError, UpArgs};
use remora_controllers::{Settings, election};
use remora_http::TlsListener;
use remora_network::ApiRoute;
use remora_node::{DebugLimits, Dns, KubernetesService, LogLimits, Node, StaticPods};
use remora_rules::pod::static_pod::{self, StaticPod};
use remora_sys::file::{FolderLock, lock_folder};
use tokio::task::JoinHandle;

pub(crate) use self::runtime::{Machine, MachineOptions};
pub(crate) use self::stop::Stop;
pub(crate) use self::vitals::Vitals;

use self::api::{Api, Listen, PORTS_HINT};
use self::kubelet::Kubelet;
use crate::access;
use crate::control::Control;
use crate::place::Place;
use crate::store;
use crate::up::plain;

/// A node that is ready.
pub(crate) struct Daemon {
    api: Api,
    node: Node,
    kubelet: Kubelet,
    controllers: JoinHandle<()>,
    machine: Machine,
    place: Place,
    name: String,
    merged: Option<String>,
    /// Held for as long as the daemon lives: a second one is refused.
    _lock: FolderLock,
}

impl Daemon {
    /// Starts everything and waits until the Node object is Ready. What fails leaves nothing behind but files.
    pub(crate) async fn start(args: &UpArgs, place: Place, libexec: &Path, stop: Stop) -> Result<Daemon, CommandError> {
        let lock = take_lock(&place)?;
        let name = node_name(args).map_err(plain)?;
        let audit = audit::open(args)?;
        let store = store::open(&place, &args.store).await?;
        let listen = Listen { api: args.listen, kubelet: args.kubelet_listen };
        let api = Api::prepare(&place, &name, listen, Arc::clone(&store));
        let mut api = api.await.map_err(bind_hint)?;
        let port = api.take_kubelet();
        let route = ApiRoute::to(service_address(), api.address());
        let machine = Machine::open(args, &place, libexec, route).await.map_err(plain)?;
        let joined = Joined { args, place: &place, name: &name, route };
        let vitals = joined.vitals(&machine, args.listen);
        let control = Control { images: machine.images(), stop, vitals, store };
        let api = api.serve(&place, control, audit, args.max_requests_inflight as usize).await.map_err(plain)?;
        let merged = joined.hand_out(&api.access()).map_err(plain)?;
        let (node, kubelet, controllers) = joined.start_agents(&api, &machine, port).await.map_err(plain)?;
        Ok(Daemon { api, node, kubelet, controllers, machine, place, name, merged, _lock: lock })
    }

    /// Three lines for who started it.
    pub(crate) fn next_steps(&self) -> Vec<String> {
        let kubeconfig = self.place.kubeconfig();
        let context = match &self.merged {
            Some(path) => {
                format!("  kubectl get nodes                      # context {} is in {path}", access::CONTEXT)
            }
            None => format!("  export KUBECONFIG={}      # or: remora up --merge", kubeconfig.display()),
        };
        vec![
            format!("Node {} is ready at {}.", self.name, self.api.server()),
            context,
            "  kubectl run web --image=nginx && kubectl debug -it web --image=busybox --target=web".to_owned(),
        ]
    }

    /// Ends the daemon; containers, terminals and sandboxes go on and are found again by the next one.
    pub(crate) async fn close(self) {
        self.controllers.abort();
        self.kubelet.close().await;
        self.node.shutdown().await;
        self.api.close().await;
        self.machine.close().await;
    }
}

/// What the later parts are joined with.
struct Joined<'a> {
    args: &'a UpArgs,
    place: &'a Place,
    name: &'a str,
    route: Option<ApiRoute>,
}

impl Joined<'_> {
    fn vitals(&self, machine: &Machine, listen: SocketAddr) -> Vitals {
        Vitals {
            node: self.name.to_owned(),
            server: format!("https://{listen}"),
            kubeconfig: self.place.kubeconfig(),
            runtime: machine.runtime(),
        }
    }

    /// Writes the admin's kubeconfig, and merges it where that was asked for.
    fn hand_out(&self, access: &NodeAccess) -> Result<Option<String>> {
        access::write(&self.place.kubeconfig(), access)?;
        let merged = self.args.merge.then(|| access::merge_into_home(access)).transpose()?;
        Ok(merged.map(|path| path.display().to_string()))
    }

    async fn start_agents(
        &self,
        api: &Api,
        machine: &Machine,
        port: Option<TlsListener>,
    ) -> Result<(Node, Kubelet, JoinHandle<()>)> {
        runtime_classes::offer(api.loopback_client(), machine.handlers()).await?;
        let volumes = self.place.volumes().display().to_string();
        let settings = Settings { host: self.name.to_owned(), authority_pem: api.authority_pem().to_owned(), volumes };
        let controllers = self.start_controllers(api, settings)?;
        let kubelet_port = port.as_ref().map(|port| port.address().port());
        let config = remora_node::Config { kubelet_port, ..self.node_config(api, machine)? };
        let node = Node::start(config).await.context("starting the node agent")?;
        let kubelet = Kubelet::serve(self.name, &node, api.node_client(self.name), port);
        api.set_node(self.name, &node, kubelet.connector());
        ready::wait(api.loopback_client(), self.name).await?;
        Ok((node, kubelet, controllers))
    }

    /// With an etcd other nodes may share the store: then one of them runs the controllers.
    fn start_controllers(&self, api: &Api, settings: Settings) -> Result<JoinHandle<()>> {
        let clients = api.controller_clients();
        let work = move || remora_controllers::run(clients.clone(), settings.clone());
        if self.args.store.store.is_none() {
            return Ok(tokio::spawn(async move { match work().await {} }));
        }
        let (client, me) = (api.client_of(election::ACCOUNT), format!("{}_{}", self.name, self.place.id()?));
        Ok(tokio::spawn(async move { match election::run(client, me, work).await {} }))
    }

    fn node_config(&self, api: &Api, machine: &Machine) -> Result<remora_node::Config> {
        Ok(remora_node::Config {
            node_name: self.name.to_owned(),
            node_ips: vec![own_address()],
            root: self.place.node(),
            logs: self.place.logs(),
            cgroup_root: format!("/{}", machine.cgroup_root()),
            seccomp_default: self.args.seccomp_default,
            pod_pids_limit: self.args.pod_pids_limit.0,
            static_pods: self.static_pods()?,
            log_limits: LogLimits {
                bytes: self.args.container_log_max_size.0,
                files: self.args.container_log_max_files,
            },
            debug_limits: DebugLimits { memory: self.args.debug_memory_limit.0, pids: self.args.debug_pids_limit.0 },
            dns: Dns { resolv_conf: Some("/etc/resolv.conf".into()), ..Dns::default() },
            // The API server listens on loopback unless asked otherwise: pods cannot reach it there.
            kubernetes_service: self
                .route
                .map(|route| KubernetesService { host: route.service.ip().to_string(), port: route.service.port() }),
            kubelet_port: None,
            client: api.node_client(self.name),
            runtime: machine.runtime(),
            images: machine.image_service(),
            streams: machine.streams(),
            clock: remora_node::system_clock(),
        })
    }

    /// What a manifest may be, the API's rules say; the node agent does not know them.
    fn static_pods(&self) -> Result<Option<StaticPods>> {
        let Some(folder) = &self.args.pod_manifest_path else { return Ok(None) };
        let folder = std::path::absolute(folder).context("--pod-manifest-path")?;
        let node = self.name.to_owned();
        let read = move |bytes: &[u8], path: &Path| {
            let StaticPod { pod, warnings } =
                static_pod::read(bytes, &path.to_string_lossy(), &node, Timestamp::now())?;
            for warning in warnings {
                tracing::warn!(file = %path.display(), warning, "a static pod");
            }
            serde_json::from_value(pod).map_err(|error| error.to_string())
        };
        Ok(Some(StaticPods { folder, read: Arc::new(read) }))
    }
}

fn take_lock(place: &Place) -> Result<FolderLock, CommandError> {
    let taken = lock_folder(&place.data)
        .map_err(|error| CommandError::caused(format_args!("locking {}", place.data.display()), &error))?;
    taken.ok_or_else(|| {
        CommandError::failed(format_args!("a node already runs in {}", place.data.display()))
            .hint("`remora status` shows it; `remora down` ends it; --data-dir and --run-dir name other folders")
    })
}

fn bind_hint(error: anyhow::Error) -> CommandError {
    let address = error.downcast_ref::<remora_http::BindError>().map(|error| error.address);
    let error = plain(error);
    match address {
        Some(address) => error.hint(format_args!("{address} is taken or not ours: {PORTS_HINT}")),
        None => error,
    }
}

/// As named, or this machine's host name, in lower case as Kubernetes wants it.
fn node_name(args: &UpArgs) -> Result<String> {
    let name = match &args.node_name {
        Some(name) => name.clone(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host's name")?,
    };
    Ok(name.trim().to_lowercase())
}

/// The address from which this machine would talk to others; loopback if it talks to nobody. Nothing is sent: connecting a
/// UDP socket only looks the route up (192.0.2.1 is TEST-NET-1, RFC 5737).
fn own_address() -> IpAddr {
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    routed.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
