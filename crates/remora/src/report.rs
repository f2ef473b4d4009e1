//! How a node that starts in the background tells the command that started it how it went: one line of JSON through a pipe.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;

use remora_cli::{CommandError, Kind};
use serde::{Deserialize, Serialize};

/// The outcome of a start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It is ready; these lines say what to type next.
    Ready(Vec<String>),
    /// It is not.
    Failed { message: String, hint: Option<String> },
}

impl Report {
    /// Of a failure.
    pub(crate) fn failed(error: &CommandError) -> Report {
        Report::Failed { message: error.message.clone(), hint: error.hint.clone() }
    }

    /// Writes it to the pipe that the starting command holds the other end of.
    pub(crate) fn send(&self, to: &Path) -> std::io::Result<()> {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(to)?;
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        pipe.write_all(&line)
    }

    /// Waits for it. A pipe that is closed without a report means that the node died; its log says why.
    pub(crate) fn receive(from: PipeReader, log: &Path) -> Result<Vec<String>, CommandError> {
        let mut line = String::new();
        let read = BufReader::new(from).read_line(&mut line);
        read.map_err(|error| CommandError::caused("waiting for the node", &error))?;
        match serde_json::from_str(&line) {
            Ok(Report::Ready(lines)) => Ok(lines),
            Ok(Report::Failed { message, hint }) => Err(CommandError { kind: Kind::Failed, message, hint }),
            Err(_) => Err(CommandError::failed("the node ended while it was starting")
                .hint(format_args!("its log says why: {}", log.display()))),
        }
    }
}
