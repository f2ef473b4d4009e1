//! Writes what a terminal shows to a transcript, as it comes. A session is never lost for its transcript: a file that cannot be written any
//! more is told at the end.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use remora_debug::transcript::{Decoder, Happened, Header};

use crate::CommandError;

/// A transcript that is being written.
pub(crate) struct Recorder {
    file: File,
    begin: Instant,
    decoder: Decoder,
    failed: Option<std::io::Error>,
}

impl Recorder {
    /// Begins a file; one that is there already is left alone.
    pub(crate) fn begin(path: &Path, title: &str) -> Result<Recorder, CommandError> {
        let place = path.display();
        let failed = |error: std::io::Error| CommandError::caused(format_args!("recording to {place}"), &error);
        let mut file = File::create_new(path).map_err(failed)?;
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = i64::try_from(now.as_secs()).unwrap_or_default();
        writeln!(file, "{}", Header { width, height, timestamp, title: title.to_owned() }.line()).map_err(failed)?;
        Ok(Recorder { file, begin: Instant::now(), decoder: Decoder::default(), failed: None })
    }

    /// These bytes are shown now.
    pub(crate) fn output(&mut self, bytes: &[u8]) {
        let text = self.decoder.decode(bytes);
        if text.is_empty() || self.failed.is_some() {
            return;
        }
        let line = Happened::Output(text).line(self.begin.elapsed());
        self.failed = writeln!(self.file, "{line}").err();
    }

    /// Why not all of it is there, if it is not.
    pub(crate) fn failure(&self) -> Option<&std::io::Error> {
        self.failed.as_ref()
    }
}
