//! One line of a CRI log: `2026-01-01T00:00:00.123456789Z stdout F text`.
//!
//! Source: CRI's logging format (kubernetes `pkg/kubelet/kuberuntime/logs/logs.go`). `P` marks a piece of a longer line.

use jiff::Timestamp;
use remora_streaming::LogStream;

/// A parsed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// As written.
    pub(super) time: &'a str,
    pub(super) stream: LogStream,
    /// The line goes on in the next entry: no line break follows.
    pub(super) partial: bool,
    pub(super) text: &'a [u8],
}

impl Line<'_> {
    /// Nanoseconds since the epoch; none if the time is malformed.
    pub(super) fn nanoseconds(&self) -> Option<i64> {
        let time: Timestamp = self.time.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    }
}

/// Parses a line without its line break. None if it is none of CRI's.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    // The text may be missing: an empty line has no space after its tag with some writers.
    let (tags, text) = word(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let partial = match tags.split(|b| *b == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Line { time: std::str::from_utf8(time).ok()?, stream, partial, text })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|b| *b == b' ')?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let full = parse(b"2026-01-01T00:00:00.5Z stdout F hello world").unwrap();
        assert_eq!((full.text, full.partial, full.stream), (&b"hello world"[..], false, LogStream::Stdout));
        assert_eq!(full.nanoseconds(), Some(1_767_225_600_500_000_000));
        let piece = parse(b"2026-01-01T00:00:00Z stderr P x").unwrap();
        assert_eq!((piece.partial, piece.stream), (true, LogStream::Stderr));
        for text in [&b"2026-01-01T00:00:00Z stdout F "[..], b"2026-01-01T00:00:00Z stdout F"] {
            assert_eq!(parse(text).unwrap().text, b"", "an empty line");
        }
        for text in [&b""[..], b"hello", b"t stdin F x", b"t stdout X x"] {
            assert_eq!(parse(text), None);
        }
    }

    #[test]
    fn no_line_makes_it_panic_and_its_parts_are_the_lines_own() {
        bolero::check!().with_type::<(bool, Vec<u8>)>().for_each(|(near, bytes)| {
            let prefix: &[u8] = if *near { b"2026-01-01T00:00:00Z stdout F" } else { b"" };
            let line = [prefix, bytes].concat();
            if let Some(parsed) = parse(&line) {
                assert!(line.starts_with(parsed.time.as_bytes()) && line.ends_with(parsed.text), "{line:?}");
                let _ = parsed.nanoseconds();
            }
        });
    }
}
