//! Between requests and the disk: a bounded queue, and the thread that makes lines of events and writes them. Bodies are parsed there too, so that
//! requests do not pay for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use remora_rules::audit::Event;
use remora_rules::audit::event::without_managed_fields;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::body;
use crate::request::media::{self, BodyType, JSON, YAML};

/// How many events may wait (upstream's buffer of its batching backends).
const MAX_EVENTS: usize = 10_000;
/// How many bytes of bodies may wait with them.
const MAX_BYTES: usize = 64 << 20;

/// Where lines go. Called on a thread of its own: it may block.
pub trait Output: Send + 'static {
    /// Writes one line, whole or not at all.
    ///
    /// # Errors
    /// If it could not be written: that event is lost.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;
}

/// What became of events. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Written.
    pub(crate) events: Counter,
    /// Lost.
    pub(crate) errors: Family<LossLabels, Counter>,
}

/// Why an event was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LossLabels {
    /// `log`: upstream's name of this backend.
    plugin: &'static str,
    /// `queue`: it was full; `write`: the output failed.
    cause: &'static str,
}

const FULL: LossLabels = LossLabels { plugin: "log", cause: "queue" };
const FAILED: LossLabels = LossLabels { plugin: "log", cause: "write" };

/// One event, with bodies as they were on the wire.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) event: Event,
    pub(super) request: Option<Raw>,
    pub(super) response: Option<Raw>,
    pub(super) omit_managed_fields: bool,
}

/// A body, in its pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    pub(super) content_type: Option<String>,
    pub(super) pieces: Vec<Bytes>,
}

enum Job {
    Tell(Box<Entry>),
    Flush(oneshot::Sender<()>),
}

/// The requests' end.
pub(super) struct Queue {
    sender: SyncSender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    counters: Counters,
    /// Bytes of the bodies that wait.
    waiting: AtomicUsize,
    /// Events lost since the log last said so.
    lost: AtomicU64,
}

impl Queue {
    /// Starts the thread; it ends when the queue is dropped and what waits is written.
    pub(super) fn start(output: impl Output) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_EVENTS);
        let shared = Arc::new(Shared::default());
        let writer = Writer { output, shared: Arc::clone(&shared), failed: 0 };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, shared })
    }

    /// Hands an event over; never waits.
    pub(super) fn tell(&self, entry: Entry) {
        let size = entry.size();
        let before = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) <= MAX_BYTES && self.sender.try_send(Job::Tell(Box::new(entry))).is_ok() {
            return;
        }
        self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
        self.shared.counters.errors.get_or_create(&FULL).inc();
        if self.shared.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the audit log is written more slowly than it fills: events are lost");
        }
    }

    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.try_send(Job::Flush(done)).is_ok() {
            // An error is a thread that has ended: nothing is left to wait for.
            let _is_written = written.await.is_ok();
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

/// The thread's end.
struct Writer<O> {
    output: O,
    shared: Arc<Shared>,
    /// Events that could not be written since the last that could.
    failed: u64,
}

impl<O: Output> Writer<O> {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Tell(entry) => self.write(*entry),
                // Whoever asked may have given up.
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, entry: Entry) {
        let size = entry.size();
        let line = entry.into_event().line();
        let written = line.map_err(io::Error::from).and_then(|line| self.output.write(&line));
        let is_empty = self.shared.waiting.fetch_sub(size, Ordering::Relaxed) == size;
        match written {
            Ok(()) => self.succeeded(is_empty),
            Err(error) => {
                self.shared.counters.errors.get_or_create(&FAILED).inc();
                if self.failed == 0 {
                    tracing::error!(%error, "the audit log cannot be written: events are lost until it can");
                }
                self.failed += 1;
            }
        }
    }

    fn succeeded(&mut self, is_empty: bool) {
        self.shared.counters.events.inc();
        if self.failed > 0 {
            tracing::warn!(lost = self.failed, "the audit log is written again");
            self.failed = 0;
        }
        if is_empty {
            match self.shared.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::warn!(lost, "the audit log has caught up"),
            }
        }
    }
}

impl Entry {
    /// What it holds on to, with something for the event itself.
    fn size(&self) -> usize {
        const EVENT: usize = 1024;
        let raw = |raw: &Option<Raw>| raw.iter().flat_map(|raw| &raw.pieces).map(Bytes::len).sum::<usize>();
        EVENT + raw(&self.request) + raw(&self.response)
    }

    fn into_event(self) -> Event {
        let parsed = |raw: Option<Raw>| {
            let object = raw.and_then(Raw::parse)?;
            Some(if self.omit_managed_fields { without_managed_fields(object) } else { object })
        };
        Event { request_object: parsed(self.request), response_object: parsed(self.response), ..self.event }
    }
}

impl Raw {
    /// None for what is no object: it was refused, or is not whole.
    fn parse(self) -> Option<Value> {
        let bytes = self.pieces.concat();
        let content_type = self.content_type.as_deref().map(|given| match given {
            patch if patch.contains("patch+json") => JSON,
            patch if patch.contains("patch+yaml") => YAML,
            other => other,
        });
        let value = match media::body_type(content_type).ok()? {
            // A list may be longer than any body that is read.
            BodyType::Json => serde_json::from_slice(&bytes).ok(),
            BodyType::Yaml | BodyType::Protobuf => body::parse(content_type, &bytes).ok().map(|parsed| parsed.value),
        };
        value.filter(|value: &Value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Hands lines to the test; fails as long as there is a failure waiting.
    struct Wire {
        lines: SyncSender<String>,
        failures: Receiver<io::Error>,
    }

    impl Output for Wire {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            if let Ok(error) = self.failures.try_recv() {
                return Err(error);
            }
            self.lines.send(String::from_utf8(line.to_vec()).unwrap()).map_err(io::Error::other)
        }
    }

    fn wire(room: usize) -> (Queue, Receiver<String>, mpsc::Sender<io::Error>) {
        let (lines, told) = sync_channel(room);
        let (fail, failures) = mpsc::channel();
        (Queue::start(Wire { lines, failures }).unwrap(), told, fail)
    }

    fn entry(id: &str) -> Entry {
        Entry { event: Event { audit_id: id.to_owned(), ..Event::default() }, ..Entry::default() }
    }

    fn lost(queue: &Queue, why: &LossLabels) -> u64 {
        queue.counters().errors.get_or_create(why).get()
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_lost_and_counted_and_the_next_is_written() {
        let (queue, told, fail) = wire(10);
        fail.send(io::ErrorKind::StorageFull.into()).unwrap();
        queue.tell(entry("lost"));
        queue.tell(entry("kept"));
        queue.flush().await;
        assert!(told.recv().unwrap().contains("\"auditID\":\"kept\""));
        assert_eq!((lost(&queue, &FAILED), queue.counters().events.get()), (1, 1));
    }

    #[tokio::test]
    async fn an_output_that_hangs_blocks_nobody() {
        // A rendezvous: the thread hangs in its first line until the test takes it.
        let (queue, told, _fail) = wire(0);
        for _ in 0..MAX_EVENTS + 100 {
            queue.tell(entry("a"));
        }
        // The one in the thread's hands may have left its place or not.
        let full = lost(&queue, &FULL);
        assert!((99..=100).contains(&full), "{full}");
        let drained = std::thread::spawn(move || told.into_iter().count());
        queue.flush().await;
        drop(queue);
        assert_eq!(drained.join().unwrap() as u64, MAX_EVENTS as u64 + 100 - full);
    }

    #[tokio::test]
    async fn bodies_that_wait_are_bounded() {
        let (queue, told, _fail) = wire(0);
        let big = || {
            let pieces = vec![Bytes::from(vec![b' '; MAX_BYTES / 2])];
            Entry { response: Some(Raw { content_type: None, pieces }), ..entry("big") }
        };
        for _ in 0..3 {
            queue.tell(big());
        }
        assert_eq!(lost(&queue, &FULL), 2);
        drop(told);
    }

    #[test]
    fn bodies_are_told_as_objects_whatever_they_were_written_in() {
        let parse = |content_type: Option<&str>, text: &'static str| {
            let pieces = vec![Bytes::from_static(text.as_bytes())];
            Raw { content_type: content_type.map(str::to_owned), pieces }.parse()
        };
        let object = Some(serde_json::json!({"a": 1}));
        assert_eq!(parse(Some(JSON), "{\"a\":1}"), object);
        assert_eq!(parse(None, "{\"a\":1}"), object);
        assert_eq!(parse(Some(YAML), "a: 1"), object);
        assert_eq!(parse(Some("application/apply-patch+yaml"), "a: 1"), object);
        assert_eq!(parse(Some("application/merge-patch+json"), "{\"a\":1}"), object);
        assert_eq!(parse(Some("application/json-patch+json"), "[]"), Some(serde_json::json!([])));
        assert_eq!(parse(Some(JSON), "{\"a\":"), None);
        assert_eq!(parse(Some("text/plain"), "a"), None);
    }
}
