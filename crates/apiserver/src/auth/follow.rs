//! Keeps what the authorizer knows equal to what is stored: all roles and bindings are read once, then followed by watches.
//!
//! ```text
//! load ──▶ watches of each kind ──event──▶ put, remove
//!   ▲               └─ cut or compacted: load again
//!   └─ the store fails: pause, again                        closed: the end
//! ```
//! **Invariant:** a decision reads no store. While the store cannot be read, what was known last counts.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SelectAll, StreamExt, select_all};
use remora_model::kinds::RBAC_GROUP;
use remora_model::{Kind, ObjectKey, kinds};
use remora_rules::rbac::Access;
use remora_store::{Error, Event, Interval, RangeRequest, Revision, Store, Watch, WatchError, WatchItem, WatchRequest};
use tokio::sync::watch;

use crate::encode;

/// What is followed.
const PLURALS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];
/// The pauses after failures of the store: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// All roles and bindings, and how far they are known.
#[derive(Default)]
pub(super) struct Rights {
    access: Access,
    /// By kind: all that was written up to this revision is in.
    seen: [Revision; PLURALS.len()],
}

impl Rights {
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn has_seen(&self, kind: &Kind, revision: Revision) -> bool {
        PLURALS.iter().zip(self.seen).any(|(plural, seen)| *plural == kind.plural && seen >= revision)
    }

    fn told(&mut self, event: &Event) {
        let key = String::from_utf8_lossy(event.key());
        let Some(key) = ObjectKey::from_store_key(&key) else { return };
        match event.kv() {
            Some(kv) => self.access.put(&key, &encode::decode(&kv.value)),
            None => self.access.remove(&key),
        }
        for (plural, seen) in PLURALS.iter().zip(&mut self.seen) {
            if *plural == key.kind.plural {
                *seen = event.revision();
            }
        }
    }
}

/// Whether what is written of a kind comes here.
pub(super) fn is_followed(kind: &Kind) -> bool {
    kind.group == RBAC_GROUP
}

/// The keys of each kind.
fn intervals() -> impl Iterator<Item = Interval> {
    PLURALS.iter().filter_map(|plural| kinds::rbac(plural).store_prefix()).map(Interval::prefix)
}

/// Reads everything as of one revision, which is returned.
pub(super) async fn load(store: &dyn Store, rights: &watch::Sender<Rights>) -> Result<Revision, Error> {
    let revision = store.revision().await?;
    let mut access = Access::default();
    for interval in intervals() {
        let read = store.range(RangeRequest { interval, at: Some(revision), limit: None }).await?;
        for kv in read.kvs {
            if let Some(key) = ObjectKey::from_store_key(&String::from_utf8_lossy(&kv.key)) {
                access.put(&key, &encode::decode(&kv.value));
            }
        }
    }
    rights.send_replace(Rights { access, seen: [revision; PLURALS.len()] });
    Ok(revision)
}

/// Follows what happens after `loaded`, until the store is closed.
pub(super) async fn run(store: Arc<dyn Store>, rights: Arc<watch::Sender<Rights>>, loaded: Revision) {
    let mut after = loaded;
    loop {
        let ended = match watches(store.as_ref(), after).await {
            Ok(watches) => follow(watches, &rights).await,
            Err(error) => error.into(),
        };
        if matches!(ended, WatchError::Closed) {
            return;
        }
        tracing::warn!(error = &ended as &dyn std::error::Error, "the watch of roles has ended: they are read again");
        let Some(loaded) = load_again(store.as_ref(), &rights).await else { return };
        after = loaded;
    }
}

async fn watches(store: &dyn Store, after: Revision) -> Result<SelectAll<Watch>, Error> {
    let mut all = Vec::new();
    for interval in intervals() {
        all.push(store.watch(WatchRequest::new(interval).after(after)).await?);
    }
    Ok(select_all(all))
}

async fn follow(mut watches: SelectAll<Watch>, rights: &watch::Sender<Rights>) -> WatchError {
    while let Some(item) = watches.next().await {
        match item {
            Ok(WatchItem::Event(event)) => rights.send_modify(|rights| rights.told(&event)),
            Ok(WatchItem::Progress(_)) => {}
            Err(error) => return error,
        }
    }
    WatchError::Closed
}

/// None if the store is closed.
async fn load_again(store: &dyn Store, rights: &watch::Sender<Rights>) -> Option<Revision> {
    let (mut pause, longest) = PAUSES;
    loop {
        match load(store, rights).await {
            Ok(revision) => return Some(revision),
            Err(Error::Closed) => return None,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "roles cannot be read: those known last count"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Authorizer;
    use super::super::authz::Attributes;
    use super::*;
    use crate::encode;
    use remora_http::User;
    use remora_store::memory::MemoryEngine;
    use remora_store::{Expect, Txn, TxnOutcome, WatchLimits, watched_within};
    use serde_json::{Value, json};

    async fn write(store: &dyn Store, kind: &'static Kind, name: &str, object: Value) -> Revision {
        let key = ObjectKey::new(kind, Some("a"), name).store_key().unwrap();
        let txn = Txn::default().when(key.clone(), Expect::Absent).put(key, encode::stored(kind, &object));
        match store.txn(txn).await.unwrap() {
            TxnOutcome::Committed { revision } => revision,
            TxnOutcome::Conflict { .. } => panic!("{name} was there"),
        }
    }

    #[tokio::test]
    async fn a_watch_that_was_too_slow_is_taken_up_again() {
        let limits = WatchLimits { events: 2, queue: 1, ..WatchLimits::default() };
        let store: Arc<dyn Store> = Arc::new(watched_within(Arc::new(MemoryEngine::new()), limits).await.unwrap());
        let authorizer = Authorizer::default();
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        write(store.as_ref(), kinds::rbac("roles"), "r", json!({"metadata": {"name": "r"}, "rules": rules})).await;
        authorizer.start(&store).await.unwrap();
        let kind = kinds::rbac("rolebindings");
        let bind = async |user: &str| {
            let subjects = json!([{"kind": "User", "name": user}]);
            let role = json!({"kind": "Role", "name": "r"});
            let binding = json!({"metadata": {"name": user}, "roleRef": role, "subjects": subjects});
            write(store.as_ref(), kind, user, binding).await
        };
        // It is live now, and gets no turn while the others are written: it is cut.
        authorizer.has_seen(kind, bind("joe").await).await;
        bind("jim").await;
        bind("jack").await;
        authorizer.has_seen(kind, bind("jane").await).await;
        let (verb, group, resource, subresource) = ("get", "", "pods", "");
        let what = Attributes::Resource { verb, group, resource, subresource, namespace: "a", name: "" };
        for user in ["joe", "jim", "jack", "jane"] {
            assert!(authorizer.decide(&User::new(user, ["x"]), &what).allowed, "{user}");
        }
    }
}
