//! DELETE of one object. What it does to the object is decided by [`crate::deletion`].

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::status::Details;
use remora_model::{Kind, ObjectKey, Status};
use remora_rules::quota::Change;
use remora_rules::rbac::node;
use remora_store::Revision;
use serde_json::Value;

use crate::auth::authz;
use crate::deletion::{self, DeleteOptions, Deletion};
use crate::objects::{StoredObject, WriteError};
use crate::server::Call;
use crate::{admission, body, encode, forms, quota, response};

/// Kinds whose deleted object is the answer, not a Status.
const SHOWN_WHEN_DELETED: [&str; 4] = ["pods", "namespaces", "serviceaccounts", "services"];

/// Deletes one object.
pub async fn answer(call: &Call, key: &ObjectKey, body: Body) -> Result<Response<Body>, Status> {
    let options = options(call, body).await?;
    let deleted = delete(call, key, &options).await?;
    if deleted.is_gone && !SHOWN_WHEN_DELETED.contains(&key.kind.plural) {
        return Ok(response::json(StatusCode::OK, &success(key.kind, &deleted.object)));
    }
    let bytes = encode::stored(key.kind, &deleted.object);
    forms::answer(call, StatusCode::OK, key.kind, &bytes, Some(deleted.revision))
}

/// The options, from the body if there is one, else from the query.
///
/// # Errors
/// As reading bodies; 422 for what is not known.
pub async fn options(call: &Call, body: Body) -> Result<DeleteOptions, Status> {
    let bytes = body::read(body).await?;
    if bytes.is_empty() {
        return deletion::from_query(&call.query);
    }
    let value = body::typed(call.content_type(), &bytes, "DeleteOptions")?;
    deletion::from_body(&value, &call.query)
}

/// What a deletion has left.
pub struct Deleted {
    /// The object as it last was.
    pub object: Value,
    /// When.
    pub revision: Revision,
    /// Whether it is gone.
    pub is_gone: bool,
}

/// Deletes one object, until nobody writes in between.
///
/// # Errors
/// 404 if it is not there, 403 if it must stay, 409 if another one is meant.
pub async fn delete(call: &Call, key: &ObjectKey, options: &DeleteOptions) -> Result<Deleted, Status> {
    let mut current = call.state.objects().require(key).await?;
    admission::delete(key)?;
    loop {
        match try_delete(call, key, options, &current).await {
            Ok(deleted) => return Ok(deleted),
            Err(WriteError::Raced(Some(now))) => current = now,
            Err(WriteError::Raced(None)) => return Err(Status::kind_not_found(key.kind, &key.name)),
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}

async fn try_delete(
    call: &Call,
    key: &ObjectKey,
    options: &DeleteOptions,
    current: &StoredObject,
) -> Result<Deleted, WriteError> {
    let old = current.decoded();
    if let Some(node) = authz::node_of(&call.user).filter(|_| admission::is_pods(key.kind)) {
        node::check_delete(node, &old).map_err(|why| Status::forbidden(key.kind.resource(), &key.name, &why))?;
    }
    let version = current.revision();
    let decided = deletion::decide(key.kind, &old, &version.to_string(), options, call.state.now())?;
    let objects = call.state.objects();
    match decided {
        Deletion::Pending => Ok(Deleted { object: old, revision: version, is_gone: false }),
        Deletion::Now if options.dry_run => Ok(Deleted { object: old, revision: version, is_gone: true }),
        Deletion::Now => {
            let gone = Change { kind: key.kind, old: Some(&old), new: None };
            let beside = quota::charge(&call.state, key, gone).await?;
            let revision = objects.remove(current, key, &beside).await?;
            Ok(Deleted { object: old, revision, is_gone: true })
        }
        Deletion::Mark(object) if options.dry_run => Ok(Deleted { object, revision: version, is_gone: false }),
        Deletion::Mark(object) => {
            let stored = objects.replace(current, key, encode::stored(key.kind, &object), &[]).await?;
            Ok(Deleted { object, revision: stored.revision(), is_gone: false })
        }
    }
}

fn success(kind: &Kind, object: &Value) -> Status {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut status = Status::success(Some(Details {
        name: text("/metadata/name"),
        group: kind.group.to_owned(),
        kind: kind.plural.to_owned(),
        uid: text("/metadata/uid"),
        ..Details::default()
    }));
    // Upstream leaves the code of such a Status out.
    status.code = 0;
    status
}
