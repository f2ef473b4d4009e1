//! What a name means now: asks one endpoint after the other for the digest behind a tag.

use http::header::ACCEPT;
use http::{HeaderName, Method, StatusCode};

use super::Credentials;
use super::answer::{self, TransferError};
use super::client::{Client, Target};
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Reference};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Why a name has no meaning. The texts follow "failed to resolve reference …: ".
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No endpoint has it.
    #[error("{reference}: not found")]
    NotFound {
        /// The full name.
        reference: Reference,
    },
    /// A registry does not say whether there is such a thing.
    #[error("pull access denied, repository does not exist or may require authorization: {0}")]
    Denied(String),
    /// All else.
    #[error(transparent)]
    Transfer(TransferError),
}

/// A name's meaning.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// Digest of the manifest or index.
    pub(crate) digest: Digest,
    /// The manifest or index itself, if the registry could not be asked without it.
    pub(crate) document: Option<FetchedDocument>,
}

/// Bytes of a manifest or index.
#[derive(Clone, Debug)]
pub(crate) struct FetchedDocument {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

/// Where to ask for content of a reference, best first.
pub(crate) fn targets(client: &Client, reference: &Reference, credentials: Option<&Credentials>) -> Vec<Target> {
    let endpoints = client.registries().endpoints(reference.registry());
    let to_target = |endpoint| Target {
        endpoint,
        repository: reference.repository().to_owned(),
        credentials: credentials.cloned(),
        actions: "pull",
    };
    endpoints.into_iter().map(to_target).collect()
}

/// Asks endpoints in turn. Of several failures the first that says more than "not found" is told, as containerd does.
pub(crate) async fn resolve(
    client: &Client,
    reference: &Reference,
    targets: &[Target],
) -> Result<Resolved, ResolveError> {
    let mut first = None;
    for target in targets {
        match ask(client, reference, target).await {
            Ok(resolved) => return Ok(resolved),
            Err(TransferError::NotFound { .. }) => {}
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(match first {
        None => ResolveError::NotFound { reference: reference.clone() },
        Some(TransferError::Denied(message)) => ResolveError::Denied(message),
        Some(other) => ResolveError::Transfer(other),
    })
}

async fn ask(client: &Client, reference: &Reference, target: &Target) -> Result<Resolved, TransferError> {
    let url = target.url(&format!("manifests/{}", reference.manifest_path()));
    let response = client.ask(Method::HEAD, target, &url, &[accept()]).await?;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        let response = answer::expect(response, &Method::HEAD, &url, &[StatusCode::OK])?;
        let digest = response.headers().get(DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(digest) = digest {
            return Ok(Resolved { digest, document: None });
        }
    }
    let document = fetch_document(client, target, &reference.manifest_path()).await?;
    Ok(Resolved { digest: Digest::of(&document.bytes), document: Some(document) })
}

/// Gets a manifest or index by tag or digest; the caller checks the digest.
pub(crate) async fn fetch_document(
    client: &Client,
    target: &Target,
    version: &str,
) -> Result<FetchedDocument, TransferError> {
    let url = target.url(&format!("manifests/{version}"));
    let response = client.ask(Method::GET, target, &url, &[accept()]).await?;
    let response = answer::expect(response, &Method::GET, &url, &[StatusCode::OK])?;
    let media_type = response.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_owned();
    let bytes = answer::read_small(response, &url, MAX_MANIFEST).await?;
    Ok(FetchedDocument { bytes, media_type })
}

fn accept() -> (HeaderName, String) {
    (ACCEPT, [DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX, "*/*"].join(", "))
}
