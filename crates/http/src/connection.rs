//! A connection as handlers see it: who is at the other end, and how work for it that outlives a response is tied to the
//! server's end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::User;
use crate::shutdown::Shutdown;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client over TLS.
    Tls {
        /// Where it calls from.
        address: SocketAddr,
        /// From its certificate (common name and organizations), which our authority has signed; none if it showed none.
        certificate: Option<Arc<User>>,
    },
    /// A part of this process, over a connector made for this user.
    Memory {
        /// The connector's user.
        user: Arc<User>,
    },
}

/// One connection. Every request of it is handed the same one. While it is held, it counts against
/// [`Limits::connections`](crate::Limits::connections): an upgraded session keeps it.
#[derive(Debug)]
pub struct Connection {
    pub(crate) peer: Peer,
    pub(crate) shutdown: Shutdown,
    pub(crate) cut: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// A connection that no server stands behind, for calling a handler directly.
    pub fn detached(peer: Peer) -> Arc<Self> {
        Arc::new(Self {
            peer,
            shutdown: Shutdown::default(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _permit: None,
        })
    }

    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The user that the connection itself proves: by certificate or by connector. Tokens are the handler's business.
    pub fn user(&self) -> Option<&Arc<User>> {
        match &self.peer {
            Peer::Tls { certificate, .. } => certificate.as_ref(),
            Peer::Memory { user } => Some(user),
        }
    }

    /// The client's address; none for a part of this process.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.peer {
            Peer::Tls { address, .. } => Some(*address),
            Peer::Memory { .. } => None,
        }
    }

    /// When long answers must end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `work` on a task that outlives the request: an upgraded session, a write that must be completed. The server's
    /// shutdown waits for it within its bound, then drops it.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let connection = Arc::clone(self);
        self.tasks.spawn(async move {
            connection.cut.run_until_cancelled(work).await;
        });
    }
}
