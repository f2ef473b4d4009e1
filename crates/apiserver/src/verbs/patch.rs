//! PATCH of an object or of one of its parts: the patch is applied anew to what is there, until nobody writes in between.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};
use remora_rules::kinds::event;
use remora_rules::metadata::place;
use remora_rules::patch::{self, PatchType};

use super::write::{self, Attempt};
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
    if options.patch == PatchType::Apply {
        // Server-side apply would also create what is not there: it is refused before anything is looked up.
        return Err(Status::unsupported_media_type(&PatchType::MEDIA_TYPES[..3]));
    }
    let bytes = body::read(body).await?;
    let write = &options.write;
    let written = write::update(call, key, part, write.dry_run, |old, revision| {
        let mut before = event::from_stored(key.kind, old.clone());
        encode::set_revision(&mut before, revision);
        let mut made = patch::apply(key.kind, options.patch, &before, &bytes, write.field_validation)?;
        place::set_name(&mut made.object, &key.name)?;
        place::set_namespace(key.kind, &mut made.object, key.namespace.as_deref())?;
        Ok(Attempt { object: event::to_stored(key.kind, made.object), warnings: made.warnings })
    });
    write::answer(call, StatusCode::OK, key.kind, &written.await?)
}
