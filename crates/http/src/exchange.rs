//! One request to another server, over bytes that lead there: for handlers that pass requests on.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Body, BoxError, Connection};

/// Sends a request in HTTP/1.1 and gives the head of the answer, with its body as it comes. The other connection lives as long as that body, or
/// as what it is upgraded to ([`crate::upgrade::on`]), on a task of `connection`.
///
/// # Errors
/// If there is no answer in HTTP.
pub async fn exchange<T>(
    io: T,
    request: Request<Body>,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, other) = http1::handshake(TokioIo::new(io)).await?;
    connection.spawn(async move {
        // Whoever reads the answer is told of the failure too.
        if let Err(error) = other.with_upgrades().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection to a proxied server has failed");
        }
    });
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}
