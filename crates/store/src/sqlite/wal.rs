//! SQLite's write-ahead log, judged before SQLite sees it. Pure: it reads bytes and gives a verdict.
//!
//! SQLite's own recovery stops silently at the first frame that does not fit and takes all behind it for a torn tail.
//! That is right only if nothing behind it was ever acknowledged. Each commit is synced before the next one begins
//! (`synchronous=FULL`), so what a crash can tear is one transaction, the last. A frame behind that transaction proves
//! that it had been synced, and that the log was damaged later.
//!
//! Format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io::{self, Read};

use super::schema::PAGE_SIZE;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE_SIZE as usize;
const MAGIC_LITTLE_ENDIAN_SUMS: u32 = 0x377f_0682;
const MAGIC_BIG_ENDIAN_SUMS: u32 = 0x377f_0683;
const VERSION: u32 = 3_007_000;

/// What is to be done with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it ends with a commit, or with remains of an older generation.
    Sound,
    /// Its end belongs to a transaction that was never acknowledged: to be cut.
    Torn,
    /// Acknowledged transactions are broken.
    Damaged(String),
}

/// The bytes that a log of so many frames has.
pub(super) fn length(frames: u64) -> u64 {
    if frames == 0 { 0 } else { HEADER as u64 + frames * FRAME as u64 }
}

/// Reads a log to its end.
pub(super) fn judge(mut log: impl Read) -> io::Result<Verdict> {
    let mut header = [0; HEADER];
    match read_up_to(&mut log, &mut header)? {
        0 => return Ok(Verdict::Sound),
        HEADER => {}
        // Frames are written only after the header was synced: a piece of a header has nothing behind it.
        _ => return Ok(Verdict::Torn),
    }
    let mut frame = [0; FRAME];
    let mut length = read_up_to(&mut log, &mut frame)?;
    let mut scan = match Scan::start(&header) {
        Ok(scan) => scan,
        Err(_) if length == 0 => return Ok(Verdict::Torn),
        Err(detail) => return Ok(Verdict::Damaged(detail)),
    };
    while length > 0 && !scan.hopeless() {
        scan.frame(&frame[..length]);
        length = read_up_to(&mut log, &mut frame)?;
    }
    Ok(scan.verdict())
}

/// Fills `buffer` as far as the input goes.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Scan {
    salts: [u8; 8],
    sums: Sums,
    number: u64,
    state: State,
}

enum State {
    /// Every frame so far fits; `open` if a transaction has begun that has no commit yet.
    Fits { open: bool },
    /// Frame `at` does not fit. `over`: the end of its transaction was seen. `ours`: frames of this generation follow.
    Broken { at: u64, over: bool, ours: bool },
    /// Frame `at` is broken, and `proof` that it was once written and synced.
    Damaged { at: u64, proof: Proof },
}

impl Scan {
    fn start(header: &[u8; HEADER]) -> Result<Scan, String> {
        let big_endian = match word(header, 0) {
            MAGIC_LITTLE_ENDIAN_SUMS => false,
            MAGIC_BIG_ENDIAN_SUMS => true,
            other => {
                return Err(format!("it begins with {other:#010x}, which is not a write-ahead log's magic number"));
            }
        };
        let mut sums = Sums { big_endian, a: 0, b: 0 };
        sums.add(&header[..24]);
        if !sums.are(&header[24..]) {
            return Err("the checksum of its header is wrong".to_owned());
        }
        if word(header, 4) != VERSION || word(header, 8) != PAGE_SIZE {
            return Err(format!("it has format {} and pages of {} bytes", word(header, 4), word(header, 8)));
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Ok(Scan { salts, sums, number: 0, state: State::Fits { open: false } })
    }

    fn hopeless(&self) -> bool {
        matches!(self.state, State::Damaged { .. })
    }

    /// Takes in the next frame, or the piece of one at the end of the file.
    fn frame(&mut self, frame: &[u8]) {
        self.number += 1;
        let ours = frame.len() >= 16 && frame[8..16] == self.salts;
        let commit = ours && word(frame, 4) != 0;
        self.state = match self.state {
            State::Fits { .. } => match self.fit(frame, ours) {
                Fit::Fits => State::Fits { open: !commit },
                Fit::WrongSalt => State::Damaged { at: self.number, proof: Proof::Sum },
                Fit::No => State::Broken { at: self.number, over: commit, ours },
            },
            State::Broken { at, over: true, .. } if ours => State::Damaged { at, proof: Proof::Later(self.number) },
            State::Broken { at, over, ours: before } => {
                State::Broken { at, over: over || commit, ours: before || ours }
            }
            State::Damaged { at, proof } => State::Damaged { at, proof },
        };
    }

    fn fit(&mut self, frame: &[u8], ours: bool) -> Fit {
        if frame.len() < FRAME || word(frame, 0) == 0 {
            return Fit::No;
        }
        self.sums.add(&frame[..8]);
        self.sums.add(&frame[FRAME_HEADER..]);
        match (self.sums.are(&frame[16..24]), ours) {
            (true, true) => Fit::Fits,
            (true, false) => Fit::WrongSalt,
            (false, _) => Fit::No,
        }
    }

    fn verdict(self) -> Verdict {
        match self.state {
            State::Fits { open: false } | State::Broken { ours: false, .. } => Verdict::Sound,
            State::Fits { open: true } | State::Broken { .. } => Verdict::Torn,
            State::Damaged { at, proof } => Verdict::Damaged(proof.detail(at)),
        }
    }
}

/// How a broken frame shows that it is not just torn.
#[derive(Clone, Copy)]
enum Proof {
    /// A transaction that began after its own was synced: frame `.0`.
    Later(u64),
    /// Its checksum, which holds only where it stands; so its salt, which the checksum does not cover, was changed.
    Sum,
}

impl Proof {
    fn detail(self, at: u64) -> String {
        match self {
            Proof::Later(later) => {
                format!(
                    "frame {at} of the write-ahead log does not fit, though later transactions follow it (frame {later})"
                )
            }
            Proof::Sum => {
                format!("frame {at} of the write-ahead log has another salt than the log, but the right checksum")
            }
        }
    }
}

/// Whether a frame continues the log.
enum Fit {
    Fits,
    WrongSalt,
    No,
}

/// The running checksum of a log.
struct Sums {
    big_endian: bool,
    a: u32,
    b: u32,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let of = |at| if self.big_endian { word(pair, at) } else { word(pair, at).swap_bytes() };
            let (first, second) = (of(0), of(4));
            self.a = self.a.wrapping_add(first).wrapping_add(self.b);
            self.b = self.b.wrapping_add(second).wrapping_add(self.a);
        }
    }

    fn are(&self, stored: &[u8]) -> bool {
        self.a == word(stored, 0) && self.b == word(stored, 4)
    }
}

/// The big-endian number at `at`; the caller knows that it is there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log whose frames are `(page, size after commit)`.
    fn log(frames: &[(u32, u32)]) -> Vec<u8> {
        let mut log = Vec::new();
        for number in [MAGIC_LITTLE_ENDIAN_SUMS, VERSION, PAGE_SIZE, 0, 7, 8] {
            log.extend(number.to_be_bytes());
        }
        let mut sums = Sums { big_endian: false, a: 0, b: 0 };
        sums.add(&log);
        log.extend([sums.a.to_be_bytes(), sums.b.to_be_bytes()].concat());
        for (page, commit) in frames {
            let head = [page.to_be_bytes(), commit.to_be_bytes(), 7u32.to_be_bytes(), 8u32.to_be_bytes()].concat();
            let data = vec![*page as u8; PAGE_SIZE as usize];
            sums.add(&head[..8]);
            sums.add(&data);
            log.extend([head, sums.a.to_be_bytes().to_vec(), sums.b.to_be_bytes().to_vec(), data].concat());
        }
        log
    }

    fn verdict(log: &[u8]) -> &'static str {
        match judge(log).unwrap() {
            Verdict::Sound => "sound",
            Verdict::Torn => "torn",
            Verdict::Damaged(_) => "damaged",
        }
    }

    fn flipped(mut log: Vec<u8>, frame: usize, offset: usize) -> Vec<u8> {
        log[HEADER + (frame - 1) * FRAME + offset] ^= 1;
        log
    }

    #[test]
    fn a_log_is_judged_by_what_follows_the_break() {
        // The transactions are frames 1 and 2, frame 3, frames 4 and 5.
        let three = || log(&[(1, 0), (2, 2), (3, 3), (4, 0), (5, 5)]);
        assert_eq!(verdict(&[]), "sound");
        assert_eq!(verdict(&three()[..31]), "torn", "a piece of a header");
        assert_eq!(verdict(&three()[..HEADER]), "sound", "a header alone");
        assert_eq!(verdict(&[0; HEADER]), "torn", "a header that was never synced has no frames");
        assert_eq!(verdict(&[0; HEADER + FRAME]), "damaged", "no header before frames");
        assert_eq!(verdict(&three()), "sound");
        assert_eq!(verdict(&three()[..HEADER + 4 * FRAME]), "torn", "the last transaction lacks its commit");
        assert_eq!(verdict(&three()[..HEADER + 5 * FRAME - 1]), "torn", "half a frame");
        for (frame, offset, expected) in [
            (1, 2000, "damaged"),
            (2, 2000, "damaged"),
            (2, 9, "damaged"),
            (3, 2000, "damaged"),
            (3, 17, "damaged"),
            (4, 2000, "torn"),
            (5, 2000, "torn"),
            (5, 17, "torn"),
            (5, 9, "damaged"),
        ] {
            assert_eq!(verdict(&flipped(three(), frame, offset)), expected, "byte {offset} of frame {frame}");
        }
    }

    #[test]
    fn frames_of_an_older_generation_say_nothing() {
        let mut reused = log(&[(1, 1), (9, 2), (9, 3)]);
        for (frame, byte) in [(2, 8), (2, 2000), (3, 8)] {
            reused = flipped(reused, frame, byte);
        }
        assert_eq!(verdict(&reused), "sound");
    }
}
