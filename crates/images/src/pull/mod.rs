//! Pulling from registries (OCI distribution spec 1.1).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Shared};
use tokio::sync::watch;

use crate::{Error, Image, Progress};

/// A pull under way: a future of the image. Dropping all that share it ends it.
pub struct Pull {
    progress: watch::Receiver<Progress>,
    outcome: Shared<BoxFuture<'static, Result<Image, Error>>>,
}

impl Pull {
    /// How far it is; changes are announced.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Future for Pull {
    type Output = Result<Image, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context)
    }
}

/// How to identify oneself to a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct ResolveError;
/// Why.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct TransferError;
