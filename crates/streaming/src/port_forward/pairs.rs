//! Which two streams are one connection: both name the same request, one carries data, the other how it failed. Pure. Source of the
//! rules: upstream's `portforward/httpstream.go` (`httpStreamReceived`, `requestID`, `monitorStreamPair`).

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// How long a stream waits for the other: upstream's `DefaultStreamCreationTimeout`.
const PAIR_WITHIN: Duration = Duration::from_secs(30);

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    pub(super) request: String,
    pub(super) kind: Kind,
    pub(super) port: u16,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    /// Nothing, or one message.
    Error,
}

impl Purpose {
    /// As its headers say; none if they say nothing that makes sense. Clients that number no requests open the two streams of a
    /// connection one after the other, that of errors first.
    pub(super) fn of(stream: u32, headers: &HeaderMap) -> Option<Purpose> {
        let header =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let port = header("port")?.parse().ok().filter(|port| *port > 0)?;
        let kind = match header("streamtype")? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        let by_stream = || match kind {
            Kind::Error => stream.to_string(),
            Kind::Data => stream.wrapping_sub(2).to_string(),
        };
        let request = header("requestid").map_or_else(by_stream, str::to_owned);
        Some(Purpose { request, kind, port })
    }
}

/// Streams that wait for their other. There are at most as many as a connection has streams.
#[derive(Debug)]
pub(super) struct Pairs<S> {
    /// The oldest first.
    waiting: Vec<Half<S>>,
}

#[derive(Debug)]
struct Half<S> {
    purpose: Purpose,
    stream: S,
    until: Instant,
}

/// Two streams that are one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<S> {
    pub(super) port: u16,
    pub(super) data: S,
    pub(super) error: S,
}

impl<S> Default for Pairs<S> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<S> Pairs<S> {
    /// Whether a request has such a stream already: a second one makes no sense.
    pub(super) fn has(&self, purpose: &Purpose) -> bool {
        self.waiting.iter().any(|half| half.purpose.request == purpose.request && half.purpose.kind == purpose.kind)
    }

    /// One more stream; the pair if it was the one that another has waited for.
    pub(super) fn add(&mut self, purpose: Purpose, stream: S, now: Instant) -> Option<Pair<S>> {
        let other = self.waiting.iter().position(|half| half.purpose.request == purpose.request);
        let Some(other) = other else {
            self.waiting.push(Half { purpose, stream, until: now + PAIR_WITHIN });
            return None;
        };
        let other = self.waiting.remove(other);
        let (data, error) = match purpose.kind {
            Kind::Data => ((purpose, stream), other.stream),
            Kind::Error => ((other.purpose, other.stream), stream),
        };
        Some(Pair { port: data.0.port, data: data.1, error })
    }

    /// When the next stream will have waited too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.waiting.first().map(|half| half.until)
    }

    /// Those that have waited too long.
    pub(super) fn late(&mut self, now: Instant) -> Vec<(Purpose, S)> {
        let late = self.waiting.partition_point(|half| half.until <= now);
        self.waiting.drain(..late).map(|half| (half.purpose, half.stream)).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn headers_say_what_a_stream_is_for() {
        let check = |stream, pairs: &[(&'static str, &'static str)], expected: Option<(&str, Kind, u16)>| {
            let expected = expected.map(|(request, kind, port)| Purpose { request: request.into(), kind, port });
            assert_eq!(Purpose::of(stream, &headers(pairs)), expected, "{pairs:?}");
        };
        let (data, error, port) = (("streamtype", "data"), ("streamtype", "error"), ("port", "80"));
        check(5, &[data, port, ("requestid", "7")], Some(("7", Kind::Data, 80)));
        check(5, &[error, port, ("requestid", "7")], Some(("7", Kind::Error, 80)));
        check(1, &[error, port], Some(("1", Kind::Error, 80)));
        check(3, &[data, port, ("requestid", "")], Some(("1", Kind::Data, 80)));
        check(3, &[data], None);
        check(3, &[data, ("port", "0")], None);
        check(3, &[data, ("port", "65536")], None);
        check(3, &[data, ("port", "http")], None);
        check(3, &[port], None);
        check(3, &[port, ("streamtype", "stdin")], None);
    }

    #[test]
    fn two_streams_of_a_request_are_a_pair_in_any_order() {
        let now = Instant::now();
        let purpose = |request: &str, kind, port| Purpose { request: request.into(), kind, port };
        let mut pairs = Pairs::default();
        assert_eq!(pairs.add(purpose("0", Kind::Error, 80), "e0", now), None);
        assert_eq!(pairs.add(purpose("1", Kind::Data, 81), "d1", now), None);
        assert!(pairs.has(&purpose("0", Kind::Error, 80)) && !pairs.has(&purpose("0", Kind::Data, 80)));
        let pair = |port, data, error| Some(Pair { port, data, error });
        assert_eq!(pairs.add(purpose("1", Kind::Error, 81), "e1", now), pair(81, "d1", "e1"));
        assert_eq!(pairs.add(purpose("0", Kind::Data, 80), "d0", now), pair(80, "d0", "e0"));
        assert_eq!(pairs.until(), None);
    }

    #[test]
    fn a_stream_waits_for_half_a_minute() {
        let start = Instant::now();
        let purpose = |request: &str| Purpose { request: request.into(), kind: Kind::Data, port: 80 };
        let mut pairs = Pairs::default();
        pairs.add(purpose("0"), 0, start);
        pairs.add(purpose("1"), 1, start + Duration::from_secs(1));
        assert_eq!(pairs.until(), Some(start + PAIR_WITHIN));
        assert_eq!(pairs.late(start + Duration::from_secs(29)), []);
        assert_eq!(pairs.late(start + PAIR_WITHIN), [(purpose("0"), 0)]);
        assert_eq!(pairs.until(), Some(start + Duration::from_secs(31)));
    }
}
