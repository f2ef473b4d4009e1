//! POST to `pods/NAME/eviction`: a deletion that says why, unless a disruption budget stands against it. What that allows is spent in the same
//! transaction in which the pod says that it goes; what it allows is `rules`' business.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status, kinds};
use remora_rules::disruption::{self, Allowed};
use remora_rules::metadata::place;
use remora_rules::object::{at, text};
use remora_rules::pod::eviction;
use remora_rules::rbac::node;
use remora_store::Revision;
use serde_json::Value;

use crate::auth::authz;
use crate::deletion::DeleteOptions;
use crate::objects::{Beside, WriteError};
use crate::request::WriteOptions;
use crate::server::Call;
use crate::verbs::delete;
use crate::{body, encode, response};

/// Marks the pod as one that is being evicted, and deletes it with the options of the body.
pub async fn answer(
    call: &Call,
    key: &ObjectKey,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut wanted = body::of_subresource(call, key.kind, "eviction", body).await?;
    if text(&wanted, &["metadata", "name"]) != key.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    place::set_namespace(key.kind, &mut wanted, key.namespace.as_deref())?;
    let deletion = deletion_of(&wanted, options)?;
    delete_marked(call, key, deletion).await?;
    let mut status = Status::success(None);
    status.code = StatusCode::CREATED.as_u16();
    Ok(response::status(&status))
}

/// A dry run may be asked for in either place.
fn deletion_of(eviction: &Value, options: &WriteOptions) -> Result<DeleteOptions, Status> {
    let asked = match at(eviction, &["deleteOptions"]) {
        Value::Null => DeleteOptions::default(),
        given => DeleteOptions::from_body(given)?,
    };
    Ok(DeleteOptions { dry_run: asked.dry_run || options.dry_run, ..asked })
}

/// A pod for which nothing was spent goes only as it was judged: if it serves by now, its budget is to be asked.
async fn delete_marked(call: &Call, key: &ObjectKey, asked: DeleteOptions) -> Result<(), Status> {
    loop {
        let marked = mark(call, key, &asked).await?;
        // The version that was meant is now this one.
        let is_bound = asked.version.is_some() || !marked.has_spent;
        let version = is_bound.then(|| marked.revision.to_string());
        match delete::delete(call, key, &DeleteOptions { version, ..asked.clone() }).await {
            // Whoever names a version learns that it is not the present one, and another pod of that name is not marked.
            Err(status) if status.code == 409 && !marked.has_spent && asked.version.is_none() => {}
            deleted => return deleted.map(drop),
        }
    }
}

/// A pod that says why it goes.
struct Marked {
    revision: Revision,
    /// Whether a budget has one disruption less.
    has_spent: bool,
}

/// Says on the pod why it goes, if its budget lets it go. Not on another one of that name, which the deletion will refuse.
async fn mark(call: &Call, key: &ObjectKey, deletion: &DeleteOptions) -> Result<Marked, Status> {
    let objects = call.state.objects();
    let mut current = objects.require(key).await?;
    loop {
        let pod = current.decoded();
        if let Some(node) = authz::node_of(&call.user) {
            let forbidden = |why: String| Status::forbidden(key.kind.resource(), &key.name, &why);
            node::check_eviction(node, &pod).map_err(forbidden)?;
        }
        deletion.check_preconditions(key.kind, &pod, &current.revision().to_string())?;
        let spent = spend(call, &pod).await?;
        let marked = match (eviction::mark(pod.clone(), call.state.now()), spent.is_empty() || deletion.dry_run) {
            (None, true) => return Ok(Marked { revision: current.revision(), has_spent: false }),
            (marked, _) => marked.unwrap_or(pod),
        };
        if deletion.dry_run {
            return Ok(Marked { revision: current.revision(), has_spent: false });
        }
        match objects.replace(&current, key, encode::stored(key.kind, &marked), &spent).await {
            Ok(stored) => return Ok(Marked { revision: stored.revision(), has_spent: !spent.is_empty() }),
            // Or the budget has changed meanwhile.
            Err(WriteError::Raced(Some(now))) => current = now,
            Err(WriteError::Raced(None)) => return Err(Status::kind_not_found(key.kind, &key.name)),
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}

/// The pod's budget, as it is when this pod may go.
///
/// # Errors
/// 429 if it may not; 500 if it has several budgets.
async fn spend(call: &Call, pod: &Value) -> Result<Vec<Beside>, Status> {
    if disruption::asks_nobody(pod) {
        return Ok(Vec::new());
    }
    let kind = kinds::v1("policy", "poddisruptionbudgets");
    let namespace = text(pod, &["metadata", "namespace"]);
    let all = call.state.objects().all_stored(kind, Some(namespace)).await?;
    let mut covering = all.iter().map(|stored| (stored, stored.decoded())).filter(|(_, b)| disruption::covers(b, pod));
    let (Some((stored, budget)), another) = (covering.next(), covering.next()) else { return Ok(Vec::new()) };
    if another.is_some() {
        return Err(disruption::too_many());
    }
    let key = ObjectKey::new(kind, Some(namespace), text(&budget, &["metadata", "name"]));
    match disruption::judge(&budget, pod, call.state.now())? {
        Allowed::Unserving => Ok(Vec::new()),
        Allowed::Spent(spent) => {
            let bytes = Some(encode::stored(kind, &spent));
            Ok(vec![Beside { key, read_at: Some(stored.revision()), bytes }])
        }
    }
}
