//! All keys of a store at one revision, as bytes that any engine can be filled from.
//!
//! - [`take`] reads a store, [`restore`] fills an engine through its transactions; `sqlite::restore` makes a store with the same revisions.
//! - `format`: the bytes. Pure.
//!
//! **Invariant:** a restored store stands at no older revision than the snapshot, so that no `resourceVersion` goes back.

mod format;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream;

pub use format::{Header, Reader, SnapshotError};
pub use restore::{Existing, RESTORING, RestoreError, Restored, largest_piece, restore};

use crate::{Error, Interval, RangeRequest, Store};
use format::Writer;

/// How many keys are read at once.
const PAGE: usize = 256;

/// The bytes of a snapshot, a page of keys at a time, all of one revision: that of the first page.
///
/// Writing goes on meanwhile. If its revision is compacted before the end, the stream ends with [`Error::Compacted`]: take another one.
pub fn take(store: Arc<dyn Store>) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream::try_unfold(Taking { store, at: At::Start }, |taking| async {
        let Taking { store, at } = taking;
        Ok(next(&*store, at).await?.map(|(bytes, at)| (bytes, Taking { store, at })))
    })
}

struct Taking {
    store: Arc<dyn Store>,
    at: At,
}

/// How far a snapshot is.
enum At {
    Start,
    /// This request is next.
    Page(RangeRequest, Box<Writer>),
    End,
}

async fn next(store: &dyn Store, at: At) -> Result<Option<(Bytes, At)>, Error> {
    let (request, writer) = match at {
        At::Start => (RangeRequest::new(Interval::all()).limit(PAGE), None),
        At::Page(request, writer) => (request, Some(writer)),
        At::End => return Ok(None),
    };
    let page = store.range(request).await?;
    let mut writer = writer.unwrap_or_else(|| Box::new(Writer::begin(page.revision)));
    page.kvs.iter().for_each(|kv| writer.entry(kv));
    let Some(last) = page.kvs.last().filter(|_| page.more()) else {
        return Ok(Some((writer.end(), At::End)));
    };
    let rest = RangeRequest::new(Interval::all().behind(&last.key)).at(page.revision).limit(PAGE);
    Ok(Some((writer.written(), At::Page(rest, writer))))
}
