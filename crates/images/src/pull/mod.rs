//! Pulling from registries (OCI distribution spec 1.1).
//!
//! `client` speaks HTTP to one endpoint, `answer` judges what comes back, `auth` answers challenges, `resolve` asks what a
//! name means now, `fetch` brings manifest, config and layers and unpacks them, `blob` brings one layer through broken
//! connections. [`Pull`] is what callers hold; those who ask for the same at once hold the same.

pub(crate) mod answer;
mod auth;
mod blob;
pub(crate) mod client;
mod fetch;
mod resolve;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::watch;

pub use self::answer::TransferError;
pub(crate) use self::blob::BlobFile;
pub(crate) use self::client::Client;
pub(crate) use self::fetch::{set_state, unpack_in_order};
pub use self::resolve::ResolveError;
use crate::{Error, Image, ImageStore, Progress, Reference};

type Outcome = Result<Image, Error>;

/// A pull under way: a future of the image. Dropping all that share it ends it.
pub struct Pull {
    progress: watch::Receiver<Progress>,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl Pull {
    /// How far it is; changes are announced.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

impl Future for Pull {
    type Output = Outcome;

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

/// Pulls under way, by what they were asked for.
#[derive(Default)]
pub(crate) struct SharedPulls {
    pulls: Mutex<HashMap<(Reference, Option<Credentials>), Running>>,
}

struct Running {
    progress: watch::Receiver<Progress>,
    outcome: WeakShared<BoxFuture<'static, Outcome>>,
}

impl SharedPulls {
    /// Joins the pull of the same name with the same credentials, or starts one.
    pub(crate) fn pull(&self, store: &ImageStore, name: &str, credentials: Option<Credentials>) -> Pull {
        let reference = match Reference::parse(name) {
            Ok(reference) => reference,
            Err(error) => return Pull::failed(error.into()),
        };
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        // A pull that has ended is no answer to a new question: the name may mean something else by now.
        pulls.retain(|_, running| running.outcome.upgrade().is_some_and(|outcome| outcome.peek().is_none()));
        let key = (reference.clone(), credentials.clone());
        let joined = pulls
            .get(&key)
            .and_then(|running| Some(Pull { progress: running.progress.clone(), outcome: running.outcome.upgrade()? }));
        if let Some(pull) = joined {
            return pull;
        }
        let (progress, receiver) = watch::channel(Progress { reference: reference.to_string(), layers: Vec::new() });
        let outcome = fetch::pull(store.clone(), reference, credentials, progress).boxed().shared();
        if let Some(weak) = outcome.downgrade() {
            pulls.insert(key, Running { progress: receiver.clone(), outcome: weak });
        }
        Pull { progress: receiver, outcome }
    }
}

impl Pull {
    fn failed(error: Error) -> Self {
        let (_, progress) = watch::channel(Progress::default());
        Pull { progress, outcome: futures::future::ready(Err(error)).boxed().shared() }
    }
}
