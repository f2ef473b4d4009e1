//! PUT of an object or of one of its parts.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};
use remora_rules::managed;
use remora_rules::metadata::place;
use serde_json::Value;

use super::create;
use super::write::{self, Attempt};
use crate::body;
use crate::request::{Part, WriteOptions};
use crate::server::Call;

/// Replaces what the part may change; kinds that allow it are created if they are not there.
pub async fn answer(
    call: &Call,
    key: &ObjectKey,
    part: Part,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut decoded = body::object(call, key.kind, body, options.field_validation).await?;
    place::set_name(&mut decoded.object, &key.name)?;
    place::set_namespace(key.kind, &mut decoded.object, key.namespace.as_deref())?;
    let writer = write::writer(call, key.kind, part, options.field_manager.as_deref())?;
    let creates = part == Part::Whole && write::rules_for(key.kind, part)?.create_on_update;
    if creates && call.state.objects().get(key).await?.is_none() {
        managed::update::create(&writer, &mut decoded.object);
        let written = create::keep(call, key.kind, key.namespace.as_deref(), decoded, options).await?;
        return write::answer(call, StatusCode::CREATED, key.kind, &written);
    }
    let attempt = |old: &Value, _| {
        place::check_uid(key.kind, &decoded.object, old)?;
        let mut object = decoded.object.clone();
        managed::update::update(&writer, old, &mut object);
        Ok(Attempt { object, warnings: decoded.warnings.clone() })
    };
    let written = write::update(call, key, part, options.dry_run, attempt).await?;
    write::answer(call, StatusCode::OK, key.kind, &written)
}
