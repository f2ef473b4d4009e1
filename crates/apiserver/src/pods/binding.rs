//! POST to `pods/NAME/binding`: the scheduler's decision. What it does to the pod is `rules`' business.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};
use remora_rules::metadata::place;
use remora_rules::pod::binding;
use remora_rules::strategy::Ctx;
use serde_json::Value;

use crate::objects::WriteError;
use crate::request::WriteOptions;
use crate::server::Call;
use crate::verbs::write;
use crate::{body, encode, response};

/// Assigns the pod to a node.
pub async fn answer(
    call: &Call,
    key: &ObjectKey,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut wanted = body::of_subresource(call, key.kind, "binding", body).await?;
    place::set_name(&mut wanted, &key.name)?;
    place::set_namespace(key.kind, &mut wanted, key.namespace.as_deref())?;
    bind(call, key, &wanted, options.dry_run, &write::ctx(&call.state)).await?;
    let mut status = Status::success(None);
    status.code = StatusCode::CREATED.as_u16();
    Ok(response::status(&status))
}

async fn bind(call: &Call, key: &ObjectKey, wanted: &Value, dry_run: bool, ctx: &Ctx) -> Result<(), Status> {
    let objects = call.state.objects();
    let mut current = objects.require(key).await?;
    loop {
        let bound = binding::bind(&current.decoded(), wanted, ctx)?;
        if dry_run {
            return Ok(());
        }
        match objects.replace(&current, key, encode::stored(key.kind, &bound), &[]).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Raced(Some(now))) => current = now,
            Err(WriteError::Raced(None)) => return Err(Status::kind_not_found(key.kind, &key.name)),
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}
