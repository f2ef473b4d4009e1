//! Taking a connection over from HTTP: after a 101, both ends speak something else on the same bytes.
//!
//! Called by handlers (before they answer 101) and by clients (after they were answered 101).

use hyper_util::rt::TokioIo;

/// The bytes of a connection that was upgraded: tokio's `AsyncRead` and `AsyncWrite`.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// The upgraded connection of this request or response, as soon as the 101 has been sent or received. Await it on a task of
/// its own ([`Connection::spawn`](crate::Connection::spawn)): it is not there before the handler has returned.
///
/// # Errors
/// If the message asked for no upgrade, or the connection ended first.
pub async fn on<B>(message: impl Upgradable<B>) -> Result<Upgraded, hyper::Error> {
    message.upgraded().await.map(TokioIo::new)
}

/// A request (at the server) or a response (at the client).
pub trait Upgradable<B> {
    /// What becomes the connection.
    fn upgraded(self) -> hyper::upgrade::OnUpgrade;
}

impl<B> Upgradable<B> for http::Request<B> {
    fn upgraded(self) -> hyper::upgrade::OnUpgrade {
        hyper::upgrade::on(self)
    }
}

impl<B> Upgradable<B> for http::Response<B> {
    fn upgraded(self) -> hyper::upgrade::OnUpgrade {
        hyper::upgrade::on(self)
    }
}
