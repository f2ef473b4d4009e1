//! PATCH of an object or of one of its parts: the patch is applied anew to what is there, until nobody writes in between. Server-side
//! apply also creates what is not there.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::json::{Limits, Parsed, parse};
use remora_model::{ObjectKey, Status};
use remora_rules::decode::{self, Decoded, FieldValidation};
use remora_rules::kinds::event;
use remora_rules::managed::apply::{Onto, apply};
use remora_rules::managed::{self, Writer};
use remora_rules::metadata::place;
use remora_rules::object::text;
use remora_rules::patch::{self, PatchType};
use serde_json::Value;

use super::create;
use super::write::{self, Attempt, Written};
use crate::request::media::YAML;
use crate::request::{Part, PatchOptions};
use crate::server::Call;
use crate::{body, encode};

/// Applies the patch.
pub async fn answer(
    call: &Call,
    key: &ObjectKey,
    part: Part,
    options: &PatchOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let bytes = body::read(body).await?;
    let write = &options.write;
    let writer = write::writer(call, key.kind, part, write.field_manager.as_deref())?;
    if options.patch == PatchType::Apply {
        let config = Config::parse(&bytes, write.field_validation)?;
        return Apply { call, key, part, options, writer, config }.answer().await;
    }
    let written = write::update(call, key, part, write.dry_run, |old, revision| {
        let mut before = event::from_stored(key.kind, old.clone());
        encode::set_revision(&mut before, revision);
        let mut made = patch::apply(key.kind, options.patch, &before, &bytes, write.field_validation)?;
        put_in_place(key, &mut made.object)?;
        let mut object = event::to_stored(key.kind, made.object);
        managed::update::update(&writer, old, &mut object);
        Ok(Attempt { object, warnings: made.warnings })
    });
    write::answer(call, StatusCode::OK, key.kind, &written.await?)
}

fn put_in_place(key: &ObjectKey, object: &mut Value) -> Result<(), Status> {
    place::set_name(object, &key.name)?;
    place::set_namespace(key.kind, object, key.namespace.as_deref())
}

/// What is applied.
pub(super) struct Config {
    /// As it was sent.
    pub(super) value: Value,
    /// For the client.
    pub(super) warnings: Vec<String>,
}

impl Config {
    /// Reads YAML, mostly JSON.
    pub(super) fn parse(bytes: &[u8], validation: FieldValidation) -> Result<Self, Status> {
        let wrong = |why: &dyn std::fmt::Display| Status::bad_request(format!("error decoding YAML: {why}"));
        let parsed = parse(bytes, Limits::OBJECT).or_else(|_| body::parse(Some(YAML), bytes));
        let Parsed { value, duplicates } = parsed.map_err(|status| wrong(&status))?;
        if !value.is_object() {
            return Err(wrong(&"the patch is no object"));
        }
        // Clients send JSON in one line.
        let place = if bytes.contains(&b'\n') { "" } else { "line 1: " };
        let key = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
        let twice: Vec<String> =
            duplicates.iter().map(|path| format!("{place}key {:?} already set in map", key(path))).collect();
        match validation {
            FieldValidation::Strict if !twice.is_empty() => {
                let lines = twice.join("\n  ");
                let why = format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}");
                Err(Status::bad_request(format!("error strict decoding YAML: {why}")))
            }
            FieldValidation::Warn => Ok(Self { value, warnings: twice }),
            _ => Ok(Self { value, warnings: Vec::new() }),
        }
    }
}

/// A server-side apply on its way.
struct Apply<'a> {
    call: &'a Call,
    key: &'a ObjectKey,
    part: Part,
    options: &'a PatchOptions,
    writer: Writer<'a>,
    config: Config,
}

impl Apply<'_> {
    async fn answer(&self) -> Result<Response<Body>, Status> {
        let (call, kind) = (self.call, self.key.kind);
        loop {
            if call.state.objects().get(self.key).await?.is_none() && self.part == Part::Whole {
                match self.create().await {
                    // Somebody else was first: it is applied to what that one has made.
                    Err(status) if status.reason == "AlreadyExists" => continue,
                    written => return write::answer(call, StatusCode::CREATED, kind, &written?),
                }
            }
            let attempt = |old: &Value, _| {
                let object = self.applied(Some(old))?;
                Ok(Attempt { object, warnings: self.config.warnings.clone() })
            };
            let written = write::update(call, self.key, self.part, self.options.write.dry_run, attempt).await;
            return write::answer(call, StatusCode::OK, kind, &written?);
        }
    }

    async fn create(&self) -> Result<Written, Status> {
        let key = self.key;
        let name = text(&self.config.value, &["metadata", "name"]);
        let mut object = self.applied(None)?;
        if name.is_empty() {
            return Err(place::nameless(&key.name));
        }
        let uid = text(&object, &["metadata", "uid"]);
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(key.kind.resource(), &key.name, &why));
        }
        place::take_resource_version(&mut object);
        let decoded = Decoded { object, warnings: self.config.warnings.clone() };
        create::keep(self.call, key.kind, key.namespace.as_deref(), decoded, &self.options.write).await
    }

    /// What is to be stored.
    fn applied(&self, live: Option<&Value>) -> Result<Value, Status> {
        let kind = self.key.kind;
        let made = apply(&self.writer, Onto { live, force: self.options.force }, &self.config.value)?;
        let mut object = decode::applied(kind, made)?;
        put_in_place(self.key, &mut object)?;
        Ok(event::to_stored(kind, object))
    }
}
