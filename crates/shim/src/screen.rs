//! A terminal's screen as it is now. Pure: bytes in, a drawing out.
//!
//! The drawing works on a terminal in whatever state. It is made by an emulator, so that what a full-screen program has drawn over an hour
//! is shown by one screenful, and no question that a program once asked its terminal ("where is the cursor?") is asked again.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use remora_shim_protocol::TerminalSize;
use vt100::Parser;

/// A screen has at most so many lines and columns here, whatever its client says: it costs 32 bytes for each of its cells.
const LARGEST: TerminalSize = TerminalSize { width: 500, height: 200 };
const ENTER_ALTERNATE_SCREEN: &[u8] = b"\x1b[?1049h";
/// Without it, colours that the newcomer's terminal happens to have would fill the screen when it is cleared.
const RESET_ATTRIBUTES: &[u8] = b"\x1b[m";

/// The emulated terminal.
pub(crate) struct Screen(Parser);

impl Screen {
    /// Blank; 24 lines of 80 columns until somebody says otherwise, as programs assume of a terminal that does not know its size.
    pub(crate) fn new() -> Self {
        Self(Parser::default())
    }

    /// Takes in output.
    pub(crate) fn show(&mut self, output: &[u8]) {
        self.or_blank(|parser| parser.process(output));
    }

    /// The terminal has another size now. One of nothing is none; nor is one cell: kubectl attach first says a size that is one larger than its
    /// terminal's, so that programs draw anew, and a terminal without a size has nothing. What is on the screen would be lost.
    pub(crate) fn resize(&mut self, size: TerminalSize) {
        let limited = |cells: u16, most: u16| NonZeroU16::new(cells.min(most)).filter(|cells| cells.get() > 1);
        let (rows, columns) = (limited(size.height, LARGEST.height), limited(size.width, LARGEST.width));
        if let (Some(rows), Some(columns)) = (rows, columns) {
            self.or_blank(|parser| parser.screen_mut().set_size(rows, columns));
        }
    }

    /// Bytes that draw the screen: its text and attributes, the cursor, and how keys and mouse are to be sent.
    pub(crate) fn drawing(&mut self) -> Vec<u8> {
        self.or_blank(|parser| {
            let screen = parser.screen();
            let enter = if screen.alternate_screen() { ENTER_ALTERNATE_SCREEN } else { b"" };
            [enter, RESET_ATTRIBUTES, screen.state_formatted().as_bytes()].concat()
        })
        .unwrap_or_default()
    }

    /// What a container writes is nobody's promise, and a shim that dies takes its container along: should the emulator panic, it starts
    /// anew with a blank screen.
    fn or_blank<T>(&mut self, work: impl FnOnce(&mut Parser) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut self.0)));
        if done.is_err() {
            self.0 = Parser::default();
        }
        done.ok()
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Screen").field(&self.0.screen().size()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(output: &[&str]) -> Screen {
        let mut screen = Screen::new();
        output.iter().for_each(|piece| screen.show(piece.as_bytes()));
        screen
    }

    /// What a newcomer's terminal, 24 lines of 80 columns and not blank, looks like after the drawing.
    fn seen(screen: &mut Screen) -> (String, (u16, u16)) {
        let mut theirs = Parser::default();
        theirs.process(b"\x1b[44mtheir own work\r\n\x1b[7mmore of it");
        theirs.process(&screen.drawing());
        (theirs.screen().contents(), theirs.screen().cursor_position())
    }

    #[test]
    fn a_newcomer_sees_the_text_and_the_cursor_where_they_are() {
        let check = |output: &[&str], text: &str, cursor: (u16, u16)| {
            assert_eq!(seen(&mut screen(output)), (text.to_owned(), cursor), "{output:?}");
        };
        check(&[], "", (0, 0));
        check(&["/ # "], "/ # ", (0, 4));
        check(&["/ # ls\r\nbin\r\n", "/ # "], "/ # ls\nbin\n/ # ", (2, 4));
        check(&["10 %\r", "20 %\r", "30 %\r"], "30 %", (0, 0));
        check(&["half an escape \x1b[", "31mred"], "half an escape red", (0, 18));
        check(&["a\r\n", "\x1b[2J\x1b[5;3Hhere"], "\n\n\n\n  here", (4, 6));
    }

    #[test]
    fn questions_are_not_asked_again() {
        let drawing = String::from_utf8(screen(&["\x1b[6n\x1b[c/ # "]).drawing()).unwrap();
        assert!(!drawing.contains("\x1b[6n") && !drawing.contains("\x1b[c"), "{drawing:?}");
    }

    #[test]
    fn a_full_screen_program_is_shown_on_the_alternate_screen_and_keeps_its_modes() {
        let mut vi = screen(&["/ # vi\r\n", "\x1b[?1049h\x1b[?1h\x1b[2J\x1b[Hfile\r\n~\r\n~"]);
        let drawing = String::from_utf8(vi.drawing()).unwrap();
        assert!(drawing.starts_with("\x1b[?1049h") && drawing.contains("\x1b[?1h"), "{drawing:?}");
        assert_eq!(seen(&mut vi).0, "file\n~\n~");
        vi.show(b"\x1b[?1049l");
        assert_eq!(seen(&mut vi).0, "/ # vi");
    }

    #[test]
    fn sizes_are_taken_as_far_as_they_make_sense() {
        let check = |width, height, expected: (u16, u16)| {
            let mut screen = Screen::new();
            screen.resize(TerminalSize { width, height });
            let (rows, columns) = screen.0.screen().size();
            assert_eq!((columns.get(), rows.get()), expected);
        };
        check(132, 43, (132, 43));
        check(0, 0, (80, 24));
        check(1, 1, (80, 24));
        check(2, 2, (2, 2));
        check(u16::MAX, u16::MAX, (LARGEST.width, LARGEST.height));
    }

    #[test]
    fn nothing_that_a_container_writes_ends_the_shim() {
        bolero::check!().with_type::<(Vec<(u8, u8, Vec<u8>)>,)>().for_each(|(pieces,)| {
            let mut screen = Screen::new();
            for (width, height, output) in pieces {
                screen.resize(TerminalSize { width: (*width).into(), height: (*height).into() });
                screen.show(output);
                screen.drawing();
            }
        });
    }
}
