//! GET of a collection with `watch=true`: what exists, if asked, then what happens. An event is encoded once for each
//! form, whoever watches: the bytes are kept on the event ([`remora_store::Event::slot`]).
//!
//! ```text
//! initial objects ──▶ (bookmark that ends them) ──▶ events, bookmarks ──▶ time-out or shutdown: end of stream
//!                                                          └─ too slow, or history gone: ERROR event, end of stream
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Response, StatusCode};
use remora_http::{Body, body};
use remora_model::{Kind, Status};
use remora_store::{Event, KeyValue, Revision, Watch, WatchError, WatchItem, WatchRequest};
use tokio::time::Instant;
use uuid::Uuid;

use super::list;
use crate::encode;
use crate::events::{EventWriter, Kept, Type};
use crate::metrics::Watching;
use crate::objects::store_status;
use crate::request::media::JSON;
use crate::request::{Collection, ListOptions, WatchOptions};
use crate::response;
use crate::selection::Selection;
use crate::server::Call;

/// How often an idle watch is told where it stands, if it wants bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch with bookmarks is told once more where it stands, so that the next one goes on from there; a shorter one is
/// not (upstream's `getWatchDeadline`).
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// The shortest life of a watch that names none, in seconds; it lives up to twice as long (upstream's
/// `--min-request-timeout`), so that not all end at once.
const SHORTEST_LIFE: u64 = 1800;
/// The longest life of a watch, whatever is asked for: clocks end somewhere.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a watch begins with.
struct Start {
    /// Objects that exist, to be told as added.
    initial: Vec<KeyValue>,
    /// The revision of those; the watch goes on after it.
    after: Revision,
    /// Whether a bookmark ends them.
    announces_end: bool,
}

/// Starts a watch.
pub async fn answer(call: &Call, what: &Collection, options: &WatchOptions) -> Result<Response<Body>, Status> {
    let selection = Selection::parse(what, &options.list)?;
    let start = start(call, &selection, options).await?;
    let mut request = WatchRequest::new(selection.interval()).after(start.after);
    if options.bookmarks {
        request = request.progress_every(BOOKMARK_EVERY);
    }
    let store = call.state.objects().store();
    let watch = store.watch(request).await.map_err(|error| store_status(&error))?;
    let life = options.timeout.unwrap_or_else(some_life).min(LONGEST_LIFE);
    let mut writer = EventWriter::new(call, what.kind);
    let waiting = writer.initial(&start.initial, start.announces_end.then_some(start.after));
    let ends = Instant::now() + life;
    let last_bookmark = (options.bookmarks && life > LAST_BOOKMARK).then(|| ends - LAST_BOOKMARK);
    let session = Session {
        watch,
        selection,
        stored_as: encode::storage_kind(what.kind),
        writer,
        waiting,
        ends,
        last_bookmark,
        has_ended: false,
        _counted: call.state.metrics().watching(what.kind.group, what.kind.plural),
    };
    let body = body::stream(session.frames());
    let body = body::until_shutdown(body, call.connection.shutdown().clone());
    Ok(response::with_type(StatusCode::OK, JSON, body))
}

/// A random life, so that watches that began together do not end together.
fn some_life() -> Duration {
    let random = u64::from(Uuid::new_v4().as_bytes()[0]) * SHORTEST_LIFE / 255;
    Duration::from_secs(SHORTEST_LIFE + random)
}

/// Where to begin: upstream's three meanings of resourceVersion, and KEP-3157's `sendInitialEvents`.
async fn start(call: &Call, selection: &Selection, options: &WatchOptions) -> Result<Start, Status> {
    let store = call.state.objects().store().as_ref();
    let version = options.list.resource_version.unwrap_or_default();
    let wants_initial = options.wants_initial();
    if !wants_initial && version > 0 {
        return Ok(Start { initial: Vec::new(), after: Revision(version), announces_end: false });
    }
    let current = store.revision().await.map_err(|error| store_status(&error))?;
    if version > current.0 {
        return Err(Status::too_large_resource_version(version, current.0));
    }
    if !wants_initial {
        return Ok(Start { initial: Vec::new(), after: current, announces_end: false });
    }
    let all = ListOptions::default();
    let page = list::read(store, selection, &all).await?;
    call.state.sizes().note(selection, &all, &page);
    let announces_end = options.bookmarks && options.initial_events == Some(true);
    Ok(Start { initial: page.items, after: page.revision, announces_end })
}

/// A running watch.
struct Session {
    watch: Watch,
    selection: Selection,
    /// The kind as which the objects are stored.
    stored_as: &'static Kind,
    writer: EventWriter,
    /// Frames that are ready.
    waiting: VecDeque<Bytes>,
    ends: Instant,
    /// When it is time for the last bookmark; none if that is asked for already, or not wanted.
    last_bookmark: Option<Instant>,
    has_ended: bool,
    _counted: Watching,
}

impl Session {
    /// The frames, each one event and its line's end.
    fn frames(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut session| async move {
            let frame = session.next().await?;
            Some((Ok(frame), session))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            if self.has_ended {
                return None;
            }
            // Cancel-safe: a stream's next() and a timer lose nothing when dropped.
            let item = tokio::time::timeout_at(self.last_bookmark.unwrap_or(self.ends), self.watch.next()).await;
            match item {
                Err(_) if self.last_bookmark.take().is_some() => self.watch.request_progress(),
                Err(_) | Ok(None) => return None,
                Ok(Some(Ok(WatchItem::Event(event)))) => {
                    if let Some(frame) = self.told(&event) {
                        return Some(frame);
                    }
                }
                Ok(Some(Ok(WatchItem::Progress(revision)))) => return Some(self.writer.bookmark(revision, false)),
                Ok(Some(Err(error))) => {
                    self.has_ended = true;
                    return Some(self.writer.error(&watch_status(&error)));
                }
            }
        }
    }

    /// The frame of an event, if it concerns this watch: what it means depends on whether the object was selected
    /// before and is selected now.
    fn told(&mut self, event: &Arc<Event>) -> Option<Bytes> {
        let kept = event.slot::<Kept>();
        let (selection, is_all) = (&self.selection, self.selection.is_all());
        let was = event.previous.is_some() && (is_all || selection.selects_kept(kept.before(self.stored_as, event)));
        let is = event.kv().is_some() && (is_all || selection.selects_kept(kept.after(self.stored_as, event)));
        let happened = match (was, is) {
            (false, true) => Type::Added,
            (true, true) => Type::Modified,
            (true, false) => Type::Deleted,
            (false, false) => return None,
        };
        Some(self.writer.event(happened, event))
    }
}

/// What a watch that was cut says last.
fn watch_status(error: &WatchError) -> Status {
    match error {
        WatchError::Compacted { requested, compacted, .. } => Status::too_old(requested.0, compacted.0),
        WatchError::Lagged { .. } => Status::expired(format!("{error}; list again and watch from there")),
        WatchError::Closed => Status::service_unavailable("the store is closed"),
        WatchError::Log(source) => store_status(source),
    }
}
