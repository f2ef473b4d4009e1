//! Reading a log to its end, and on as it grows.
//!
//! The file is read in small pieces from the page cache, so the reads are made in the task itself. Growth is told by
//! inotify on the folder; a rotated file is read to its end before the one that follows it is opened.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use remora_streaming::{LogChunks, LogOptions, StreamError};
use tokio::sync::{mpsc, watch};

use super::files::set_aside;
use super::line::{Line, parse};
use super::tail::offset_of_last;
use crate::changes::Changes;

const PIECE: usize = 64 * 1024;
/// A line may not be longer than this: CRI's runtimes cut at 16 KiB.
const LONGEST_LINE: usize = 1024 * 1024;
/// Chunks that wait for a slow client; the reading waits, the container does not.
const WAITING: usize = 8;

/// One container's log.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
}

/// Becomes true when the container has ended: the file grows no more.
pub(crate) type Ending = watch::Receiver<bool>;

/// The log as chunks. With `follow` it goes on until the container has ended and the file is read to its end.
pub(crate) fn read(log: LogFile, options: LogOptions, ending: Ending) -> LogChunks {
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let reader = Reader::new(options, send.clone());
        if let Err(error) = reader.run(&log, ending).await {
            // The client may be gone: nobody is left to be told.
            let _ = send.send(Err(error)).await;
        }
    });
    Box::pin(futures::stream::unfold(receive, |mut receive| async { receive.recv().await.map(|c| (c, receive)) }))
}

/// The client has gone, or has all that it wanted.
struct Enough;

enum Stop {
    Enough,
    Failed(StreamError),
}

impl From<Enough> for Stop {
    fn from(_: Enough) -> Self {
        Self::Enough
    }
}

struct Reader {
    options: LogOptions,
    send: mpsc::Sender<Result<Bytes, StreamError>>,
    left: Option<u64>,
    /// What has been read of a line that is not whole yet.
    rest: BytesMut,
    /// The last entry was a piece: the next belongs to the same line.
    in_line: bool,
}

impl Reader {
    fn new(options: LogOptions, send: mpsc::Sender<Result<Bytes, StreamError>>) -> Self {
        let left = options.limit_bytes;
        Self { options, send, left, rest: BytesMut::new(), in_line: false }
    }

    async fn run(mut self, log: &LogFile, ending: Ending) -> Result<(), StreamError> {
        match self.all(log, ending).await {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    async fn all(&mut self, log: &LogFile, mut ending: Ending) -> Result<(), Stop> {
        let failed = |error: &dyn std::fmt::Display| {
            Stop::Failed(StreamError::Internal(format!("cannot read {}: {error}", log.path.display())))
        };
        // Watch first, then read: no growth is missed.
        let growth = if self.options.follow { Some(growth_of(&log.path).map_err(|e| failed(&e))?) } else { None };
        let mut file = open(&log.path).map_err(|e| failed(&e))?;
        if let (Some(file), Some(lines)) = (&mut file, self.options.tail_lines) {
            let offset = offset_of_last(file, lines).map_err(|e| failed(&e))?;
            file.seek(SeekFrom::Start(offset)).map_err(|e| failed(&e))?;
        }
        loop {
            let ended = *ending.borrow_and_update();
            if let Some(file) = &mut file {
                self.drain(file).await.map_err(|e| e.or(&failed))?;
            }
            if is_rotated(file.as_ref(), &log.path) {
                // Nothing more is written to it: this drain sees what came between the last one and the rotation.
                if let Some(file) = &mut file {
                    self.drain(file).await.map_err(|e| e.or(&failed))?;
                }
                if let Some(next) = following(file.as_ref(), &log.path).map_err(|e| failed(&e))? {
                    file = Some(next);
                    continue;
                }
            }
            // Ended before the last drain: that drain saw everything.
            let Some(growth) = growth.as_ref().filter(|_| !ended) else { return Ok(()) };
            // Cancel-safe: both only wait; what happened is looked at again above.
            tokio::select! {
                result = growth.next() => drop(result.map_err(|e| failed(&e))?),
                // The container's actor has gone: the container has, too.
                changed = ending.changed() => if changed.is_err() { return Ok(()) },
                () = self.send.closed() => return Err(Stop::Enough),
            }
        }
    }

    /// Reads to the end of the file.
    async fn drain(&mut self, file: &mut File) -> Result<(), Drain> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = file.read(&mut piece).map_err(Drain::Io)?;
            if length == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&piece[..length]);
            let mut out = BytesMut::new();
            while let Some(at) = self.rest.iter().position(|b| *b == b'\n') {
                let line = self.rest.split_to(at + 1);
                self.entry(&line[..at], &mut out);
            }
            if self.rest.len() > LONGEST_LINE {
                self.rest.clear();
            }
            self.give(out).await.map_err(|Enough| Drain::Enough)?;
        }
    }

    fn entry(&mut self, raw: &[u8], out: &mut BytesMut) {
        let Some(line) = parse(raw) else { return };
        if !self.wants(&line) {
            return;
        }
        if self.options.timestamps && !self.in_line {
            out.extend_from_slice(line.time.as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.extend_from_slice(b"\n");
        }
        self.in_line = line.partial;
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        let stream = self.options.stream.is_none_or(|s| s == line.stream);
        let since = self.options.since.is_none_or(|since| line.nanoseconds().is_none_or(|at| at >= since));
        stream && since
    }

    async fn give(&mut self, mut out: BytesMut) -> Result<(), Enough> {
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        if !out.is_empty() {
            self.send.send(Ok(out.freeze())).await.map_err(|_| Enough)?;
        }
        if self.left == Some(0) { Err(Enough) } else { Ok(()) }
    }
}

enum Drain {
    Enough,
    Io(std::io::Error),
}

impl Drain {
    fn or(self, failed: &dyn Fn(&dyn std::fmt::Display) -> Stop) -> Stop {
        match self {
            Self::Enough => Stop::Enough,
            Self::Io(error) => failed(&error),
        }
    }
}

/// None if it is not there yet.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Another file has the name by now, or there is one at last.
fn is_rotated(file: Option<&File>, path: &Path) -> bool {
    let Ok(named) = std::fs::metadata(path) else { return false };
    match file.map(File::metadata) {
        None => true,
        Some(Ok(open)) => (open.ino(), open.dev()) != (named.ino(), named.dev()),
        Some(Err(_)) => false,
    }
}

/// The file after this one; there may have been several rotations since it was opened. None if it is just being made.
fn following(file: Option<&File>, log: &Path) -> std::io::Result<Option<File>> {
    let Some(file) = file else { return open(log) };
    let inode = file.metadata()?.ino();
    let mut name = name_after(inode, log)?;
    loop {
        let opened = open(&name)?;
        // It may have been set aside, or removed, between the look and the opening.
        let now = name_after(inode, log)?;
        if now == name {
            return Ok(opened);
        }
        name = now;
    }
}

/// What the file after this one is called. One that is not there any more was the oldest: those were removed first.
fn name_after(inode: u64, log: &Path) -> std::io::Result<PathBuf> {
    let old = set_aside(log)?;
    let is_it = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|named| named.ino() == inode);
    let next = old.iter().position(is_it).map_or(0, |at| at + 1);
    Ok(old.into_iter().nth(next).unwrap_or_else(|| log.to_owned()))
}

fn growth_of(log: &Path) -> Result<Changes, String> {
    Changes::of(log.parent().unwrap_or(log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::io::Write;

    async fn all(content: &str, options: LogOptions) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, content).unwrap();
        let (_end, ending) = watch::channel(true);
        collect(read(LogFile { path }, options, ending)).await
    }

    async fn collect(chunks: LogChunks) -> String {
        let parts: Vec<_> = chunks.map(|c| String::from_utf8_lossy(&c.unwrap()).into_owned()).collect().await;
        parts.concat()
    }

    const LOG: &str = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr P tw\n2026-01-01T00:00:02Z stderr F o\n2026-01-01T00:00:03Z stdout F three\n";

    #[tokio::test]
    async fn options_choose_what_is_read() {
        use remora_streaming::LogStream::Stderr;
        let with = |change: fn(&mut LogOptions)| {
            let mut options = LogOptions::default();
            change(&mut options);
            options
        };
        for (options, expected) in [
            (with(|_| ()), "one\ntwo\nthree\n"),
            (with(|o| o.tail_lines = Some(1)), "three\n"),
            (with(|o| o.tail_lines = Some(0)), ""),
            (with(|o| o.stream = Some(Stderr)), "two\n"),
            (with(|o| o.since = Some(1_767_225_603_000_000_000)), "three\n"),
            (with(|o| o.limit_bytes = Some(5)), "one\nt"),
            (
                with(|o| o.timestamps = true),
                "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n",
            ),
        ] {
            assert_eq!(all(LOG, options.clone()).await, expected, "{options:?}");
        }
    }

    #[tokio::test]
    async fn following_ends_with_the_container_and_survives_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let (end, ending) = watch::channel(false);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut chunks = read(LogFile { path: path.clone() }, options, ending);
        let mut next = async || String::from_utf8_lossy(&chunks.next().await.unwrap().unwrap()).into_owned();

        let mut file = File::create(&path).unwrap();
        writeln!(file, "2026-01-01T00:00:01Z stdout F one").unwrap();
        assert_eq!(next().await, "one\n");
        std::fs::rename(&path, folder.path().join("0.log.1")).unwrap();
        writeln!(file, "2026-01-01T00:00:02Z stdout F late").unwrap();
        assert_eq!(next().await, "late\n");
        std::fs::write(&path, "2026-01-01T00:00:03Z stdout F new\n").unwrap();
        assert_eq!(next().await, "new\n");
        end.send(true).unwrap();
        assert!(chunks.next().await.is_none());
    }

    /// Writes numbered lines and sets the file aside after each few, as the shim does, faster than a reader can follow.
    fn write_and_rotate(path: &Path, lines: std::ops::Range<u32>, each: u32) {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        for number in lines {
            writeln!(file, "2026-01-01T00:00:01Z stdout F {number}").unwrap();
            if number % each == each - 1 {
                std::fs::rename(path, format!("{}.20260101-000000.{number:09}", path.display())).unwrap();
                file = File::create(path).unwrap();
            }
        }
    }

    async fn numbers(chunks: LogChunks) -> Vec<u32> {
        let chunks: Vec<_> = chunks.collect().await;
        let text: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        String::from_utf8(text).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn following_goes_on_with_the_file_that_was_set_aside_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let (end, ending) = watch::channel(false);
        write_and_rotate(&path, 0..1, 9);
        let mut chunks =
            read(LogFile { path: path.clone() }, LogOptions { follow: true, ..Default::default() }, ending);
        assert_eq!(chunks.next().await.unwrap().unwrap(), "0\n");
        write_and_rotate(&path, 1..25, 5);
        // The first of those that the reader has not seen is removed.
        std::fs::remove_file(format!("{}.20260101-000000.{:09}", path.display(), 9)).unwrap();
        end.send(true).unwrap();
        assert_eq!(numbers(chunks).await, (1..5).chain(10..25).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn following_loses_no_line_at_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        File::create(&path).unwrap();
        let (end, ending) = watch::channel(false);
        let chunks = read(LogFile { path: path.clone() }, LogOptions { follow: true, ..Default::default() }, ending);
        let writer = std::thread::spawn(move || {
            write_and_rotate(&path, 0..5000, 20);
            end.send(true).unwrap();
        });
        assert_eq!(numbers(chunks).await, (0..5000).collect::<Vec<_>>());
        writer.join().unwrap();
    }
}
