//! DELETE of a collection: each selected object is deleted on its own; what somebody else has deleted meanwhile is fine.

use bytes::{BufMut, BytesMut};
use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::{ObjectKey, Status};

use super::{delete, list};
use crate::encode::Head;
use crate::request::{Collection, ListOptions};
use crate::response;
use crate::selection::Selection;
use crate::server::Call;

/// Deletes what is selected, and answers with it.
pub async fn answer(
    call: &Call,
    what: &Collection,
    options: &ListOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let deletion = delete::options(call, body).await?;
    let selection = Selection::parse(what, options)?;
    let page = list::read(call.state.objects().store().as_ref(), &selection, options).await?;
    let head = Head::of(what.kind);
    let mut out = BytesMut::new();
    let (kind, version) = (what.kind.list_kind(), what.kind.api_version());
    let revision = page.revision;
    out.put_slice(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\"items\":[").as_bytes());
    let mut is_first = true;
    for kv in &page.items {
        let text = String::from_utf8_lossy(&kv.key);
        let Some(found) = ObjectKey::from_store_key(&text) else { continue };
        let key = ObjectKey { kind: what.kind, ..found };
        match delete::delete(call, &key, &deletion).await {
            Err(status) if status.code == 404 => continue,
            other => other?,
        };
        if !std::mem::take(&mut is_first) {
            out.put_u8(b',');
        }
        head.push_item(&mut out, &kv.value, kv.mod_revision);
    }
    out.put_slice(b"]}");
    Ok(response::json_bytes(StatusCode::OK, out.freeze()))
}
