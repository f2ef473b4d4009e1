//! What etcd's refusals and a lost connection mean for the caller. Pure.

use remora_store::{Error, MAX_VALUE_BYTES, Revision};
use tonic::{Code, Status};

use crate::connection::is_lost;

/// What a refusal is about.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The revision is compacted; by what, etcd does not say here.
    Compacted,
    /// The revision has not happened.
    Future,
    /// Anything else.
    Other(Error),
}

/// `bytes` is the size of what was sent.
pub(crate) fn refusal(server: &str, status: &Status, bytes: usize) -> Refusal {
    let (message, server) = (status.message(), server.to_owned());
    if is_lost(status) {
        let detail = chain(status);
        return Refusal::Other(Error::Unavailable { server, detail });
    }
    match status.code() {
        Code::OutOfRange if message.contains("compacted") => Refusal::Compacted,
        Code::OutOfRange if message.contains("future revision") => Refusal::Future,
        Code::InvalidArgument if message.contains("too large") => {
            let what = "a request to etcd (bytes)";
            Refusal::Other(Error::TooLarge { what, size: bytes, limit: MAX_VALUE_BYTES })
        }
        // Larger by so much that gRPC refuses it before etcd looks at it.
        Code::ResourceExhausted if message.contains("larger than max") => {
            let what = "a request to etcd (bytes)";
            Refusal::Other(Error::TooLarge { what, size: bytes, limit: MAX_VALUE_BYTES })
        }
        // No leader, a leader that has changed, too many requests: they pass.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Unauthenticated => {
            Refusal::Other(Error::Unavailable { server, detail: message.to_owned() })
        }
        Code::ResourceExhausted if message.contains("too many requests") => {
            Refusal::Other(Error::Unavailable { server, detail: message.to_owned() })
        }
        code => Refusal::Other(Error::Refused { server, detail: message.to_owned(), hint: hint(code).to_owned() }),
    }
}

fn hint(code: Code) -> &'static str {
    match code {
        Code::ResourceExhausted => {
            "Compact and defragment etcd, or raise its --quota-backend-bytes, then `etcdctl alarm disarm`."
        }
        Code::PermissionDenied => "Grant the user a role with readwrite on the prefix.",
        _ => "See etcd's own log.",
    }
}

/// The error of a revision that has not happened.
pub(crate) fn future(requested: Revision, current: Revision) -> Error {
    Error::FutureRevision { requested, current }
}

/// An error and what is behind it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = vec![match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    }];
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        // Many wrap an error by repeating it.
        if words.last().is_none_or(|last| !last.ends_with(&text)) {
            words.push(text);
        }
        next = source.source();
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let check = |code: Code, message: &str, expected: &str| {
            let text = match refusal("etcd at a:1", &Status::new(code, message), 7) {
                Refusal::Compacted => "compacted".to_owned(),
                Refusal::Future => "future".to_owned(),
                Refusal::Other(error) => error.to_string(),
            };
            assert!(text.contains(expected), "{text} lacks {expected:?}");
        };
        check(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", "compacted");
        check(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", "future");
        check(Code::InvalidArgument, "etcdserver: request is too large", "of 7 exceeds");
        check(Code::Unavailable, "etcdserver: no leader", "etcd at a:1 is unavailable: etcdserver: no leader");
        check(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", "alarm disarm");
        check(Code::ResourceExhausted, "grpc: received message larger than max (3 vs. 2)", "of 7 exceeds");
        check(Code::ResourceExhausted, "etcdserver: too many requests", "is unavailable");
        check(Code::PermissionDenied, "etcdserver: permission denied", "Grant the user");
    }
}
