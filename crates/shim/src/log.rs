//! The container's log in CRI's format: `<RFC 3339 time> stdout|stderr P|F <line>`.
//!
//! [`Lines`] turns output into entries and is pure. [`Log`] appends them to the file. **Invariant:** a log that cannot be written never
//! blocks the container: what does not fit on the disk is lost, counted, and said on the shim's standard error; the file never holds half
//! an entry.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use remora_shim_protocol::LogLimit;

use crate::process::Stream;
use crate::timestamp::{compact, now, rfc3339_nano};

/// A longer line becomes several entries, all but the last marked `P`; containerd's limit as well.
const MAX_LINE: usize = 16 * 1024;

/// The unfinished line of each stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: [Vec<u8>; 2],
}

impl Lines {
    /// Appends the entries that `data` completes to `out`.
    fn push(&mut self, stream: Stream, time: &str, data: &[u8], out: &mut Vec<u8>) {
        let partial = &mut self.partial[stream.index()];
        let mut rest = data;
        while !rest.is_empty() {
            let room = MAX_LINE - partial.len();
            let window = &rest[..rest.len().min(room + 1)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                entry(stream, time, 'F', &[partial, &rest[..end]], out);
                partial.clear();
                rest = &rest[end + 1..];
            } else if rest.len() > room {
                entry(stream, time, 'P', &[partial, &rest[..room]], out);
                partial.clear();
                rest = &rest[room..];
            } else {
                partial.extend_from_slice(rest);
                rest = &[];
            }
        }
    }

    /// The stream has ended: a last line without a line feed stays partial, as with containerd. So readers add none.
    fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let partial = std::mem::take(&mut self.partial[stream.index()]);
            if !partial.is_empty() {
                entry(stream, time, 'P', &[&partial], out);
            }
        }
    }
}

fn entry(stream: Stream, time: &str, tag: char, line: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(if stream == Stream::Stdout { b" stdout " } else { b" stderr " });
    out.extend_from_slice(&[tag as u8, b' ']);
    line.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

/// The log file of a container.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    lines: Lines,
    limit: Option<LogLimit>,
    /// Bytes of entries that could not be written since the last one that could.
    lost: u64,
}

impl Log {
    /// Opens the file to append to, and makes it if it is not there.
    pub(crate) fn open(path: &Path, limit: Option<LogLimit>) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, lines: Lines::default(), limit, lost: 0 })
    }

    /// Opens the path anew, after a rotation has moved the old file away.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    pub(crate) fn write(&mut self, stream: Stream, data: &[u8]) {
        let mut entries = Vec::new();
        self.lines.push(stream, &rfc3339_nano(now()), data, &mut entries);
        self.append(&entries);
    }

    /// All output has come.
    pub(crate) fn finish(&mut self) {
        let mut entries = Vec::new();
        self.lines.finish(&rfc3339_nano(now()), &mut entries);
        self.append(&entries);
    }

    fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        self.keep_within_limit();
        match append_whole(&mut self.file, entries) {
            Ok(()) => {
                if self.lost > 0 {
                    let path = self.path.display();
                    crate::note(format_args!("the log {path} works again; {} bytes were lost", self.lost));
                    self.lost = 0;
                }
            }
            Err(error) => {
                if self.lost == 0 {
                    crate::note(format_args!("the log {} cannot be written: {error}", self.path.display()));
                }
                self.lost += entries.len() as u64;
            }
        }
    }
}

impl Log {
    /// Sets a file that is long enough aside, and lets the oldest go. What fails is said and tried again with the next entry. Only when there is one: so
    /// a container's last words are in the file that is looked at first.
    fn keep_within_limit(&mut self) {
        let length = self.file.metadata().map_or(0, |file| file.len());
        let Some(limit) = self.limit.filter(|limit| length >= limit.bytes) else { return };
        let done = set_aside(&self.path).and_then(|()| self.reopen()).and_then(|()| remove_oldest(&self.path, limit));
        if let Err(error) = done {
            crate::note(format_args!("the log {} cannot be set aside: {error}", self.path.display()));
        }
    }
}

/// `0.log` becomes `0.log.20060102-150405.000000000`, as a kubelet calls it, but for the fraction: names sort by age, and none is taken.
fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", compact(now())));
    match std::fs::rename(path, name) {
        // It was moved before, and only the new file could not be made then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_oldest(path: &Path, limit: LogLimit) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut old = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
            old.push(path);
        }
    }
    old.sort();
    let too_many = (old.len() + 1).saturating_sub(limit.files);
    old.iter().take(too_many).try_for_each(std::fs::remove_file)
}

/// Opens for appending. A file that ends within a line (its writer was killed, or the disk was full) is given a line feed first, so that the
/// torn line stays alone.
fn open(path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).append(true).create(true).mode(0o640).open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Appends all or nothing.
fn append_whole(file: &mut File, entries: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(entries).inspect_err(|_| {
        // If cutting fails too, the torn entry is what readers get: they skip lines that do not parse.
        let _ = file.set_len(before);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_entries_line_by_line() {
        let check = |pieces: &[(Stream, &str)], expected: &str| {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            pieces.iter().for_each(|(stream, piece)| lines.push(*stream, "T", piece.as_bytes(), &mut out));
            lines.finish("E", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        use Stream::{Stderr, Stdout};
        check(&[], "");
        check(&[(Stdout, "one\ntwo\n")], "T stdout F one\nT stdout F two\n");
        check(&[(Stdout, "\n\n")], "T stdout F \nT stdout F \n");
        check(&[(Stdout, "on"), (Stderr, "err\n"), (Stdout, "e\n")], "T stderr F err\nT stdout F one\n");
        check(&[(Stdout, "prompt> ")], "E stdout P prompt> \n");
    }

    #[test]
    fn long_lines_are_cut_at_sixteen_kibibytes() {
        let check = |length: usize, end: &str, expected: &[(char, usize)]| {
            for piece in [1000, MAX_LINE, usize::MAX] {
                let mut lines = Lines::default();
                let mut out = Vec::new();
                let text = "x".repeat(length) + end;
                text.as_bytes().chunks(piece).for_each(|part| lines.push(Stream::Stdout, "T", part, &mut out));
                lines.finish("T", &mut out);
                let text = String::from_utf8(out).unwrap();
                let seen: Vec<(char, usize)> = text
                    .lines()
                    .map(|line| line.strip_prefix("T stdout ").unwrap())
                    .map(|line| (line.chars().next().unwrap(), line.len() - 2))
                    .collect();
                assert_eq!(seen, expected, "{length} in pieces of {piece}");
            }
        };
        check(MAX_LINE - 1, "\n", &[('F', MAX_LINE - 1)]);
        check(MAX_LINE, "\n", &[('F', MAX_LINE)]);
        check(MAX_LINE + 1, "\n", &[('P', MAX_LINE), ('F', 1)]);
        check(2 * MAX_LINE + 5, "\n", &[('P', MAX_LINE), ('P', MAX_LINE), ('F', 5)]);
        check(MAX_LINE + 1, "", &[('P', MAX_LINE), ('P', 1)]);
    }

    #[test]
    fn a_torn_line_stays_alone_and_a_rotated_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, "T stdout F who").unwrap();
        let mut log = Log::open(&path, None).unwrap();
        log.write(Stream::Stdout, b"one\n");
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        log.write(Stream::Stdout, b"two\n");
        log.reopen().unwrap();
        log.write(Stream::Stderr, b"three\n");
        let lines = |name: &str| {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            text.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lines("old"), ["who", "one", "two"]);
        assert_eq!(lines("0.log"), ["three"]);
    }

    #[test]
    fn a_log_is_set_aside_when_it_is_long_enough_and_the_oldest_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(folder.path().join("10.log.1"), "another run's").unwrap();
        let mut log = Log::open(&path, Some(LogLimit { bytes: 200, files: 3 })).unwrap();
        for number in 0..40 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
        }
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!((names[0].as_str(), names[3].as_str()), ("0.log", "10.log.1"));
        let text: String =
            [1, 2, 0].map(|at| std::fs::read_to_string(folder.path().join(&names[at])).unwrap()).concat();
        let numbers: Vec<u32> = text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        let expected: Vec<u32> = (numbers[0]..40).collect();
        assert_eq!(numbers, expected, "the newest lines, none missing and none twice");
        assert!(numbers.len() >= 8, "{numbers:?}");
    }

    #[test]
    fn a_full_disk_loses_entries_but_never_half_of_one() {
        let mut log = Log::open(Path::new("/dev/full"), None).unwrap();
        log.write(Stream::Stdout, b"lost\n");
        log.write(Stream::Stdout, b"lost too\n");
        assert!(log.lost > 0);
    }

    #[test]
    fn whatever_is_written_can_be_read_from_the_log_again() {
        bolero::check!().with_type::<Vec<(bool, Vec<u8>)>>().for_each(|pieces| {
            let (mut lines, mut log) = (Lines::default(), Vec::new());
            let mut written = [Vec::new(), Vec::new()];
            for (error, piece) in pieces {
                let stream = if *error { Stream::Stderr } else { Stream::Stdout };
                lines.push(stream, "T", piece, &mut log);
                written[stream.index()].extend_from_slice(piece);
            }
            lines.finish("T", &mut log);
            assert_eq!(read_again(&log), written);
        });
    }

    fn read_again(log: &[u8]) -> [Vec<u8>; 2] {
        let mut read = [Vec::new(), Vec::new()];
        for entry in log.split_inclusive(|byte| *byte == b'\n') {
            let (head, text) = entry.split_at(b"T stdout F ".len());
            let stream = if head.starts_with(b"T stderr") { Stream::Stderr } else { Stream::Stdout };
            let text = if head.ends_with(b"P ") { &text[..text.len() - 1] } else { text };
            read[stream.index()].extend_from_slice(text);
        }
        read
    }
}
