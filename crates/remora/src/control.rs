//! The control socket's server end: images, snapshots, status and stop, for root on this machine. The words are `remora_cli::control`'s.
//!
//! The one HTTP server serves it: each connection of the Unix socket is passed on to an in-memory one.

use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use remora_cli::control::{ImageEntry, NodeStatus, Progress, PullRequest, Refusal};
use remora_http::{Body, Connection, Handler, MemoryConnector, body, read_body};
use remora_images::{Image, ImageStore, ImportSource};
use remora_store::{Store, snapshot};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::daemon::{Stop, Vitals};

/// The largest request that is not an archive, in bytes.
const MAX_REQUEST: usize = 64 << 10;

/// What the socket can ask for.
pub(crate) struct Control {
    pub(crate) images: Arc<ImageStore>,
    pub(crate) stop: Stop,
    pub(crate) vitals: Vitals,
    pub(crate) store: Arc<dyn Store>,
}

/// Passes each connection of the socket on until the server is gone. Ends when dropped.
pub(crate) async fn pass_on(socket: UnixListener, to: MemoryConnector) {
    loop {
        let accepted = socket.accept().await;
        let Ok((mut from, _)) = accepted.inspect_err(|error| tracing::warn!(%error, "control socket")) else {
            continue;
        };
        let Ok(inner) = to.connect().await else { return };
        tokio::spawn(async move {
            // Either end may leave at any time; the other then sees its end of file.
            let _ended = tokio::io::copy_bidirectional(&mut from, &mut inner.into_tokio()).await;
        });
    }
}

impl Handler for Control {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let answer = match (request.method(), path.as_str()) {
            (&Method::GET, "/v1/status") => self.status().await,
            (&Method::POST, "/v1/stop") => {
                self.stop.ask();
                Ok(json(StatusCode::ACCEPTED, &serde_json::json!({})))
            }
            (&Method::GET, "/v1/store/snapshot") => Ok(self.snapshot()),
            (&Method::GET, "/v1/images") => Ok(json(StatusCode::OK, &self.list())),
            (&Method::POST, "/v1/images/pull") => self.pull(request).await,
            (&Method::POST, "/v1/images/import") => Ok(self.import(request.into_body())),
            (&Method::POST, "/v1/images/remove") => self.remove(request).await,
            _ => Err(refusal(StatusCode::NOT_FOUND, format_args!("the node knows no {path}"))),
        };
        answer.unwrap_or_else(|refused| refused)
    }
}

impl Control {
    async fn status(&self) -> Result<Response<Body>, Response<Body>> {
        let status: NodeStatus = self
            .vitals
            .now()
            .await
            .map_err(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, format_args!("{error:#}")))?;
        Ok(json(StatusCode::OK, &status))
    }

    /// The bytes as they are read; one that fails on the way breaks the connection off.
    fn snapshot(&self) -> Response<Body> {
        let bytes = snapshot::take(Arc::clone(&self.store)).inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "a snapshot of the store is broken off");
        });
        let mut response = Response::new(body::stream(Box::pin(bytes.map_err(io::Error::other))));
        let kind = header::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    fn list(&self) -> Vec<ImageEntry> {
        self.images.list().into_iter().map(entry).collect()
    }

    async fn pull(&self, request: Request<Body>) -> Result<Response<Body>, Response<Body>> {
        let name = named_image(request).await?;
        let pull = self.images.pull(&name, None);
        let progress = pull.progress();
        let outcome = async move { pull.await.map(|image| vec![image]) };
        Ok(lines(told(progress, outcome)))
    }

    fn import(&self, archive: Body) -> Response<Body> {
        let images = Arc::clone(&self.images);
        let (sender, progress) = watch::channel(remora_images::Progress::default());
        let data = archive.map_err(io::Error::other).into_data_stream();
        // The archive is read on a blocking thread, which waits for it here.
        let reader = SyncIoBridge::new(StreamReader::new(Box::pin(data)));
        let outcome = async move { images.import(ImportSource::Stream(Box::new(reader)), sender).await };
        lines(told(progress, outcome))
    }

    async fn remove(&self, request: Request<Body>) -> Result<Response<Body>, Response<Body>> {
        let name = named_image(request).await?;
        let removed = self.images.remove(&name).await;
        let removed = removed.map_err(|error| refusal(StatusCode::NOT_FOUND, chain(&error)))?;
        Ok(json(StatusCode::OK, &entry(removed)))
    }
}

async fn named_image(request: Request<Body>) -> Result<String, Response<Body>> {
    let bytes = read_body(request.into_body(), MAX_REQUEST).await;
    let bytes = bytes.map_err(|error| refusal(StatusCode::BAD_REQUEST, chain(&error)))?;
    let request: PullRequest =
        serde_json::from_slice(&bytes).map_err(|error| refusal(StatusCode::BAD_REQUEST, chain(&error)))?;
    Ok(request.image)
}

/// How far it is, whenever that changes, and last how it ended.
fn told(
    progress: watch::Receiver<remora_images::Progress>,
    outcome: impl Future<Output = Result<Vec<Image>, remora_images::Error>> + Send + 'static,
) -> impl Stream<Item = Progress> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move { relay(progress, outcome, sender).await });
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|line| (line, receiver)) })
}

/// A reader that has gone away ends it, and with it a pull that nobody else waits for.
async fn relay(
    mut progress: watch::Receiver<remora_images::Progress>,
    outcome: impl Future<Output = Result<Vec<Image>, remora_images::Error>>,
    to: tokio::sync::mpsc::Sender<Progress>,
) {
    let mut outcome = pin!(outcome);
    let ended = loop {
        // Both sides may be dropped and made again: the outcome is only borrowed, and `changed` is cancel safe.
        match select(outcome.as_mut(), pin!(progress.changed())).await {
            Either::Left((ended, _)) => break ended,
            Either::Right((Err(_), ended)) => break ended.await,
            Either::Right((Ok(()), _)) => {}
        }
        let (done, total) = progress.borrow_and_update().bytes();
        if to.send(Progress::Bytes { done, total }).await.is_err() {
            return;
        }
    };
    for line in endings(ended) {
        if to.send(line).await.is_err() {
            return;
        }
    }
}

fn endings(ended: Result<Vec<Image>, remora_images::Error>) -> Vec<Progress> {
    match ended {
        Ok(images) => images.iter().flat_map(done).collect(),
        Err(error) => vec![Progress::Failed { message: chain(&error) }],
    }
}

fn done(image: &Image) -> Vec<Progress> {
    let id = image.id.to_string();
    let names = if image.repo_tags.is_empty() { image.repo_digests.clone() } else { image.repo_tags.clone() };
    names.into_iter().map(|name| Progress::Done { name, id: id.clone() }).collect()
}

fn entry(image: Image) -> ImageEntry {
    ImageEntry { id: image.id.to_string(), tags: image.repo_tags, digests: image.repo_digests, size: image.size }
}

fn lines(progress: impl Stream<Item = Progress> + Send + 'static) -> Response<Body> {
    let bytes = progress.map(|line| {
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(line))
    });
    let mut response = Response::new(body::stream(bytes.map_err(io::Error::other)));
    let kind = header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let (status, bytes) = match serde_json::to_vec(value) {
        Ok(bytes) => (status, bytes),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"message\":\"{error}\"}}").into_bytes()),
    };
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn refusal(status: StatusCode, message: impl Display) -> Response<Body> {
    json(status, &Refusal { message: message.to_string() })
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
