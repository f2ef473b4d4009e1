//! What can go wrong with images, worded where Kubernetes shows it as containerd words it.
//!
//! Source of the texts: containerd 1.7/2.x `core/remotes/docker/resolver.go`, `client/pull.go`, as recorded in
//! `reference/behaviours`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Digest;
use crate::layer::LayerError;
use crate::manifest::ManifestError;
use crate::pull::ResolveError;
use crate::pull::TransferError;
use crate::reference::InvalidReference;

/// A failed call of an [`crate::ImageStore`]. Clones are cheap: callers that share a pull share its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The name names no image.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// A pull failed before anything was fetched.
    #[error("failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\"")]
    Resolve {
        /// The full name.
        image: String,
        /// Why.
        #[source]
        source: Arc<ResolveError>,
    },
    /// A pull failed on the way.
    #[error("failed to pull and unpack image \"{image}\"")]
    Pull {
        /// The full name.
        image: String,
        /// Why.
        #[source]
        source: Arc<FetchError>,
    },
    /// An archive or layout could not be imported.
    #[error("failed to import {from}")]
    Import {
        /// The archive.
        from: String,
        /// Why.
        #[source]
        source: Arc<FetchError>,
    },
    /// Pushing failed.
    #[error("failed to push {image}")]
    Push {
        /// The target.
        image: String,
        /// Why.
        #[source]
        source: Arc<FetchError>,
    },
    /// No such image.
    #[error("image \"{name}\" not found")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// A short id that several images have.
    #[error("image id \"{name}\" is ambiguous")]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
    /// Another process has the store open.
    #[error("image store {} is in use by another process", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// A file of the store that is not what was written, as its copy is not.
    #[error(
        "image store: {} is damaged, as is its copy: {problem}; move both away to start without images: containers go on, and images can be pulled or imported again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of the store whose form this program does not know.
    #[error("image store: {} was written by a newer program (version {version})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Of its form.
        version: u32,
    },
    /// The store's file system.
    #[error("image store: {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// What went wrong while content was fetched, checked or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A manifest, index or config that cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A layer that cannot be unpacked.
    #[error("failed to extract layer {layer}")]
    Layer {
        /// Its DiffID or blob digest.
        layer: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The bytes are not those that were announced.
    #[error("unexpected commit digest {actual}, expected {expected}: failed precondition")]
    Digest {
        /// What came.
        actual: Digest,
        /// What was announced.
        expected: Digest,
    },
    /// More or fewer bytes than announced.
    #[error("{blob}: {actual} bytes, expected {expected}")]
    Size {
        /// The blob.
        blob: Digest,
        /// What came, as far as it was read.
        actual: u64,
        /// What was announced.
        expected: u64,
    },
    /// The image is larger than the store allows.
    #[error("image of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Reading an archive, or writing to the store.
    #[error("{what}")]
    Io {
        /// What was done to which file.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An archive that is neither of docker nor an OCI layout, or that lacks a part.
    #[error("{0}")]
    Archive(String),
    /// The image was removed, or the store closed, while it was fetched.
    #[error(transparent)]
    Store(#[from] Box<Error>),
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source: Arc::new(source) }
    }
}

impl FetchError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> FetchError {
        let what = what.into();
        move |source| FetchError::Io { what, source }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        FetchError::Store(Box::new(error))
    }
}

/// An error and its causes in one line, as CRI carries it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
