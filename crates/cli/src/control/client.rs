//! The command line's end of the control socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead};
use tokio::net::UnixStream;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{ImageEntry, NodeStatus, Progress, PullRequest, Refusal, SOCKET};
use crate::CommandError;

type Body = BoxBody<Bytes, std::io::Error>;

/// A node on this machine, by its run folder. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct ControlClient {
    socket: PathBuf,
}

impl ControlClient {
    /// No connection is made yet.
    pub fn new(run_dir: &Path) -> Self {
        ControlClient { socket: run_dir.join(SOCKET) }
    }

    /// How the node is.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn status(&self) -> Result<NodeStatus, CommandError> {
        json(self.send(Method::GET, "/v1/status", empty()).await?).await
    }

    /// Asks the daemon to end; containers go on.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn stop(&self) -> Result<(), CommandError> {
        self.send(Method::POST, "/v1/stop", empty()).await.map(drop)
    }

    /// The images on this machine.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn images(&self) -> Result<Vec<ImageEntry>, CommandError> {
        json(self.send(Method::GET, "/v1/images", empty()).await?).await
    }

    /// Removes one image by name or id.
    ///
    /// # Errors
    /// The node's refusal: no such image.
    pub async fn remove_image(&self, name: &str) -> Result<(), CommandError> {
        let body = serde_json::to_vec(&PullRequest { image: name.to_owned() })
            .map_err(|error| CommandError::caused("writing the request", &error))?;
        self.send(Method::POST, "/v1/images/remove", full(body)).await.map(drop)
    }

    /// Pulls an image; the stream tells how far it is and ends with `Done` or `Failed`.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn pull(
        &self,
        image: &str,
    ) -> Result<impl Stream<Item = Result<Progress, CommandError>> + Unpin + use<>, CommandError> {
        let body = serde_json::to_vec(&PullRequest { image: image.to_owned() })
            .map_err(|error| CommandError::caused("writing the request", &error))?;
        Ok(lines(self.send(Method::POST, "/v1/images/pull", full(body)).await?))
    }

    /// Imports the images of an archive; `Done` comes once for each.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn import(
        &self,
        archive: Box<dyn AsyncRead + Send + Sync + Unpin>,
    ) -> Result<impl Stream<Item = Result<Progress, CommandError>> + Unpin + use<>, CommandError> {
        let body = BodyExt::boxed(StreamBody::new(ReaderStream::new(archive).map_ok(Frame::data)));
        Ok(lines(self.send(Method::POST, "/v1/images/import", body).await?))
    }

    /// A snapshot of the node's store; a stream that breaks off ends with an error.
    ///
    /// # Errors
    /// `Unreachable` if no node runs.
    pub async fn snapshot(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, CommandError>> + Unpin + use<>, CommandError> {
        let answer = self.send(Method::GET, "/v1/store/snapshot", empty()).await?;
        let data = answer.into_body().into_data_stream();
        Ok(data.map_err(|error| CommandError::caused("reading the node's answer", &error)))
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, CommandError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.nobody(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| CommandError::caused("talking to the node", &error))?;
        // It ends with the answer; what went wrong with it shows as the answer's error.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "remora")
            .body(body)
            .map_err(|error| CommandError::caused("writing the request", &error))?;
        let answer =
            sender.send_request(request).await.map_err(|error| CommandError::caused("talking to the node", &error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    fn nobody(&self, error: &std::io::Error) -> CommandError {
        let socket = self.socket.display();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                CommandError::failed(format!("{socket}: permission denied")).hint("run it as root: `sudo remora …`")
            }
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                CommandError::unreachable(format!("no node runs here (nobody listens on {socket})"))
                    .hint("start one: `sudo remora up`")
            }
            _ => CommandError::caused(format_args!("connecting to {socket}"), error),
        }
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

async fn json<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, CommandError> {
    let body = answer.into_body().collect().await;
    let bytes = body.map_err(|error| CommandError::caused("reading the node's answer", &error))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| CommandError::caused("reading the node's answer", &error))
}

async fn refusal(answer: Response<Incoming>) -> CommandError {
    let status = answer.status();
    match json::<Refusal>(answer).await {
        Ok(refusal) if status == StatusCode::NOT_FOUND => CommandError::failed(refusal.message),
        Ok(refusal) => CommandError::failed(format!("the node refused: {}", refusal.message)),
        Err(_) => CommandError::failed(format!("the node answered {status}")),
    }
}

fn lines(answer: Response<Incoming>) -> impl Stream<Item = Result<Progress, CommandError>> + Unpin + use<> {
    let data = answer.into_body().into_data_stream().map_err(std::io::Error::other);
    let lines = StreamReader::new(data).lines();
    let parsed = stream::try_unfold(lines, |mut lines| async move {
        let line =
            lines.next_line().await.map_err(|error| CommandError::caused("reading the node's answer", &error))?;
        let Some(line) = line else { return Ok(None) };
        let progress =
            serde_json::from_str(&line).map_err(|error| CommandError::caused("reading the node's answer", &error))?;
        Ok(Some((progress, lines)))
    });
    parsed.boxed()
}
