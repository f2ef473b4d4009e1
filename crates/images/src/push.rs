//! Pushes an image of an OCI layout to a registry (OCI distribution spec 1.1, "Push").

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::error::FetchError;
use crate::import::{CONTAINERD_NAME, REF_NAME, blob_name};
use crate::manifest::{Descriptor, Document, Index};
use crate::pull::answer::{self, TransferError};
use crate::pull::client::{self, Body, Client, Target};
use crate::reference::Version;
use crate::registries::{Endpoint, Registries};
use crate::{Digest, Error, Reference};

const PIECE: usize = 128 * 1024;

/// Pushes the image `name` of an OCI layout to a registry, under the same repository and tag:
/// `push_image(dir, "http://127.0.0.1:5000", "busybox")` makes `library/busybox:latest` there. What the registry has already
/// is not sent again. Returns the manifest's digest.
///
/// # Errors
/// [`Error::Reference`], [`Error::Push`].
pub async fn push_image(layout: &Path, registry: &str, name: &str) -> Result<Digest, Error> {
    let reference = Reference::parse(name)?;
    let push = Push {
        layout: layout.to_owned(),
        client: Client::new(Registries::default()),
        target: Target {
            endpoint: Endpoint { base: registry.trim_end_matches('/').to_owned(), mirror_of: None },
            repository: reference.repository().to_owned(),
            credentials: None,
            actions: "pull,push",
        },
    };
    let pushed = push.run(&reference).await;
    pushed.map_err(|source| Error::Push { image: reference.to_string(), source: Arc::new(source) })
}

struct Push {
    layout: PathBuf,
    client: Client,
    target: Target,
}

impl Push {
    async fn run(&self, reference: &Reference) -> Result<Digest, FetchError> {
        let index = Index::parse(&self.read("index.json").await?)?;
        let entry = find(&index, reference);
        let entry = entry.ok_or_else(|| FetchError::Archive(format!("the layout has no image {reference}")))?;
        let version = match reference.version() {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        self.push_document(entry, &version).await?;
        Ok(entry.digest)
    }

    /// Pushes what a manifest or index points at, then itself.
    async fn push_document(&self, entry: &Descriptor, version: &str) -> Result<(), FetchError> {
        let bytes = self.read(&blob_name(&entry.digest)).await?;
        match Document::parse(&bytes, &entry.media_type)? {
            Document::Index(index) => {
                for entry in &index.manifests {
                    Box::pin(self.push_document(entry, &entry.digest.to_string())).await?;
                }
            }
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.push_blob(blob).await?;
                }
            }
        }
        let url = self.target.url(&format!("manifests/{version}"));
        let build = || {
            let request = Request::builder().method(Method::PUT).header(CONTENT_TYPE, entry.media_type.as_str());
            request.body(full(&bytes)).map_err(|error| answer::malformed(&url, error))
        };
        let response = self.client.send_authorized(&self.target, &url, build).await?;
        finish(response, &Method::PUT, &url, &[StatusCode::CREATED]).await
    }

    async fn push_blob(&self, blob: &Descriptor) -> Result<(), FetchError> {
        let url = self.target.url(&format!("blobs/{}", blob.digest));
        let known = self.client.ask(Method::HEAD, &self.target, &url, &[]).await?;
        if known.status() == StatusCode::OK {
            return Ok(());
        }
        let url = self.start_upload(blob).await?;
        let path = self.layout.join(blob_name(&blob.digest));
        // A token was used a moment ago to start the upload: the body is sent once.
        let body = stream_file(&path).await.map_err(FetchError::io(format!("read {}", path.display())))?;
        let body = std::sync::Mutex::new(Some(body));
        let build = || {
            let body = body.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let body = body.ok_or_else(|| answer::malformed(&url, "the registry asks for a token in the middle"))?;
            let request = Request::builder()
                .method(Method::PUT)
                .header(CONTENT_LENGTH, blob.size)
                .header(CONTENT_TYPE, "application/octet-stream");
            request.body(body).map_err(|error| answer::malformed(&url, error))
        };
        let response = self.client.send_authorized(&self.target, &url, build).await?;
        finish(response, &Method::PUT, &url, &[StatusCode::CREATED]).await
    }

    /// Returns where to put the blob.
    async fn start_upload(&self, blob: &Descriptor) -> Result<String, TransferError> {
        let url = self.target.url("blobs/uploads/");
        let build = || {
            let request = Request::builder().method(Method::POST).header(CONTENT_LENGTH, 0);
            request.body(client::empty()).map_err(|error| answer::malformed(&url, error))
        };
        let response = self.client.send_authorized(&self.target, &url, build).await?;
        let response = answer::expect(response, &Method::POST, &url, &[StatusCode::ACCEPTED])?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| client::resolve_location(&url, location));
        let location = location.ok_or_else(|| answer::malformed(&url, "no place to upload to"))?;
        let separator = if location.contains('?') { '&' } else { '?' };
        Ok(format!("{location}{separator}digest={}", blob.digest))
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, FetchError> {
        let path = self.layout.join(name);
        tokio::fs::read(&path).await.map_err(FetchError::io(format!("read {}", path.display())))
    }
}

/// The entry of this name, or the only one.
fn find<'a>(index: &'a Index, reference: &Reference) -> Option<&'a Descriptor> {
    let is_named = |entry: &&Descriptor| {
        let names = entry.annotations.iter().flat_map(|all| [all.get(CONTAINERD_NAME), all.get(REF_NAME)]);
        names.flatten().any(|name| Reference::parse(name).as_ref() == Ok(reference))
    };
    let only = match index.manifests.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    index.manifests.iter().find(is_named).or(only)
}

fn full(bytes: &[u8]) -> Body {
    Full::new(Bytes::copy_from_slice(bytes)).map_err(|never| match never {}).boxed_unsync()
}

async fn stream_file(path: &Path) -> io::Result<Body> {
    let file = File::open(path).await?;
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Frame::data(Bytes::from(piece)), file)))
    });
    Ok(StreamBody::new(pieces).boxed_unsync())
}

/// Reads the answer to its end, so that the connection can be used again.
async fn finish(
    response: Response<Incoming>,
    method: &Method,
    url: &str,
    right: &[StatusCode],
) -> Result<(), FetchError> {
    let response = answer::expect(response, method, url, right)?;
    answer::read_small(response, url, 1 << 20).await?;
    Ok(())
}
