//! What goes wrong, in the words that people know from runc, and how the caller is told: a line in the log file, and the exit code.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use crate::arguments::{LogFile, LogFormat};

/// A failure: one sentence and an exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    message: String,
    exit_code: u8,
}

/// For any failure without an exit code of its own; runc's as well.
const FAILED: u8 = 255;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: FAILED }
    }

    /// The sentence of an error and all its sources, each part once.
    pub(crate) fn from_chain(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(message)
    }

    pub(crate) fn with_exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Puts what was tried before the sentence.
    pub(crate) fn context(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }
}

impl From<remora_sys::Error> for Error {
    fn from(error: remora_sys::Error) -> Self {
        Self::from_chain(&error)
    }
}

/// Writes the failure to the log file, or to standard error where there is none, and gives the exit code.
pub(crate) fn report(log: Option<&LogFile>, error: &Error) -> ExitCode {
    let written = log.is_some_and(|log| write_log(log, &error.message).is_ok());
    if !written {
        // Nobody is left to be told if this fails too.
        let _ = writeln!(std::io::stderr(), "{}", error.message);
    }
    ExitCode::from(error.exit_code)
}

fn write_log(log: &LogFile, message: &str) -> std::io::Result<()> {
    let mut file = File::options().create(true).append(true).open(&log.path)?;
    let line = match log.format {
        LogFormat::Json => serde_json::json!({ "level": "error", "msg": message }).to_string(),
        LogFormat::Text => format!("level=error msg={message:?}"),
    };
    writeln!(file, "{line}")
}
