//! POST to a collection.

use http::{Method, Response, StatusCode};
use remora_http::Body;
use remora_model::kinds::Storage;
use remora_model::{Kind, ObjectKey, Status};
use remora_rules::decode::Decoded;
use remora_rules::managed;
use remora_rules::metadata::place;
use remora_rules::object::text;
use remora_rules::quota::Change;
use remora_rules::rbac::node;
use serde_json::Value;

use super::review;
use super::write::{self, Written};
use crate::auth::authz::{self, Attributes, Wanted};
use crate::objects::{Beside, WriteError};
use crate::request::{Collection, Part, WriteOptions};
use crate::server::Call;
use crate::{admission, body, encode, quota, services};

/// How often a generated name may be taken before the client is told (upstream: 8).
const GENERATE_ATTEMPTS: usize = 8;

/// Creates one object, or answers a review.
pub async fn answer(
    call: &Call,
    what: &Collection,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut decoded = body::object(call, what.kind, body, options.field_validation).await?;
    if what.kind.storage == Storage::Virtual {
        return review::answer(call, what, decoded).await;
    }
    place::set_namespace(what.kind, &mut decoded.object, what.namespace.as_deref())?;
    call.trail.names(text(&decoded.object, &["metadata", "name"]));
    let writer = write::writer(call, what.kind, Part::Whole, options.field_manager.as_deref())?;
    managed::update::create(&writer, &mut decoded.object);
    let written = keep(call, what.kind, what.namespace.as_deref(), decoded, options).await?;
    write::answer(call, StatusCode::CREATED, what.kind, &written)
}

/// Admits, completes, checks and keeps a decoded object, whose fields have their managers.
///
/// # Errors
/// 403 and 404 of admission and of roles that give too much, 422 of validation, 409 if the name is taken.
pub async fn keep(
    call: &Call,
    kind: &'static Kind,
    namespace: Option<&str>,
    decoded: Decoded,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let Decoded { mut object, mut warnings } = decoded;
    let within = admission::create(&call.state, kind, namespace, &mut object).await?;
    check_rights(call, kind, namespace, &object)?;
    let rules = write::rules_for(kind, Part::Whole)?;
    let is_generated = object.pointer("/metadata/name").is_none();
    let mut attempts = if is_generated { GENERATE_ATTEMPTS } else { 1 };
    loop {
        let mut wanted = object.clone();
        let claimed = services::claim(&call.state, kind, &mut wanted, None).await?;
        let new = rules.create(kind, wanted, &write::ctx(&call.state))?;
        let judged = admission::judge_new(call, kind, &within, &new).await?;
        let name = new.pointer("/metadata/name").and_then(|n| n.as_str()).unwrap_or_default();
        let key = ObjectKey::new(kind, namespace, name);
        call.trail.names(name);
        let mut beside = quota::charge(&call.state, &key, Change { kind, old: None, new: Some(&new) }).await?;
        beside.extend(claimed);
        match keep_bytes(call, &key, encode::stored(kind, &new), &beside, options.dry_run).await {
            Ok((bytes, revision)) => {
                warnings.extend(judged);
                return Ok(Written { bytes, revision, warnings });
            }
            Err(WriteError::Status(status)) => return Err(*status),
            // A quota has changed meanwhile, or another service has taken something.
            Err(WriteError::Raced(None)) => {}
            Err(WriteError::Raced(Some(_))) if attempts > 1 => attempts -= 1,
            Err(WriteError::Raced(Some(_))) if is_generated => {
                return Err(Status::generate_name_conflict(kind.resource(), &key.name));
            }
            Err(WriteError::Raced(Some(_))) => return Err(Status::already_exists(kind.resource(), &key.name)),
        }
    }
}

/// What an update or an apply creates must be allowed to be created; nobody makes a role or binding that gives more than they have, and
/// nodes make no pods but mirrors of their own.
fn check_rights(call: &Call, kind: &Kind, namespace: Option<&str>, new: &Value) -> Result<(), Status> {
    // A POST names nothing in its path, and was asked for this right before.
    let is_post = call.parts.method == Method::POST;
    let name = if is_post { "" } else { text(new, &["metadata", "name"]) };
    if !is_post {
        let (group, resource) = (kind.group, kind.plural);
        let namespace = namespace.unwrap_or_default();
        let what = Attributes::Resource { verb: "create", group, resource, subresource: "", namespace, name };
        let decision = call.state.authorizer().decide(&call.user, &what);
        if !decision.allowed {
            return Err(authz::forbidden(&call.user, &what, &decision.reason));
        }
    }
    if let Some(node) = authz::node_of(&call.user).filter(|_| kind.group.is_empty() && kind.plural == "pods") {
        let name = text(new, &["metadata", "name"]);
        node::check_pod(node, new).map_err(|why| Status::forbidden(kind.resource(), name, &why))?;
    }
    call.state.authorizer().check_escalation(&call.user, &Wanted { kind, namespace, name, new, old: None })
}

async fn keep_bytes(
    call: &Call,
    key: &ObjectKey,
    bytes: bytes::Bytes,
    beside: &[Beside],
    dry_run: bool,
) -> Result<(bytes::Bytes, Option<remora_store::Revision>), WriteError> {
    let objects = call.state.objects();
    if dry_run {
        return match objects.get(key).await? {
            Some(there) => Err(WriteError::Raced(Some(there))),
            None => Ok((bytes, None)),
        };
    }
    let stored = objects.create(key, bytes, beside).await?;
    let revision = stored.revision();
    Ok((stored.kv.value, Some(revision)))
}
