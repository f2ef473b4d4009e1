//! Crashes: a write-ahead log that ends anywhere, or has a changed bit anywhere.
//!
//! The rule that is proved here: what was acknowledged is there, or the store is refused and its files stay as they are.
//! A crash of the machine may lose the note `store.acked`, which is never synced; both cases are tried.

use std::path::Path;

use remora_store::Engine;

use crate::support::{ACKED, Folder, Start, WAL, open, put, read, start};

/// A store as it was on disk after each acknowledgement, without its ever being closed.
struct Session {
    /// The files after the last one.
    files: Folder,
    /// After each acknowledgement: length of the log, revision, note, content.
    acks: Vec<Ack>,
}

struct Ack {
    wal: usize,
    note: Vec<u8>,
    start: Start,
}

async fn session(folder: &Path) -> Session {
    let engine = open(folder).await;
    let (mut acks, mut kvs) = (Vec::new(), Vec::new());
    acks.push(Ack { wal: 0, note: Vec::new(), start: Start::Opened { revision: 1, kvs: Vec::new() } });
    // Values of less and of more than a page.
    for (number, length) in [10, 9000, 100, 5000, 1, 12_000, 20, 30].into_iter().enumerate() {
        let (key, value) = (format!("k/{number}"), "x".repeat(length));
        let revision = put(&engine, &key, &value).await.unwrap().0;
        kvs.push((key, value));
        let files = read(folder);
        let start = Start::Opened { revision, kvs: kvs.clone() };
        acks.push(Ack { wal: files[WAL].len(), note: files[ACKED].clone(), start });
    }
    Session { files: read(folder), acks }
}

impl Session {
    /// The last acknowledgement of which everything lies before `length`.
    fn acked_before(&self, length: usize) -> &Ack {
        self.acks.iter().rfind(|ack| ack.wal <= length).unwrap()
    }

    fn with(&self, wal: Vec<u8>, note: Option<&[u8]>) -> Folder {
        let mut files = self.files.clone();
        files.insert(WAL.to_owned(), wal);
        files.remove(ACKED);
        files.extend(note.map(|note| (ACKED.to_owned(), note.to_vec())));
        files
    }
}

const HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// Offsets of all bytes of headers, the first and last bytes of pages, and some in between.
fn interesting_offsets(length: usize) -> Vec<usize> {
    let of_frame = |offset: usize| (offset - HEADER) % FRAME;
    let interesting = |offset: &usize| *offset < HEADER || of_frame(*offset) < 26 || of_frame(*offset) % 1361 == 0;
    (0..length).filter(interesting).collect()
}

#[tokio::test]
async fn a_log_cut_anywhere_keeps_what_was_acknowledged_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("store")).await;
    let scratch = folder.path().join("scratch");
    let wal = &session.files[WAL];
    for cut in interesting_offsets(wal.len()).into_iter().chain([wal.len()]) {
        let ack = session.acked_before(cut);
        for note in [None, Some(&ack.note[..])] {
            let started = start(&scratch, &session.with(wal[..cut].to_vec(), note)).await;
            assert!(started == ack.start, "cut at {cut}, note {note:?}: {started:?}");
        }
    }
}

#[tokio::test]
async fn a_log_cut_before_what_was_acknowledged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("store")).await;
    let scratch = folder.path().join("scratch");
    let (wal, note) = (&session.files[WAL], &session.files[ACKED]);
    for cut in (0..wal.len()).step_by(977) {
        match start(&scratch, &session.with(wal[..cut].to_vec(), Some(note))).await {
            Start::Refused(why) => assert!(why.contains("were acknowledged"), "{why}"),
            opened => panic!("cut at {cut}: {opened:?}"),
        }
    }
    let mut files = session.with(Vec::new(), Some(note));
    files.remove(WAL);
    assert!(matches!(start(&scratch, &files).await, Start::Refused(_)), "the log is missing");
}

#[tokio::test]
async fn a_changed_bit_in_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("store")).await;
    let scratch = folder.path().join("scratch");
    let (wal, note) = (&session.files[WAL], &session.files[ACKED]);
    for offset in interesting_offsets(wal.len()) {
        let mut changed = wal.clone();
        changed[offset] ^= 1 << (offset % 8);
        let started = start(&scratch, &session.with(changed, Some(note))).await;
        assert!(matches!(started, Start::Refused(_)), "byte {offset}: {started:?}");
    }
}

#[tokio::test]
async fn a_changed_bit_in_the_middle_of_the_log_is_refused_even_if_the_note_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("store")).await;
    let scratch = folder.path().join("scratch");
    let wal = &session.files[WAL];
    let last = session.acks[session.acks.len() - 2].wal;
    for offset in interesting_offsets(wal.len()) {
        let mut changed = wal.clone();
        changed[offset] ^= 1 << (offset % 8);
        match start(&scratch, &session.with(changed, None)).await {
            Start::Refused(_) => {}
            // Without the note the last transaction cannot be told from one that was never acknowledged.
            opened => {
                assert!(offset >= last, "byte {offset}: {opened:?}");
                assert!(opened == session.acked_before(last).start, "byte {offset}: {opened:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_store_with_a_torn_tail_writes_on_and_survives_the_next_crash() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("store")).await;
    let scratch = folder.path().join("scratch");
    // The transaction of 12,000 bytes, without its last frame, and without its first.
    let (begin, end) = (session.acks[5].wal, session.acks[6].wal);
    let wal = &session.files[WAL];
    let mut holed = wal[..end].to_vec();
    holed[begin..begin + FRAME].fill(0);
    for (torn, what) in [(wal[..end - FRAME].to_vec(), "cut"), (holed, "holed")] {
        crate::support::write(&scratch, &session.with(torn, Some(&session.acks[5].note)));
        let engine = open(&scratch).await;
        let revision = put(&engine, "k/next", "v").await.unwrap();
        let crashed = read(&scratch);
        let again = start(&folder.path().join("again"), &crashed).await;
        let Start::Opened { revision: found, kvs } = again else { panic!("{what}: {again:?}") };
        assert_eq!(found, revision.0, "{what}");
        assert_eq!(kvs.last().unwrap().0, "k/next", "{what}");
        engine.close().await.unwrap();
    }
}
