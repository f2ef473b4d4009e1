//! What creates, updates and patches have in common: what the world gives to the rules, admission, and the loop of
//! read, decide, compare-and-swap.

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{Kind, ObjectKey, Status};
use remora_rules::managed::{self, Writer};
use remora_rules::metadata::place;
use remora_rules::patch::manager_of_agent;
use remora_rules::quota::Change;
use remora_rules::rbac::node;
use remora_rules::strategy::{Ctx, SUFFIX_ALPHABET, Strategy, strategy};
use remora_store::Revision;
use serde_json::Value;
use uuid::Uuid;

use crate::auth::authz::{self, Wanted};
use crate::objects::{StoredObject, WriteError};
use crate::request::Part;
use crate::server::{Call, State};
use crate::{admission, deletion, encode, forms, quota, response, services};

/// What an attempt would make of the object as it is stored now.
pub struct Attempt {
    /// The new object, decoded.
    pub object: Value,
    /// For the client.
    pub warnings: Vec<String>,
}

/// What came of a write.
pub struct Written {
    /// The object's bytes, without resourceVersion.
    pub bytes: Bytes,
    /// Where they are; none if they were not kept.
    pub revision: Option<Revision>,
    /// For the client.
    pub warnings: Vec<String>,
}

/// Time, uid and random letters for the rules.
pub fn ctx(state: &State) -> Ctx {
    let uid = Uuid::new_v4();
    let random = Uuid::new_v4();
    let letter = |byte: &u8| char::from(SUFFIX_ALPHABET[usize::from(*byte) % SUFFIX_ALPHABET.len()]);
    // The first five bytes of a version 4 UUID are random.
    let suffix = random.as_bytes()[..5].iter().map(letter).collect();
    Ctx { now: state.now(), uid: uid.to_string(), suffix }
}

/// The rules for a part of a kind.
///
/// # Errors
/// 405 if it has none: such a part cannot be written.
pub fn rules_for(kind: &Kind, part: Part) -> Result<&'static Strategy, Status> {
    strategy(kind, part.subresource()).ok_or_else(Status::method_not_allowed)
}

/// Who writes what, for the managers of its fields.
///
/// # Errors
/// 405 if the part cannot be written.
pub fn writer<'c>(
    call: &'c Call,
    kind: &'static Kind,
    part: Part,
    named: Option<&'c str>,
) -> Result<Writer<'c>, Status> {
    let agent = call.parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    Ok(Writer {
        kind,
        subresource: part.subresource(),
        resets: rules_for(kind, part)?.resets,
        name: named.unwrap_or_else(|| manager_of_agent(agent)),
        now: call.state.now(),
    })
}

/// Reads, lets `attempt` decide by what is stored and its revision, and writes, until nobody writes in between. An attempt
/// whose object has a resourceVersion must meet exactly that.
///
/// # Errors
/// 404 if the object is gone, 409 if it is not at the resourceVersion that the attempt named, what `attempt` and the rules say.
pub async fn update(
    call: &Call,
    key: &ObjectKey,
    part: Part,
    dry_run: bool,
    attempt: impl Fn(&Value, Revision) -> Result<Attempt, Status>,
) -> Result<Written, Status> {
    let mut current = call.state.objects().require(key).await?;
    loop {
        let old = current.decoded();
        let wanted = attempt(&old, current.revision())?;
        match try_update(call, key, part, dry_run, (&current, &old), wanted).await {
            Ok(written) => return Ok(written),
            Err(WriteError::Raced(Some(now))) => current = now,
            Err(WriteError::Raced(None)) => return Err(Status::kind_not_found(key.kind, &key.name)),
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}

async fn try_update(
    call: &Call,
    key: &ObjectKey,
    part: Part,
    dry_run: bool,
    (current, old): (&StoredObject, &Value),
    attempt: Attempt,
) -> Result<Written, WriteError> {
    let Attempt { mut object, mut warnings } = attempt;
    let rules = rules_for(key.kind, part)?;
    check_version(key, rules, &place::take_resource_version(&mut object), current.revision())?;
    admission::update(&call.state, key.kind, part, &mut object, old).await?;
    if let Some(node) = authz::node_of(&call.user).filter(|_| admission::is_pods(key.kind) && part == Part::Status) {
        let forbidden = |why: String| Status::forbidden(key.kind.resource(), &key.name, &why);
        node::check_status(node, old, &object).map_err(forbidden)?;
    }
    let namespace = key.namespace.as_deref();
    let wanted = Wanted { kind: key.kind, namespace, name: &key.name, new: &object, old: Some(old) };
    call.state.authorizer().check_escalation(&call.user, &wanted)?;
    let claimed = match part {
        Part::Whole => services::claim(&call.state, key.kind, &mut object, Some(old)).await?,
        _ => None,
    };
    let new = rules.update(key.kind, old, object, &ctx(&call.state))?;
    warnings.extend(admission::judge_change(call, key.kind, part, &new, old).await?);
    if new == *old || managed::differs_in_times_only(old, &new) {
        return Ok(Written { bytes: current.kv.value.clone(), revision: Some(current.revision()), warnings });
    }
    let is_released = deletion::is_released(key.kind, &new);
    let left = (!is_released).then_some(&new);
    let mut beside = quota::charge(&call.state, key, Change { kind: key.kind, old: Some(old), new: left }).await?;
    beside.extend(claimed);
    let bytes = encode::stored(key.kind, &new);
    if dry_run {
        return Ok(Written { bytes, revision: Some(current.revision()), warnings });
    }
    let objects = call.state.objects();
    if is_released {
        let revision = objects.remove(current, key, &beside).await?;
        return Ok(Written { bytes, revision: Some(revision), warnings });
    }
    let stored = objects.replace(current, key, bytes, &beside).await?;
    Ok(Written { revision: Some(stored.revision()), bytes: stored.kv.value, warnings })
}

/// 409 unless the version that is named, if any, is the present one.
fn check_version(key: &ObjectKey, rules: &Strategy, named: &str, current: Revision) -> Result<(), Status> {
    if named.is_empty() || named == "0" {
        if rules.unconditional_update {
            return Ok(());
        }
        let at = remora_model::Path::new("metadata");
        let why = "must be specified for an update";
        let error = remora_model::FieldError::invalid(&at.child("resourceVersion"), 0, why);
        return Err(Status::invalid(key.kind.qualified(), &key.name, &[error]));
    }
    if named == current.to_string() {
        return Ok(());
    }
    Err(Status::modified(key.kind.resource(), &key.name))
}

/// The answer to a write.
///
/// # Errors
/// If the client wants it in a form that cannot be made.
pub fn answer(call: &Call, code: StatusCode, kind: &'static Kind, written: &Written) -> Result<Response<Body>, Status> {
    let mut response = forms::answer(call, code, kind, &written.bytes, written.revision)?;
    response::warn(&mut response, &written.warnings);
    Ok(response)
}
