//! The streams of a connection, and the small frames that wait to be sent. Shared by the connection's task and its streams; the lock is
//! held for look-ups only, never across a wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::frame::{CANCEL, Frame, REFUSED_STREAM};
use crate::stdio::Input;

/// The most streams of a connection at a time. `kubectl port-forward` needs two for each forwarded connection.
pub(super) const MOST_STREAMS: usize = 1024;
/// The most small frames that wait for a client which does not read.
const MOST_CONTROLS: usize = MOST_STREAMS + 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    content: Mutex<Content>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Content {
    streams: HashMap<u32, Entry>,
    /// The client's last stream.
    last: u32,
    controls: Vec<Frame>,
    over: bool,
}

/// A stream that at least one side has not ended.
#[derive(Debug)]
struct Entry {
    /// None once the client has ended its side.
    inputs: Option<mpsc::Sender<Input>>,
    /// We have ended ours.
    is_shut: bool,
    reset: CancellationToken,
}

/// What becomes of a stream that a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It is in the table.
    Taken,
    /// There are too many, or all is over; the client is told.
    Refused,
    /// The client must not ask for this one: a wrong or an old id.
    Broken,
}

impl Table {
    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic elsewhere leaves it whole.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream of the client's.
    pub(super) fn open(&self, stream: u32, inputs: mpsc::Sender<Input>, reset: CancellationToken) -> Opened {
        let mut content = self.content();
        if stream.is_multiple_of(2) || stream <= content.last {
            return Opened::Broken;
        }
        content.last = stream;
        if content.over || content.streams.len() >= MOST_STREAMS {
            drop(content);
            self.send(Frame::Reset { stream, status: REFUSED_STREAM });
            return Opened::Refused;
        }
        content.streams.insert(stream, Entry { inputs: Some(inputs), is_shut: false, reset });
        Opened::Taken
    }

    /// Where data of a stream goes; none if nobody waits for any.
    pub(super) fn inputs(&self, stream: u32) -> Option<mpsc::Sender<Input>> {
        self.content().streams.get(&stream)?.inputs.clone()
    }

    /// The client has ended its side.
    pub(super) fn ended(&self, stream: u32) {
        let mut content = self.content();
        let Some(entry) = content.streams.get_mut(&stream) else { return };
        entry.inputs = None;
        if entry.is_shut {
            content.streams.remove(&stream);
        }
    }

    /// We have ended our side.
    pub(super) fn shut(&self, stream: u32) {
        let mut content = self.content();
        let Some(entry) = content.streams.get_mut(&stream) else { return };
        entry.is_shut = true;
        if entry.inputs.is_none() {
            content.streams.remove(&stream);
        }
    }

    /// The client wants no more of a stream.
    pub(super) fn reset(&self, stream: u32) {
        let gone = self.content().streams.remove(&stream);
        if let Some(entry) = gone {
            entry.reset.cancel();
        }
    }

    /// We want no more of a stream whose writer was dropped; the client is told unless the stream is over anyway.
    pub(super) fn abandon(&self, stream: u32) {
        let known = self.content().streams.remove(&stream);
        if known.is_some() {
            self.send(Frame::Reset { stream, status: CANCEL });
        }
    }

    /// Sends a small frame, before any data that waits. A client that floods us without reading gets no answers.
    pub(super) fn send(&self, frame: Frame) {
        let mut content = self.content();
        if content.controls.len() < MOST_CONTROLS {
            content.controls.push(frame);
            self.wake.notify_one();
        }
    }

    /// What [`send`](Self::send) has collected.
    pub(super) fn take_controls(&self) -> Vec<Frame> {
        std::mem::take(&mut self.content().controls)
    }

    /// Completes when there is something to take.
    pub(super) async fn has_controls(&self) {
        self.wake.notified().await;
    }

    /// The client's last stream.
    pub(super) fn last(&self) -> u32 {
        self.content().last
    }

    /// The connection is over, and so is every stream.
    pub(super) fn end(&self) {
        let mut content = self.content();
        content.over = true;
        let streams = std::mem::take(&mut content.streams);
        drop(content);
        streams.into_values().for_each(|entry| entry.reset.cancel());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(table: &Table, stream: u32) -> Opened {
        table.open(stream, mpsc::channel(1).0, CancellationToken::new())
    }

    #[test]
    fn ids_are_odd_and_grow() {
        let table = Table::default();
        assert_eq!(open(&table, 2), Opened::Broken);
        assert_eq!(open(&table, 3), Opened::Taken);
        assert_eq!(open(&table, 3), Opened::Broken);
        assert_eq!(open(&table, 1), Opened::Broken);
        assert_eq!(open(&table, 0x7fff_ffff), Opened::Taken);
    }

    #[test]
    fn a_stream_has_its_place_until_both_sides_have_ended_it() {
        let table = Table::default();
        for number in 0..MOST_STREAMS as u32 {
            assert_eq!(open(&table, 2 * number + 1), Opened::Taken);
        }
        table.ended(1);
        assert_eq!(open(&table, 10_001), Opened::Refused);
        table.shut(1);
        assert_eq!(open(&table, 10_003), Opened::Taken);
        table.shut(3);
        table.ended(3);
        assert_eq!(open(&table, 10_005), Opened::Taken);
        table.reset(5);
        assert_eq!(open(&table, 10_007), Opened::Taken);
        table.abandon(7);
        table.abandon(7);
        assert_eq!(open(&table, 10_009), Opened::Taken);
        let reset = |stream, status| Frame::Reset { stream, status };
        assert_eq!(table.take_controls(), [reset(10_001, REFUSED_STREAM), reset(7, CANCEL)]);
    }

    #[test]
    fn a_flood_of_questions_is_not_answered_without_end() {
        let table = Table::default();
        for id in 0..100_000 {
            table.send(Frame::Ping(id));
        }
        assert_eq!(table.take_controls().len(), MOST_CONTROLS);
    }

    #[test]
    fn the_end_of_the_connection_resets_every_stream() {
        let (table, reset) = (Table::default(), CancellationToken::new());
        let (inputs, mut input) = mpsc::channel(1);
        table.open(1, inputs, reset.clone());
        table.end();
        assert!(reset.is_cancelled() && input.try_recv().is_err());
        assert_eq!(open(&table, 3), Opened::Refused);
    }
}
