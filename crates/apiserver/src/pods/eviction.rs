//! POST to `pods/NAME/eviction`: a deletion that says why. There are no disruption budgets yet that could stand against it.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};
use remora_rules::metadata::place;
use remora_rules::object::{at, text};
use remora_rules::pod::eviction;
use remora_store::Revision;
use serde_json::Value;

use crate::deletion::DeleteOptions;
use crate::objects::WriteError;
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
    let bytes = body::read(body).await?;
    let mut wanted = body::typed(call.content_type(), &bytes, "Eviction")?;
    if text(&wanted, &["metadata", "name"]) != key.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    place::set_namespace(key.kind, &mut wanted, key.namespace.as_deref())?;
    let mut deletion = deletion_of(&wanted, options)?;
    if !deletion.dry_run {
        let revision = mark(call, key, &deletion).await?;
        // The version that was meant is now this one.
        deletion.version = deletion.version.map(|_| revision.to_string());
    }
    delete::delete(call, key, &deletion).await?;
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

/// Says on the pod why it goes. Not on another one of that name, which the deletion will refuse.
async fn mark(call: &Call, key: &ObjectKey, deletion: &DeleteOptions) -> Result<Revision, Status> {
    let objects = call.state.objects();
    let mut current = objects.require(key).await?;
    loop {
        let pod = current.decoded();
        deletion.check_preconditions(key.kind, &pod, &current.revision().to_string())?;
        let Some(marked) = eviction::mark(pod, call.state.now()) else { return Ok(current.revision()) };
        match objects.replace(&current, key, encode::stored(key.kind, marked), &[]).await {
            Ok(stored) => return Ok(stored.revision()),
            Err(WriteError::Raced(Some(now))) => current = now,
            Err(WriteError::Raced(None)) => return Err(Status::kind_not_found(key.kind, &key.name)),
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}
