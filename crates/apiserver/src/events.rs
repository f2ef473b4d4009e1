//! Watch events as bytes: one line of JSON each, in the form that the watcher wants. Encoded once for each event, type and
//! form; the bytes are kept on the store's event. Called by [`crate::verbs::watch`].

use std::collections::VecDeque;
use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use remora_model::{Kind, Status};
use remora_rules::selector::Selectable;
use remora_store::{Event, KeyValue, Revision};
use serde_json::json;

use crate::encode;
use crate::forms::Renderer;
use crate::server::Call;

/// What happened, as watchers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It is there (from now on, for this watcher).
    Added,
    /// It is another.
    Modified,
    /// It is gone (for this watcher).
    Deleted,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// How many types of events there are.
const TYPES: usize = 3;

/// What is kept on an event: what selectors look at of its objects, and its lines.
#[derive(Debug, Default)]
pub struct Kept {
    old: OnceLock<Selectable>,
    new: OnceLock<Selectable>,
    lines: [OnceLock<Bytes>; TYPES * Renderer::KEPT_FORMS],
}

impl Kept {
    /// What selectors look at of the object before the event. `kind` is the one that it is stored as.
    pub fn before(&self, kind: &Kind, event: &Event) -> &Selectable {
        self.old.get_or_init(|| selectable(kind, event.previous.as_ref()))
    }

    /// The same of the object after the event.
    pub fn after(&self, kind: &Kind, event: &Event) -> &Selectable {
        self.new.get_or_init(|| selectable(kind, event.kv()))
    }
}

fn selectable(kind: &Kind, kv: Option<&KeyValue>) -> Selectable {
    kv.map(|kv| Selectable::of(kind, &encode::decode(&kv.value))).unwrap_or_default()
}

/// Writes the events of one watch.
pub struct EventWriter {
    renderer: Renderer,
    /// Tables say their columns once, in the first event.
    has_columns: bool,
}

impl EventWriter {
    /// For a request's form.
    pub fn new(call: &Call, kind: &'static Kind) -> Self {
        Self { renderer: Renderer::new(call, kind), has_columns: false }
    }

    /// The objects that exist already, as added; a bookmark after them if a revision is given.
    pub fn initial(&mut self, objects: &[KeyValue], end: Option<Revision>) -> VecDeque<Bytes> {
        let mut lines: VecDeque<Bytes> = VecDeque::with_capacity(objects.len() + 1);
        for kv in objects {
            let columns = !std::mem::replace(&mut self.has_columns, true);
            lines.push_back(self.line(Type::Added, &kv.value, kv.mod_revision, columns));
        }
        if let Some(revision) = end {
            lines.push_back(self.bookmark(revision, true));
        }
        lines
    }

    /// The line of an event; the same bytes for all watchers of its form.
    pub fn event(&mut self, happened: Type, event: &Event) -> Bytes {
        // What is gone is shown as it last was, at the revision at which it went.
        let shown = match happened {
            Type::Deleted => event.previous.as_ref(),
            Type::Added | Type::Modified => event.kv(),
        };
        let Some(kv) = shown else { return Bytes::new() };
        let is_first = !std::mem::replace(&mut self.has_columns, true);
        let kept_at = self.renderer.kept_form().filter(|_| !(is_first && self.renderer.is_table()));
        match kept_at {
            None => self.line(happened, &kv.value, event.revision(), is_first),
            Some(form) => {
                let slot = &event.slot::<Kept>().lines[form * TYPES + happened as usize];
                slot.get_or_init(|| self.line(happened, &kv.value, event.revision(), false)).clone()
            }
        }
    }

    fn line(&self, happened: Type, stored: &[u8], revision: Revision, columns: bool) -> Bytes {
        let mut out = BytesMut::with_capacity(stored.len() + 96);
        open(&mut out, happened.word());
        self.renderer.push(&mut out, stored, Some(revision), columns);
        close(out)
    }

    /// A line that only tells where the watch stands.
    pub fn bookmark(&self, revision: Revision, ends_initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut out = BytesMut::with_capacity(256);
        open(&mut out, "BOOKMARK");
        encode::push_json(&mut out, &self.renderer.bookmark(metadata));
        close(out)
    }

    /// The last line of a watch that cannot go on.
    pub fn error(&self, status: &Status) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        open(&mut out, "ERROR");
        encode::push_json(&mut out, status);
        close(out)
    }
}

fn open(out: &mut BytesMut, word: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

fn close(mut out: BytesMut) -> Bytes {
    out.put_slice(b"}\n");
    out.freeze()
}
