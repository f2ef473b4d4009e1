//! The only place that writes to the terminal: standard output for results, standard error for words about them.
//!
//! A reader that has gone away (`remora get pods | head -1`) ends the command quietly, as other tools do.

use std::io::{self, Write};

use crate::CommandError;

/// One line of result.
pub fn print_line(line: impl std::fmt::Display) {
    write_or_leave(&mut io::stdout().lock(), format_args!("{line}\n"));
}

/// Bytes of result, as they are.
pub(crate) fn print_raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    leave_if_closed(out.write_all(bytes).and_then(|()| out.flush()));
}

/// One line of talk.
pub(crate) fn print_note(line: impl std::fmt::Display) {
    write_or_leave(&mut io::stderr().lock(), format_args!("{line}\n"));
}

/// Talk that waits for an answer on the same line.
pub(crate) fn print_part(text: impl std::fmt::Display) {
    write_or_leave(&mut io::stderr().lock(), format_args!("{text}"));
}

/// A failure and its remedy.
pub fn print_error(error: &CommandError) {
    // What the API server says carries its own prefix, as kubectl shows it.
    let prefix = if error.message.starts_with("Error from server") { "" } else { "error: " };
    print_note(format_args!("{prefix}{}", error.message));
    if let Some(hint) = &error.hint {
        print_note(format_args!("hint: {hint}"));
    }
}

fn write_or_leave(out: &mut impl Write, text: std::fmt::Arguments<'_>) {
    leave_if_closed(out.write_fmt(text).and_then(|()| out.flush()));
}

fn leave_if_closed(result: io::Result<()>) {
    if result.is_err() {
        // Nobody reads any more and there is nobody to tell: end as a program killed by SIGPIPE would.
        std::process::exit(141);
    }
}
