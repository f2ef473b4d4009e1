//! Transcripts of terminals in asciicast v2 (<https://docs.asciinema.org/manual/asciicast/v2/>): a line of JSON for the header, one for each
//! piece of output. Pure: times are arguments.

use std::time::Duration;

use serde_json::{Value, json};

/// What a transcript begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// When it began, in seconds since 1970.
    pub timestamp: i64,
    /// What it shows.
    pub title: String,
}

/// Something that happened on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// This was shown.
    Output(String),
    /// The terminal has this size now.
    Resized(u16, u16),
}

/// Why a transcript cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// The first line is no header.
    #[error("the first line is no header of an asciicast v2 file")]
    Header,
    /// A later one is no event.
    #[error("line {0} is no event of an asciicast v2 file")]
    Event(usize),
}

impl Header {
    /// The first line.
    pub fn line(&self) -> String {
        let Header { width, height, timestamp, title } = self;
        json!({"version": 2, "width": width, "height": height, "timestamp": timestamp, "title": title}).to_string()
    }
}

impl Happened {
    /// A line, so long after the beginning.
    pub fn line(&self, at: Duration) -> String {
        let (code, data) = match self {
            Happened::Output(text) => ("o", text.clone()),
            Happened::Resized(width, height) => ("r", format!("{width}x{height}")),
        };
        json!([at.as_secs_f64(), code, data]).to_string()
    }
}

/// Makes text of bytes that come in pieces: a letter may be cut in two.
#[derive(Debug, Default)]
pub struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// What is whole so far. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let is_cut = |error: std::str::Utf8Error| error.error_len().is_none();
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if is_cut(error) => error.valid_up_to(),
            Ok(_) => self.rest.len(),
            // Something in the middle is wrong; what may be cut at the end waits all the same.
            Err(_) => self.rest.len() - cut_at_the_end(&self.rest),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        text
    }
}

/// How many of the last three bytes begin a letter that is not whole.
fn cut_at_the_end(bytes: &[u8]) -> usize {
    let last: Vec<u8> = bytes.iter().rev().take(3).copied().collect();
    let start = last.iter().position(|byte| *byte >= 0xC0);
    start
        .filter(|i| std::str::from_utf8(&bytes[bytes.len() - i - 1..]).is_err_and(|e| e.error_len().is_none()))
        .map_or(0, |i| i + 1)
}

/// Reads a whole transcript: times and what was shown. Events of other kinds, such as input and marks, are left out.
///
/// # Errors
/// The line that is none.
pub fn read(text: &str) -> Result<(Header, Vec<(Duration, Happened)>), TranscriptError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let header =
        lines.next().and_then(|(_, line)| serde_json::from_str::<Value>(line).ok()).ok_or(TranscriptError::Header)?;
    if header["version"] != 2 {
        return Err(TranscriptError::Header);
    }
    let size = |field: &str| header[field].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or_default();
    let title = header["title"].as_str().unwrap_or_default().to_owned();
    let timestamp = header["timestamp"].as_i64().unwrap_or_default();
    let events: Result<Vec<_>, _> = lines.map(|(i, line)| event(line).ok_or(TranscriptError::Event(i + 1))).collect();
    let header = Header { width: size("width"), height: size("height"), timestamp, title };
    Ok((header, events?.into_iter().flatten().collect()))
}

/// None: no event. Some of none: one that is not shown.
fn event(line: &str) -> Option<Option<(Duration, Happened)>> {
    let event: Value = serde_json::from_str(line).ok()?;
    let at = Duration::try_from_secs_f64(event[0].as_f64()?).ok()?;
    let (code, data) = (event[1].as_str()?, event[2].as_str()?);
    Some(match code {
        "o" => Some((at, Happened::Output(data.to_owned()))),
        "r" => {
            let (width, height) = data.split_once('x')?;
            Some((at, Happened::Resized(width.parse().ok()?, height.parse().ok()?)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header { width: 80, height: 24, timestamp: 1000, title: "debug web".to_owned() };
        let events = [
            (Duration::from_millis(500), Happened::Output("/ # \u{1b}[6n\"\r\n".to_owned())),
            (Duration::from_millis(1500), Happened::Resized(100, 30)),
        ];
        let lines: Vec<String> =
            std::iter::once(header.line()).chain(events.iter().map(|(at, e)| e.line(*at))).collect();
        let expected = [
            r#"{"height":24,"timestamp":1000,"title":"debug web","version":2,"width":80}"#,
            r#"[0.5,"o","/ # \u001b[6n\"\r\n"]"#,
            r#"[1.5,"r","100x30"]"#,
        ];
        assert_eq!(lines, expected);
        assert_eq!(read(&lines.join("\n")).unwrap(), (header, events.to_vec()));
    }

    #[test]
    fn a_letter_that_is_cut_waits_for_its_rest() {
        let check = |pieces: &[&[u8]], expected: &[&str]| {
            let mut decoder = Decoder::default();
            let shown: Vec<String> = pieces.iter().map(|piece| decoder.decode(piece)).collect();
            assert_eq!(shown, expected);
        };
        check(&[b"a\xC3", b"\xA4b"], &["a", "\u{e4}b"]);
        check(&[b"\xE2\x82", b"\xAC"], &["", "\u{20ac}"]);
        check(&[b"\xFFa"], &["\u{fffd}a"]);
        check(&[b"\xFF\xE2\x82", b"\xAC"], &["\u{fffd}", "\u{20ac}"]);
    }

    #[test]
    fn what_is_no_transcript_is_refused_by_its_line() {
        let check = |text: &str, expected: TranscriptError| assert_eq!(read(text), Err(expected));
        check("", TranscriptError::Header);
        check("{\"version\": 1}", TranscriptError::Header);
        check("{\"version\": 2}\n[1, \"o\", \"x\"]\n[", TranscriptError::Event(3));
        check("{\"version\": 2}\n[-1, \"o\", \"x\"]", TranscriptError::Event(2));
        check("{\"version\": 2}\n[1, \"r\", \"x\"]", TranscriptError::Event(2));
        assert_eq!(read("{\"version\": 2}\n[1, \"i\", \"x\"]\n").unwrap().1, []);
    }
}
