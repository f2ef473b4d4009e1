//! Objects in the store: reading one, and writing one if nobody else has in between. Thin: it knows keys, bytes and
//! revisions, and turns the store's errors into what clients see. A change of rights is done when the authorizer has seen it. Called by the
//! verbs.

use std::sync::Arc;

use bytes::Bytes;
use remora_model::{Kind, ObjectKey, Status};
use remora_store::{Error, Expect, Interval, KeyValue, RangeRequest, Revision, Store, Txn, TxnOutcome};
use serde_json::Value;

use crate::auth::Authorizer;
use crate::encode;

/// One object as stored.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its bytes and revision.
    pub kv: KeyValue,
}

impl StoredObject {
    /// As a value, without its resourceVersion.
    pub fn decoded(&self) -> Value {
        encode::decode(&self.kv.value)
    }

    /// Its resourceVersion.
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision
    }
}

/// Why a write did not happen.
#[derive(Debug)]
pub enum WriteError {
    /// Somebody else has written in between: what is there now.
    Raced(Option<StoredObject>),
    /// For the client.
    Status(Box<Status>),
}

impl From<Status> for WriteError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Another object that is written in the same transaction as one, or that must at least not have been.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Where it is.
    pub key: ObjectKey,
    /// When it was read; none if it was not there.
    pub read_at: Option<Revision>,
    /// What to write; `None` if it stays.
    pub bytes: Option<Bytes>,
}

/// The store, by objects.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    authorizer: Arc<Authorizer>,
}

impl Objects {
    /// Over a store, which the authorizer follows.
    pub fn new(store: Arc<dyn Store>, authorizer: Arc<Authorizer>) -> Self {
        Self { store, authorizer }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The object now.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, Status> {
        let found = self.store.get(store_key(key)?.as_bytes()).await.map_err(|error| store_status(&error))?;
        Ok(found.map(|kv| StoredObject { kind: key.kind, kv }))
    }

    /// The object now.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn require(&self, key: &ObjectKey) -> Result<StoredObject, Status> {
        self.get(key).await?.ok_or_else(|| Status::kind_not_found(key.kind, &key.name))
    }

    /// All objects of a kind, of one namespace or of all.
    pub async fn all(&self, kind: &'static Kind, namespace: Option<&str>) -> Result<Vec<Value>, Status> {
        Ok(self.all_stored(kind, namespace).await?.iter().map(StoredObject::decoded).collect())
    }

    /// The same, as stored.
    pub async fn all_stored(&self, kind: &'static Kind, namespace: Option<&str>) -> Result<Vec<StoredObject>, Status> {
        let prefix = kind.store_prefix_in(namespace).ok_or_else(Status::method_not_allowed)?;
        let request = RangeRequest { interval: Interval::prefix(prefix), at: None, limit: None };
        let read = self.store.range(request).await.map_err(|error| store_status(&error))?;
        Ok(read.kvs.into_iter().map(|kv| StoredObject { kind, kv }).collect())
    }

    /// Writes a new object, unless there is one. What else it was raced by is no object of that name.
    pub async fn create(&self, key: &ObjectKey, bytes: Bytes, beside: &[Beside]) -> Result<StoredObject, WriteError> {
        self.put(key, bytes, None, beside).await
    }

    /// Overwrites what was read as `old`.
    pub async fn replace(
        &self,
        old: &StoredObject,
        key: &ObjectKey,
        bytes: Bytes,
        beside: &[Beside],
    ) -> Result<StoredObject, WriteError> {
        self.put(key, bytes, Some(&old.kv), beside).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        old: Option<&KeyValue>,
        beside: &[Beside],
    ) -> Result<StoredObject, WriteError> {
        let at = Bytes::from(store_key(key)?);
        let expect = old.map_or(Expect::Absent, |old| Expect::ModRevision(old.mod_revision));
        let txn = Txn::default().when(at.clone(), expect).put(at.clone(), bytes.clone());
        let revision = self.commit(key, with(txn, beside)?).await?;
        Ok(StoredObject { kind: key.kind, kv: KeyValue::written(at, bytes, revision, old) })
    }

    /// Removes what was read as `old`; returns the revision at which it was gone.
    pub async fn remove(&self, old: &StoredObject, key: &ObjectKey, beside: &[Beside]) -> Result<Revision, WriteError> {
        self.commit(key, with(Txn::remove(store_key(key)?, old.revision()), beside)?).await
    }

    async fn commit(&self, key: &ObjectKey, txn: Txn) -> Result<Revision, WriteError> {
        match self.store.txn(txn).await.map_err(|error| store_status(&error))? {
            TxnOutcome::Committed { revision } => {
                self.authorizer.has_seen(key.kind, revision).await;
                Ok(revision)
            }
            TxnOutcome::Conflict { current, .. } => {
                // The object itself is compared first.
                let now = current.into_iter().next().flatten().map(|kv| StoredObject { kind: key.kind, kv });
                Err(WriteError::Raced(now))
            }
        }
    }
}

fn with(txn: Txn, beside: &[Beside]) -> Result<Txn, Status> {
    beside.iter().try_fold(txn, |txn, other| {
        let at = Bytes::from(store_key(&other.key)?);
        let txn = txn.when(at.clone(), other.read_at.map_or(Expect::Absent, Expect::ModRevision));
        Ok(match &other.bytes {
            Some(bytes) => txn.put(at, bytes.clone()),
            None => txn,
        })
    })
}

/// The key of an object that is stored at all.
fn store_key(key: &ObjectKey) -> Result<String, Status> {
    key.store_key().ok_or_else(Status::method_not_allowed)
}

/// What a client sees of the store's errors.
pub fn store_status(error: &Error) -> Status {
    match error {
        Error::Compacted { requested, compacted, .. } => Status::too_old(requested.0, compacted.0),
        Error::FutureRevision { requested, current } => Status::too_large_resource_version(requested.0, current.0),
        Error::TooLarge { limit, .. } => Status::too_large(*limit),
        Error::Closed => Status::service_unavailable("the store is closed"),
        Error::Unavailable { .. } => Status::service_unavailable(error.to_string()),
        Error::TimedOut { .. } => Status::timeout(&error.to_string(), 1),
        other => {
            tracing::error!(error = other as &dyn std::error::Error, "the store failed");
            Status::internal(other)
        }
    }
}
