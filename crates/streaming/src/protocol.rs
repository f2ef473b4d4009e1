//! Kubernetes' remote command protocols. Over WebSocket a message's first byte is a channel, the rest is its data; over SPDY each
//! channel is a stream. Pure; [`session`](crate::session) and [`spdy`](crate::spdy) carry them. Source of the rules: k8s.io/apimachinery
//! `pkg/util/remotecommand` and KEP-4006.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;

use crate::TerminalSize;

/// Data to the process.
pub const STDIN: u8 = 0;
/// Data from the process, and all of a terminal's.
pub const STDOUT: u8 = 1;
/// Errors from the process.
pub const STDERR: u8 = 2;
/// How the session ended: one message.
pub const ERROR: u8 = 3;
/// New sizes of the client's terminal.
pub const RESIZE: u8 = 4;
/// v5: the data is the number of a channel that has come to its end.
pub const CLOSE: u8 = 255;

/// A size is `{"Width":80,"Height":24}`; what is much longer is none.
const LONGEST_SIZE: usize = 256;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `v5.channel.k8s.io`: as v4, and standard input can end before the session does, which over SPDY it always can.
    V5,
    /// `v4.channel.k8s.io`: the end is a `metav1.Status`.
    V4,
    /// `v3.channel.k8s.io`, over SPDY only: as v2, and a terminal has a size.
    V3,
    /// `v2.channel.k8s.io`, over SPDY only: as v1, without its faults on the client's side.
    V2,
    /// `channel.k8s.io`, or none named: the end is a text, and silence is success.
    V1,
}

/// What a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Data for standard input.
    Stdin(Bytes),
    /// Standard input has come to its end.
    StdinEnd,
    /// The client's terminal has a new size.
    Resize(TerminalSize),
    /// Nothing that this protocol has a meaning for. Upstream's servers pass over it, so clients rely on that.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    #[serde(alias = "width")]
    width: u16,
    #[serde(alias = "height")]
    height: u16,
}

impl Protocol {
    /// What a client's message means. Every message means something: see [`Received::Nothing`].
    pub fn decode(self, mut message: Bytes) -> Received {
        if message.is_empty() {
            return Received::Nothing;
        }
        let data = message.split_off(1);
        match (message[0], &data[..]) {
            (STDIN, []) => Received::Nothing,
            (STDIN, _) => Received::Stdin(data),
            (RESIZE, size) => decode_size(size).map_or(Received::Nothing, Received::Resize),
            (CLOSE, [STDIN]) if self == Self::V5 => Received::StdinEnd,
            _ => Received::Nothing,
        }
    }
}

/// A message of data on a channel.
pub fn encode(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.put_slice(data);
    message.freeze()
}

/// Sizes that come one after the other, as Go's JSON encoder writes them, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    rest: Vec<u8>,
}

impl Sizes {
    /// The newest size that is whole now. What is none makes all that follows meaningless: there will be no other.
    pub(crate) fn push(&mut self, data: &[u8]) -> Option<TerminalSize> {
        if self.rest.len() > LONGEST_SIZE {
            return None;
        }
        self.rest.extend_from_slice(data);
        let mut sizes = serde_json::Deserializer::from_slice(&self.rest).into_iter::<Size>();
        let newest = sizes.by_ref().map_while(Result::ok).last();
        self.rest.drain(..sizes.byte_offset());
        newest.map(|Size { width, height }| TerminalSize { width, height })
    }
}

fn decode_size(data: &[u8]) -> Option<TerminalSize> {
    let short = data.len() <= LONGEST_SIZE;
    let Size { width, height } = short.then(|| serde_json::from_slice(data).ok()).flatten()?;
    Some(TerminalSize { width, height })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_mean_what_their_protocol_says() {
        use Protocol::{V1, V4, V5};
        let check = |protocol: Protocol, message: &'static [u8], expected: Received| {
            assert_eq!(protocol.decode(Bytes::from_static(message)), expected, "{protocol:?} {message:?}");
        };
        let size = |width, height| Received::Resize(TerminalSize { width, height });
        for protocol in [V1, V4, V5] {
            check(protocol, b"", Received::Nothing);
            check(protocol, b"\0", Received::Nothing);
            check(protocol, b"\0ls\n", Received::Stdin(Bytes::from_static(b"ls\n")));
            check(protocol, b"\0\xff\0", Received::Stdin(Bytes::from_static(b"\xff\0")));
            check(protocol, b"\x01output from a client", Received::Nothing);
            check(protocol, b"\x04{\"Width\":80,\"Height\":24}", size(80, 24));
            check(protocol, b"\x04{\"Width\":80,\"Height\":24}\n", size(80, 24));
            check(protocol, b"\x04{\"width\":80,\"height\":24}", size(80, 24));
            check(protocol, b"\x04{\"Width\":70000,\"Height\":24}", Received::Nothing);
            check(protocol, b"\x04{\"Width\":-1,\"Height\":24}", Received::Nothing);
            check(protocol, b"\x04{\"Width\":80}", Received::Nothing);
            check(protocol, b"\x04", Received::Nothing);
            check(protocol, b"\x07?", Received::Nothing);
        }
        check(V5, b"\xff\0", Received::StdinEnd);
        check(V5, b"\xff\x01", Received::Nothing);
        check(V5, b"\xff", Received::Nothing);
        check(V5, b"\xff\0\0", Received::Nothing);
        check(V4, b"\xff\0", Received::Nothing);
        check(V1, b"\xff\0", Received::Nothing);
    }

    #[test]
    fn sizes_come_one_after_the_other_however_they_are_cut() {
        let text = "{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":30}\n{\"Width\":120,\"Height\":40}\n";
        for cut in 1..text.len() {
            let mut sizes = Sizes::default();
            let newest = text.as_bytes().chunks(cut).filter_map(|piece| sizes.push(piece)).last();
            assert_eq!(newest, Some(TerminalSize { width: 120, height: 40 }), "in pieces of {cut}");
        }
    }

    #[test]
    fn what_is_no_size_is_not_kept_without_end() {
        let mut sizes = Sizes::default();
        for _ in 0..1000 {
            assert_eq!(sizes.push(&[b'['; 100]), None);
            assert!(sizes.rest.len() < 2 * LONGEST_SIZE);
        }
    }

    proptest! {
        #[test]
        fn any_message_is_understood_or_passed_over(message: Vec<u8>) {
            for protocol in [Protocol::V1, Protocol::V4, Protocol::V5] {
                protocol.decode(message.clone().into());
            }
        }

        #[test]
        fn what_is_encoded_for_stdin_arrives_there(data in proptest::collection::vec(any::<u8>(), 1..1000)) {
            prop_assert_eq!(Protocol::V5.decode(encode(STDIN, &data)), Received::Stdin(data.into()));
        }

        #[test]
        fn sizes_arrive(width: u16, height: u16) {
            let text = format!(r#"{{"Width":{width},"Height":{height}}}"#);
            let expected = Received::Resize(TerminalSize { width, height });
            prop_assert_eq!(Protocol::V4.decode(encode(RESIZE, text.as_bytes())), expected);
        }
    }
}
