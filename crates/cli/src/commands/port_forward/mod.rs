//! `remora port-forward`
//!
//! Each local connection has a WebSocket of its own to the API server: none can end another, and a connection that comes after a restart
//! of the pod, the node or the API server is simply a new one.

mod carry;
mod ports;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::ports::Wanted;
use self::target::Target;
use crate::cluster::Cluster;
use crate::output::{print_line, print_note};
use crate::{ClusterArgs, CommandError, terminal};

/// Arguments of `remora port-forward`. It goes on until it is told to end.
#[derive(Debug, Args)]
pub struct PortForwardArgs {
    /// The pod, or what has pods: web, deploy/web, svc/web. If several run, one is taken; if that one goes, another.
    target: String,
    /// Where to listen, and where to connect to: LOCAL:REMOTE, REMOTE for the same port, :REMOTE for any free one. REMOTE is a number or
    /// the name of a port; of a service, its own.
    #[arg(required = true, value_name = "[LOCAL:]REMOTE", value_parser = ports::parse)]
    ports: Vec<Wanted>,
    /// The local address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: PortForwardArgs) -> Result<ExitCode, CommandError> {
    let cluster = Cluster::connect(cluster).await?;
    let target = Target::parse(&args.target)?;
    let found = target.find(&cluster).await?;
    let forward = Arc::new(Forward { cluster, target });
    let mut listening = JoinSet::new();
    for wanted in args.ports {
        let remote = found.port(&wanted.remote)?;
        let address = SocketAddr::new(args.address, wanted.local.unwrap_or(remote));
        let cannot = |error: std::io::Error| CommandError::caused(format_args!("listening on {address}"), &error);
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        print_line(format_args!("Forwarding from {} -> {remote}", listener.local_addr().map_err(cannot)?));
        listening.spawn(Arc::clone(&forward).listen(listener, wanted));
    }
    tokio::select! {
        // Both end all that goes on.
        Some(ended) = listening.join_next() => match ended {
            Ok(error) => Err(CommandError::caused("accepting connections", &error)),
            Err(error) => Err(CommandError::caused("accepting connections", &error)),
        },
        () = terminal::told_to_end() => Ok(ExitCode::SUCCESS),
    }
}

/// What connections are carried to.
struct Forward {
    cluster: Cluster,
    target: Target,
}

impl Forward {
    /// Takes connections until the listener breaks. Each ends alone.
    async fn listen(self: Arc<Self>, listener: TcpListener, wanted: Wanted) -> std::io::Error {
        let mut carried = JoinSet::new();
        loop {
            // Both arms are cancel-safe by tokio's documentation.
            let local = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((local, _)) => local,
                    Err(error) => return error,
                },
                Some(_ended) = carried.join_next() => continue,
            };
            let (forward, wanted) = (Arc::clone(&self), wanted.clone());
            carried.spawn(async move {
                if let Err(error) = forward.carry(local, &wanted).await {
                    print_note(format_args!("a connection to {} failed: {}", wanted.remote, error.message));
                }
            });
        }
    }

    async fn carry(&self, local: TcpStream, wanted: &Wanted) -> Result<(), CommandError> {
        let found = self.target.find(&self.cluster).await?;
        let port = found.port(&wanted.remote)?;
        let pods: Api<Pod> = self.cluster.api();
        let mut remote: Portforwarder = pods.portforward(found.pod_name(), &[port]).await?;
        let ended = carry::carry(local, &mut remote, port).await;
        remote.abort();
        ended
    }
}
