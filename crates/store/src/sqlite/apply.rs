//! One transaction after the other within one group: what each finds, decides and writes. Called by the writer; `restore` writes rows, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::rows::{Position, Row, View};
use super::schema::sql_error;
use crate::{Change, Error, Event, KeyValue, Op, Revision, Txn, TxnOutcome};

/// What a group has done so far. Nothing of it is true before the group is committed.
pub(super) struct Batch<'a> {
    view: View<'a>,
    pub(super) head: Revision,
    pub(super) events: Vec<Arc<Event>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(view: View<'a>, head: Revision) -> Batch<'a> {
        Batch { view, head, events: Vec::new() }
    }

    /// Carries out one transaction on top of those before it.
    pub(super) fn apply(&mut self, txn: &Txn) -> Result<TxnOutcome, Error> {
        let mut found = self.find(txn)?;
        let holds = |key: &Bytes| found.get(key).and_then(Option::as_ref);
        if !txn.compares.iter().all(|compare| compare.expect.holds(holds(&compare.key))) {
            let current = txn.compares.iter().map(|compare| holds(&compare.key).cloned()).collect();
            return Ok(TxnOutcome::Conflict { current, revision: self.head });
        }
        let revision = self.head.next();
        for (number, op) in txn.ops.iter().enumerate() {
            let previous = found.remove(op.key()).flatten();
            if let Some(event) = event(op, revision, previous) {
                self.insert(Position::of(revision, number), &event)?;
                self.events.push(Arc::new(event));
                self.head = revision;
            }
        }
        Ok(TxnOutcome::Committed { revision: self.head })
    }

    /// What all keys of `txn` hold.
    fn find(&self, txn: &Txn) -> Result<BTreeMap<Bytes, Option<KeyValue>>, Error> {
        let mut found = BTreeMap::new();
        for key in txn.compares.iter().map(|compare| &compare.key).chain(txn.ops.iter().map(Op::key)) {
            if !found.contains_key(key) {
                let row = self.view.latest(key, Position(i64::MAX))?;
                found.insert(key.clone(), row.and_then(Row::kv));
            }
        }
        Ok(found)
    }

    fn insert(&self, position: Position, event: &Event) -> Result<(), Error> {
        let kv = event.kv();
        let row = Row {
            position,
            key: event.key().clone(),
            create_revision: kv.map_or(0, |kv| kv.create_revision.0 as i64),
            version: kv.map_or(0, |kv| kv.version as i64),
            value: kv.map(|kv| kv.value.clone()),
        };
        insert(self.view.conn, &row).map_err(|source| sql_error("write", self.view.path, source))
    }
}

/// Writes a row at its position, where there is none.
pub(super) fn insert(conn: &Connection, row: &Row) -> rusqlite::Result<()> {
    let (key, value) = (&row.key[..], row.value.as_deref());
    let values = params![row.position, key, row.create_revision, row.version, value.is_none(), value, row.checksum()];
    conn.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(values).map(drop)
}

/// What `op` changes at `revision`; nothing if it deletes what is not there.
fn event(op: &Op, revision: Revision, previous: Option<KeyValue>) -> Option<Event> {
    let change = match op {
        Op::Put { key, value } => {
            Change::Put(KeyValue::written(key.clone(), value.clone(), revision, previous.as_ref()))
        }
        Op::Delete { key } => {
            previous.as_ref()?;
            Change::Delete { key: key.clone(), revision }
        }
    };
    Some(Event::new(change, previous))
}
