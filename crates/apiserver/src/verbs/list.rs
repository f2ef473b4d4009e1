//! GET of a collection: at one revision, in pages if asked, its items joined from stored bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::Response;
use remora_http::Body;
use remora_model::Status;
use remora_rules::flow::list::Size;
use remora_store::{Error, Interval, KeyValue, RangeRequest, Revision, Store};
use serde::{Deserialize, Serialize};

use crate::objects::store_status;
use crate::request::{Collection, ListOptions, Match};
use crate::selection::Selection;
use crate::server::Call;
use crate::{encode, forms};

/// The version word in continue tokens, as upstream's.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// How many objects are read at once when a selector may drop most of them.
const CHUNK: usize = 500;

/// One page of a collection.
#[derive(Debug)]
pub struct Page {
    /// The objects, in the order of their keys.
    pub items: Vec<KeyValue>,
    /// The revision of them all.
    pub revision: Revision,
    /// The token for the next page.
    pub continues: Option<String>,
    /// How many are left, if that is known.
    pub remaining: Option<u64>,
    /// What was read for it, also of what is not selected.
    pub read: Size,
}

/// What upstream packs into a continue token (k8s.io/apiserver `pkg/storage/continue.go`).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

/// A page of the collection.
pub async fn answer(call: &Call, what: &Collection, options: &ListOptions) -> Result<Response<Body>, Status> {
    let selection = Selection::parse(what, options)?;
    let page = read(call.state.objects().store().as_ref(), &selection, options).await?;
    call.state.sizes().note(&selection, options, &page);
    forms::answer_list(call, what.kind, &page)
}

/// Reads one page.
///
/// # Errors
/// 400 for a bad token, 410 if its revision is gone, 504 for a revision that is not there yet.
pub async fn read(store: &dyn Store, selection: &Selection, options: &ListOptions) -> Result<Page, Status> {
    let (mut interval, at) = match &options.continues {
        Some(token) => resume(selection, token)?,
        None => (selection.interval(), pinned(store, options).await?),
    };
    let limit = options.limit.unwrap_or(usize::MAX);
    let is_all = selection.is_all();
    let chunk = if is_all { options.limit } else { options.limit.map(|_| CHUNK) };
    let (mut items, mut at, mut size): (Vec<KeyValue>, Option<Revision>, Size) = (Vec::new(), at, Size::default());
    loop {
        let request = RangeRequest { interval: interval.clone(), at, limit: chunk };
        let read = store.range(request).await.map_err(|error| list_status(&error, options))?;
        at = Some(read.revision);
        let (has_more, last) = (read.more(), read.kvs.last().map(|kv| kv.key.clone()));
        for (place, kv) in read.kvs.iter().enumerate() {
            size.objects += 1;
            size.bytes += u64::try_from(kv.value.len()).unwrap_or_default();
            if !is_all && !selection.selects(&encode::decode(&kv.value)) {
                continue;
            }
            items.push(kv.clone());
            let is_last = !has_more && place + 1 == read.kvs.len();
            if items.len() == limit && !is_last {
                let left = (is_all && place + 1 == read.kvs.len()).then_some(read.remaining);
                return page_with_more(selection, items, read.revision, left).map(|page| Page { read: size, ..page });
            }
        }
        match last.filter(|_| has_more) {
            Some(key) => interval = interval.behind(&key),
            None => return Ok(Page { items, revision: read.revision, continues: None, remaining: None, read: size }),
        }
    }
}

fn page_with_more(
    selection: &Selection,
    items: Vec<KeyValue>,
    revision: Revision,
    remaining: Option<u64>,
) -> Result<Page, Status> {
    let last = items.last().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).unwrap_or_default();
    let start = format!("{}\0", last.strip_prefix(selection.prefix()).unwrap_or_default());
    let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision.0, start };
    let continues = Some(BASE64.encode(encode::json(&token)));
    Ok(Page { items, revision, continues, remaining, read: Size::default() })
}

/// From where on a token reads, and at which revision.
fn resume(selection: &Selection, token: &str) -> Result<(Interval, Option<Revision>), Status> {
    let bad = |why: &dyn std::fmt::Display| Status::bad_request(format!("continue key is not valid: {why}"));
    let bytes = BASE64.decode(token.trim_end_matches('=')).map_err(|error| bad(&error))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(&error))?;
    if token.v != TOKEN_VERSION || token.rv == 0 {
        return Err(bad(&format!("unrecognized version {:?}", token.v)));
    }
    let last = token.start.strip_suffix('\0').unwrap_or(&token.start);
    if last.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(bad(&"it leads elsewhere"));
    }
    let interval = selection.interval().behind(format!("{}{last}", selection.prefix()).as_bytes());
    Ok((interval, Some(Revision(token.rv))))
}

/// The revision that the options pin the list to; none is the newest, which is never older than any that was answered.
async fn pinned(store: &dyn Store, options: &ListOptions) -> Result<Option<Revision>, Status> {
    let Some(wanted) = options.resource_version.filter(|v| *v > 0) else { return Ok(None) };
    // Without a match, a limit has always meant exactly that revision.
    let is_exact = match options.version_match {
        Some(matching) => matching == Match::Exact,
        None => options.limit.is_some(),
    };
    if is_exact {
        return Ok(Some(Revision(wanted)));
    }
    let current = store.revision().await.map_err(|error| store_status(&error))?;
    if wanted > current.0 {
        return Err(Status::too_large_resource_version(wanted, current.0));
    }
    Ok(None)
}

fn list_status(error: &Error, options: &ListOptions) -> Status {
    match (error, &options.continues) {
        (Error::Compacted { .. }, Some(_)) => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You must start a new list \
             without the continue parameter.",
        ),
        (Error::Compacted { .. }, None) => Status::expired("The resourceVersion for the provided list is too old."),
        _ => store_status(error),
    }
}
