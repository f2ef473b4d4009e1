//! One watch of etcd's, put together again: etcd sends large answers in fragments, and ours come in whole revisions. Pure.

use std::sync::Arc;

use remora_store::{Event, Revision};

use crate::convert::{Root, Unusable, from_etcd, revision_of};
use crate::messages::{WatchCreateRequest, WatchResponse};

/// The watch of all that is ours from `first` on.
pub(crate) fn from(root: &Root, first: Revision) -> WatchCreateRequest {
    let (key, range_end) = root.interval(&remora_store::Interval::all());
    WatchCreateRequest {
        key,
        range_end,
        // 0 would mean "from now on".
        start_revision: crate::convert::to_etcd(first.max(Revision::EMPTY)),
        progress_notify: true,
        prev_kv: true,
        fragment: true,
    }
}

/// The answers of one watch, in order.
pub(crate) struct Answers {
    root: Root,
    /// Nothing up to here is wanted, not even whether it is whole.
    after: Revision,
    /// The events of a revision of which more may come.
    open: Vec<Arc<Event>>,
}

/// What an answer adds.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// Whole revisions; none if there is more to come of the only one.
    Events(Vec<Arc<Event>>),
    /// All that happened up to here was delivered.
    Progress(Revision),
}

/// Why a watch is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It began before this revision, and what happened before it is gone.
    Compacted(Revision),
    /// What a key held before a change was gone when etcd wanted to send it.
    NoPrevious,
    /// etcd's own reason.
    Cancelled(String),
}

impl Answers {
    pub(crate) fn after(root: Root, after: Revision) -> Answers {
        Answers { root, after, open: Vec::new() }
    }

    pub(crate) fn take(&mut self, answer: WatchResponse) -> Result<Answer, End> {
        if answer.compact_revision > 0 {
            return Err(End::Compacted(from_etcd(answer.compact_revision)));
        }
        if answer.canceled {
            return Err(End::Cancelled(answer.cancel_reason));
        }
        // An answer without events that does not tell of the creation tells how far the watch is.
        if answer.events.is_empty() && self.open.is_empty() && !answer.created {
            return Ok(Answer::Progress(revision_of(answer.header.as_ref())));
        }
        for event in answer.events {
            let revision = from_etcd(event.kv.as_ref().map_or(0, |kv| kv.mod_revision));
            if revision <= self.after {
                continue;
            }
            match self.root.event(event) {
                Ok(event) => self.open.push(Arc::new(event)),
                Err(Unusable::Foreign) => {}
                Err(Unusable::NoPrevious) => return Err(End::NoPrevious),
            }
        }
        Ok(Answer::Events(self.whole(answer.fragment)))
    }

    fn whole(&mut self, more: bool) -> Vec<Arc<Event>> {
        let Some(last) = self.open.last().map(|event| event.revision()).filter(|_| more) else {
            return std::mem::take(&mut self.open);
        };
        let rest = self.open.split_off(self.open.partition_point(|event| event.revision() < last));
        std::mem::replace(&mut self.open, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Event as Sent, EventType, KeyValue, ResponseHeader};

    fn put(key: &'static str, revision: i64, version: i64) -> Sent {
        let kv = |mod_revision, version| KeyValue { key: key.into(), mod_revision, version, ..KeyValue::default() };
        let prev_kv = (version > 1).then(|| kv(revision - 1, version - 1));
        Sent { r#type: EventType::Put as i32, kv: Some(kv(revision, version)), prev_kv }
    }

    fn sent(events: Vec<Sent>, fragment: bool) -> WatchResponse {
        WatchResponse { events, fragment, header: Some(ResponseHeader { revision: 9 }), ..WatchResponse::default() }
    }

    fn revisions(answer: Result<Answer, End>) -> Vec<u64> {
        match answer {
            Ok(Answer::Events(events)) => events.iter().map(|event| event.revision().0).collect(),
            other => panic!("got {other:?}"),
        }
    }

    fn answers() -> Answers {
        Answers::after(Root::new("/r/".into()), Revision(3))
    }

    #[test]
    fn fragments_become_whole_revisions() {
        let mut answers = answers();
        assert_eq!(revisions(answers.take(sent(vec![put("/r/a", 4, 1), put("/r/b", 5, 1)], true))), [4]);
        assert_eq!(revisions(answers.take(sent(vec![put("/r/c", 5, 1)], true))), [0; 0]);
        assert_eq!(revisions(answers.take(sent(vec![put("/r/d", 5, 1), put("/r/e", 6, 1)], false))), [5, 5, 5, 6]);
    }

    #[test]
    fn what_is_old_or_not_ours_is_passed_over() {
        let old = Sent { prev_kv: None, ..put("/r/a", 3, 2) };
        let events = vec![old, put("/other", 4, 1), put("/r/b", 5, 1)];
        assert_eq!(revisions(answers().take(sent(events, false))), [5]);
    }

    #[test]
    fn a_watch_ends_for_a_reason() {
        let gone = Sent { prev_kv: None, ..put("/r/a", 4, 2) };
        assert_eq!(answers().take(sent(vec![gone], false)), Err(End::NoPrevious));
        let compacted = WatchResponse { compact_revision: 7, canceled: true, ..WatchResponse::default() };
        assert_eq!(answers().take(compacted), Err(End::Compacted(Revision(7))));
        let no_leader = WatchResponse { canceled: true, cancel_reason: "no leader".into(), ..WatchResponse::default() };
        assert_eq!(answers().take(no_leader), Err(End::Cancelled("no leader".into())));
    }

    #[test]
    fn an_answer_without_events_is_progress_or_the_beginning() {
        assert_eq!(answers().take(sent(vec![], false)), Ok(Answer::Progress(Revision(9))));
        let created = WatchResponse { created: true, ..sent(vec![], false) };
        assert_eq!(revisions(answers().take(created)), [0; 0]);
    }
}
