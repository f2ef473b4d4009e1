//! Packets out of a pod's network: which program takes them, and how its output is cut so that a file that is ended at any moment is whole. Pure.

use crate::files::words;

/// What is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureRequest {
    /// The interface; `any` is all of them.
    pub interface: String,
    /// So many packets, then it ends.
    pub count: Option<u64>,
    /// So much of each packet, in bytes.
    pub snapshot: Option<u32>,
    /// In the words of pcap-filter(7).
    pub filter: Vec<String>,
}

/// `tcpdump` as the process itself, with somebody beside it who ends it when the input ends: with ours, or with the connection. It is asked to
/// (TERM), and so it says what it has seen and missed. What is beside it must hold none of its outputs, or they would not end with it.
const CAPTURE: &str = r#"
command -v tcpdump >/dev/null || { echo "the image has no tcpdump" >&2; exit 127; }
exec 3<&0
(cat <&3; kill -TERM $$) >/dev/null 2>&1 &
exec tcpdump "$@" 3<&- </dev/null"#;

impl CaptureRequest {
    /// Writes the packets to standard output, each as soon as it is there, in pcap's format, until its input ends.
    pub fn command(&self) -> Vec<String> {
        let mut words = words(&["sh", "-c", CAPTURE, "sh", "-U", "-w", "-", "-n", "-i", &self.interface]);
        let mut option = |flag: &str, number: Option<u64>| {
            words.extend(number.into_iter().flat_map(|number| [flag.to_owned(), number.to_string()]));
        };
        option("-c", self.count);
        option("-s", self.snapshot.map(u64::from));
        words.push("--".to_owned());
        words.extend(self.filter.iter().cloned());
        words
    }
}

/// The file's header.
const FILE_HEADER: usize = 24;
/// Before each packet.
const PACKET_HEADER: usize = 16;
/// libpcap's own bound (`MAXIMUM_SNAPLEN`); what claims to be larger is no packet.
const MAX_PACKET: usize = 262_144;

/// Bytes that are no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the container sends is no capture in pcap's format")]
pub struct NotPcap;

/// Cuts a stream in pcap's format into whole packets.
#[derive(Debug, Default)]
pub struct Packets {
    /// The beginning of what is not whole yet.
    rest: Vec<u8>,
    order: Option<Order>,
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Packets {
    /// Takes bytes as they come and gives what has become whole with them: the file's header at first, then packets. At most `limit` bytes;
    /// where that is less than there is, the capture is to end.
    ///
    /// # Errors
    /// [`NotPcap`]; what was given before is whole.
    pub fn whole(&mut self, bytes: &[u8], limit: u64) -> Result<Whole, NotPcap> {
        self.rest.extend_from_slice(bytes);
        let mut end = 0;
        let mut is_full = false;
        while let Some(length) = self.next(end)? {
            if (end + length) as u64 > limit {
                is_full = true;
                break;
            }
            self.count += u64::from(self.order.is_some());
            self.order = self.order.or(order(&self.rest));
            end += length;
        }
        Ok(Whole { bytes: self.rest.drain(..end).collect(), is_full })
    }

    /// How many packets were given.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The length of the next piece, if it is there.
    fn next(&self, at: usize) -> Result<Option<usize>, NotPcap> {
        let rest = &self.rest[at..];
        let length = match self.order {
            None if rest.len() >= 4 && order(rest).is_none() => return Err(NotPcap),
            None => FILE_HEADER,
            Some(order) => match rest.get(8..12) {
                Some(field) => PACKET_HEADER + length(field, order)?,
                None => return Ok(None),
            },
        };
        Ok((rest.len() >= length).then_some(length))
    }
}

/// What has become whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// To be written.
    pub bytes: Vec<u8>,
    /// There was more than the limit allows.
    pub is_full: bool,
}

/// By the magic number, with times in micro- or nanoseconds.
fn order(file: &[u8]) -> Option<Order> {
    match file.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => Some(Order::Little),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => Some(Order::Big),
        _ => None,
    }
}

fn length(field: &[u8], order: Order) -> Result<usize, NotPcap> {
    let field = <[u8; 4]>::try_from(field).map_err(|_| NotPcap)?;
    let length = match order {
        Order::Little => u32::from_le_bytes(field),
        Order::Big => u32::from_be_bytes(field),
    };
    usize::try_from(length).ok().filter(|length| *length <= MAX_PACKET).ok_or(NotPcap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(sizes: &[u32]) -> Vec<u8> {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1];
        file.resize(FILE_HEADER, 0);
        for size in sizes {
            file.extend([0; 8]);
            file.extend(size.to_le_bytes());
            file.extend(size.to_le_bytes());
            file.resize(file.len() + *size as usize, 7);
        }
        file
    }

    #[test]
    fn whatever_the_pieces_only_whole_packets_are_given() {
        let file = capture(&[60, 0, 1500]);
        for piece in [1, 7, 24, 100, 5000] {
            let (mut packets, mut given) = (Packets::default(), Vec::new());
            for bytes in file.chunks(piece) {
                given.extend(packets.whole(bytes, u64::MAX).unwrap().bytes);
                assert!([0, 24, 100, 116, file.len()].contains(&given.len()), "{} by {piece}", given.len());
            }
            assert_eq!((given, packets.count()), (file.clone(), 3), "{piece}");
        }
        let mut cut = Packets::default();
        assert_eq!(cut.whole(&file[..file.len() - 1], u64::MAX).unwrap().bytes, &file[..116]);
    }

    #[test]
    fn the_limit_is_never_passed() {
        let mut packets = Packets::default();
        let whole = packets.whole(&capture(&[60, 60]), 150).unwrap();
        assert_eq!((whole.bytes.len(), whole.is_full, packets.count()), (100, true, 1));
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert_eq!(Packets::default().whole(b"<html>", u64::MAX), Err(NotPcap));
        let mut huge = capture(&[]);
        huge.extend([0; 8]);
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(Packets::default().whole(&huge, u64::MAX), Err(NotPcap));
        let mut big = vec![0xa1, 0xb2, 0xc3, 0xd4];
        big.resize(FILE_HEADER, 0);
        big.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9]);
        assert_eq!(Packets::default().whole(&big, u64::MAX).unwrap().bytes, big);
    }

    #[test]
    fn tcpdump_is_told_what_was_asked_for() {
        let request = CaptureRequest {
            interface: "eth0".to_owned(),
            count: Some(3),
            snapshot: Some(96),
            filter: vec!["tcp port 80".to_owned(), "-w".to_owned()],
        };
        let words = request.command();
        let expected = ["-U", "-w", "-", "-n", "-i", "eth0", "-c", "3", "-s", "96", "--", "tcp port 80", "-w"];
        assert_eq!(words[4..], expected);
    }

    /// The script is played by this machine's shell, with a program in the place of tcpdump.
    #[test]
    fn the_end_of_its_input_ends_it() {
        let folder = std::env::temp_dir().join(format!("remora-capture-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("tcpdump");
        let script = "#!/bin/sh\ntrap 'echo told; exit 0' TERM\necho began\nwhile :; do sleep 0.05; done\n";
        std::fs::write(&program, script).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let words = CaptureRequest::default().command();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut shell = std::process::Command::new(&words[0]);
        shell.args(&words[1..]).env("PATH", path).stdin(std::process::Stdio::null());
        let ended = shell.output().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        // It may be told before it has begun to listen: then the signal ends it, too.
        let told = String::from_utf8(ended.stdout).unwrap();
        assert!(told.ends_with("told\n") || ended.status.code().is_none(), "{told:?} {:?}", ended.status);
    }
}
