//! `…/scale`: the number of replicas alone. What it shows and changes of the object is `rules`' business; the object is written as any other.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::kinds::SCALE;
use remora_model::{ObjectKey, Status};
use remora_rules::managed::Writer;
use remora_rules::managed::apply::Onto;
use remora_rules::metadata::place;
use remora_rules::object::{field_mut, set, text};
use remora_rules::patch::{self, PatchType};
use remora_rules::{decode, managed, scale};
use remora_store::Revision;
use serde_json::Value;

use super::get;
use super::patch::Config;
use super::write::{self, Attempt, Written};
use crate::request::{Part, PatchOptions, WriteOptions};
use crate::server::Call;
use crate::{body, encode, forms, response};

/// The scale of an object.
pub async fn get(call: &Call, key: &ObjectKey, version: Option<u64>) -> Result<Response<Body>, Status> {
    let found = get::read(call, key, version).await?;
    shown(call, &found.decoded(), Some(found.revision()))
}

/// Sets the number of replicas.
pub async fn update(
    call: &Call,
    key: &ObjectKey,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut decoded = body::object(call, &SCALE, body, options.field_validation).await?;
    put_in_place(key, &mut decoded.object)?;
    let attempt = |_: &Value, _| Ok((decoded.object.clone(), decoded.warnings.clone()));
    let written = write(call, key, options, attempt).await?;
    answer(call, &written)
}

/// Changes the number of replicas.
pub async fn patch(call: &Call, key: &ObjectKey, options: &PatchOptions, body: Body) -> Result<Response<Body>, Status> {
    let bytes = body::read(body).await?;
    if options.patch == PatchType::Apply {
        return apply(call, key, options, &bytes).await;
    }
    let write_options = &options.write;
    let attempt = |old: &Value, revision: Revision| {
        let mut before = old.clone();
        encode::set_revision(&mut before, revision);
        let mut made =
            patch::apply(&SCALE, options.patch, &scale::of(&before), &bytes, write_options.field_validation)?;
        put_in_place(key, &mut made.object)?;
        Ok((made.object, made.warnings))
    };
    let written = write(call, key, write_options, attempt).await?;
    answer(call, &written)
}

/// Server-side apply of the number of replicas.
async fn apply(call: &Call, key: &ObjectKey, options: &PatchOptions, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let config = Config::parse(bytes, options.write.field_validation)?;
    let writer = write::writer(call, key.kind, Part::Scale, options.write.field_manager.as_deref())?;
    let writer = Writer { kind: &SCALE, ..writer };
    let attempt = |old: &Value, revision: Revision| {
        let mut before = old.clone();
        encode::set_revision(&mut before, revision);
        let mut live = scale::of(&before);
        let managers = managed::scale::of(key.kind, old).unwrap_or_default();
        set(field_mut(&mut live, "metadata"), "managedFields", managers);
        let made = managed::apply::apply(&writer, Onto { live: Some(&live), force: options.force }, &config.value)?;
        let mut applied = decode::applied(&SCALE, made)?;
        place::set_name(&mut applied, &key.name)?;
        place::set_namespace(key.kind, &mut applied, key.namespace.as_deref())?;
        let mut object = scale::put(old, &applied)?;
        managed::scale::put(key.kind, &mut object, &applied);
        Ok(Attempt { object, warnings: config.warnings.clone() })
    };
    let written = write::update(call, key, Part::Scale, options.write.dry_run, attempt).await?;
    answer(call, &written)
}

fn put_in_place(key: &ObjectKey, scale: &mut Value) -> Result<(), Status> {
    if text(scale, &["metadata", "name"]).is_empty() {
        return Err(place::nameless(&key.name));
    }
    place::set_name(scale, &key.name)?;
    place::set_namespace(key.kind, scale, key.namespace.as_deref())
}

/// Writes the object with the scale that `attempt` makes of it.
async fn write(
    call: &Call,
    key: &ObjectKey,
    options: &WriteOptions,
    attempt: impl Fn(&Value, Revision) -> Result<(Value, Vec<String>), Status>,
) -> Result<Written, Status> {
    let writer = write::writer(call, key.kind, Part::Scale, options.field_manager.as_deref())?;
    let attempt = |old: &Value, revision| {
        let (wanted, warnings) = attempt(old, revision)?;
        let mut object = scale::put(old, &wanted)?;
        managed::update::update(&writer, old, &mut object);
        Ok(Attempt { object, warnings })
    };
    write::update(call, key, Part::Scale, options.dry_run, attempt).await
}

fn answer(call: &Call, written: &Written) -> Result<Response<Body>, Status> {
    let mut response = shown(call, &encode::decode(&written.bytes), written.revision)?;
    response::warn(&mut response, &written.warnings);
    Ok(response)
}

fn shown(call: &Call, object: &Value, revision: Option<Revision>) -> Result<Response<Body>, Status> {
    let bytes = encode::stored(&SCALE, &scale::of(object));
    forms::answer(call, StatusCode::OK, &SCALE, &bytes, revision)
}
