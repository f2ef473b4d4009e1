//! GET of one object. Its bytes are answered as they are stored.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};

use crate::forms;
use crate::objects::{StoredObject, store_status};
use crate::server::Call;

/// The object, at least as new as `version`.
pub async fn answer(call: &Call, key: &ObjectKey, version: Option<u64>) -> Result<Response<Body>, Status> {
    let found = read(call, key, version).await?;
    forms::answer(call, StatusCode::OK, key.kind, &found.kv.value, Some(found.revision()))
}

/// The object as stored, at least as new as `version`.
///
/// # Errors
/// 404 if there is none, 504 if no such version has been yet.
pub async fn read(call: &Call, key: &ObjectKey, version: Option<u64>) -> Result<StoredObject, Status> {
    let found = call.state.objects().require(key).await?;
    if let Some(wanted) = version.filter(|v| *v > found.revision().0) {
        let current = call.state.objects().store().revision().await.map_err(|error| store_status(&error))?;
        if wanted > current.0 {
            return Err(Status::too_large_resource_version(wanted, current.0));
        }
    }
    Ok(found)
}
