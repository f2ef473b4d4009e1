//! What those who attach are shown of a stream's past. Pure.
//!
//! | stream | the first who attaches | whoever comes later |
//! |---|---|---|
//! | a pipe | the latest output, from a whole line on | the same |
//! | a terminal | all that it has shown, byte for byte, if all of it is still kept | the screen as it is now |
//!
//! The bytes of a terminal are right only for the one terminal that they were written for: they hold questions that it must answer. Who is
//! first in front of it is that terminal, and so misses nothing: neither the prompt nor what has scrolled away.

use remora_shim_protocol::TerminalSize;

use crate::ring::Ring;
use crate::screen::Screen;

/// The past of one stream.
#[derive(Debug)]
pub(crate) enum Replay {
    /// Of a pipe.
    Output(Ring),
    Terminal {
        /// None once somebody has seen it.
        unseen: Option<Ring>,
        screen: Box<Screen>,
    },
}

impl Replay {
    /// Of a pipe; keeps the latest `limit` bytes.
    pub(crate) fn of_output(limit: usize) -> Self {
        Self::Output(Ring::new(limit))
    }

    /// Of a terminal; keeps up to `limit` bytes until the first attaches.
    pub(crate) fn of_terminal(limit: usize) -> Self {
        Self::Terminal { unseen: Some(Ring::new(limit)), screen: Box::new(Screen::new()) }
    }

    /// Of a terminal that somebody sits at from the beginning.
    pub(crate) fn of_attended_terminal() -> Self {
        Self::Terminal { unseen: None, screen: Box::new(Screen::new()) }
    }

    pub(crate) fn push(&mut self, output: &[u8]) {
        match self {
            Self::Output(ring) => ring.push(output),
            Self::Terminal { unseen, screen } => {
                unseen.iter_mut().for_each(|ring| ring.push(output));
                screen.show(output);
            }
        }
    }

    pub(crate) fn resize(&mut self, size: TerminalSize) {
        if let Self::Terminal { screen, .. } = self {
            screen.resize(size);
        }
    }

    /// For one who attaches now.
    pub(crate) fn show(&mut self) -> Vec<u8> {
        match self {
            Self::Output(ring) => ring.replay(),
            Self::Terminal { unseen, screen } => match unseen.take() {
                Some(ring) if ring.is_whole() => ring.replay(),
                _ => screen.drawing(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminals_bytes_are_shown_once_and_then_its_screen() {
        let mut terminal = Replay::of_terminal(100);
        terminal.push(b"\x1b[6n/ # ");
        assert_eq!(terminal.show(), b"\x1b[6n/ # ");
        terminal.push(b"ls\r\nbin\r\n/ # ");
        let later = String::from_utf8(terminal.show()).unwrap();
        assert!(later.contains("/ # ls\r\nbin\r\n/ # ") && !later.contains("\x1b[6n"), "{later:?}");
        assert_eq!(terminal.show(), later.as_bytes(), "looking changes nothing");
    }

    #[test]
    fn what_no_longer_fits_is_shown_as_a_screen() {
        let mut terminal = Replay::of_terminal(8);
        terminal.push(b"one\r\ntwo\r\n/ # ");
        assert!(String::from_utf8(terminal.show()).unwrap().contains("one\r\ntwo\r\n/ # "));
    }

    #[test]
    fn a_pipes_output_is_the_same_for_all() {
        let mut output = Replay::of_output(100);
        output.push(b"one\n");
        assert_eq!((output.show(), output.show()), (b"one\n".to_vec(), b"one\n".to_vec()));
    }
}
