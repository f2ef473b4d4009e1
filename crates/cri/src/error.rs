//! What a CRI call can fail with: a gRPC code and a sentence.

use std::fmt;

/// The codes that CRI runtimes answer with, a subset of gRPC's
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 3: the request itself is wrong.
    InvalidArgument,
    /// 4: it took longer than the request allows (ExecSync).
    DeadlineExceeded,
    /// 5: no such sandbox, container or image.
    NotFound,
    /// 6: the name is taken.
    AlreadyExists,
    /// 8: disk full, no addresses left.
    ResourceExhausted,
    /// 9: the sandbox or container is not in the state that the call needs.
    FailedPrecondition,
    /// 12: not offered by this runtime.
    Unimplemented,
    /// 13 and all else.
    Internal,
    /// 14: the runtime cannot be reached; the call may be repeated.
    Unavailable,
}

/// A failed CRI call. The message is shown to users in container statuses and events, so it is a whole sentence's worth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// gRPC's code.
    pub code: Code,
    /// What failed, with the name of the place.
    pub message: String,
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    /// `NotFound`, worded as CRI runtimes do.
    pub fn not_found(what: &str, id: &str) -> Self {
        Error::new(Code::NotFound, format!("{what} \"{id}\" not found"))
    }

    /// `Internal`: `context: cause: cause of the cause`.
    pub fn internal(context: impl fmt::Display, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = format!("{context}: {cause}");
        let mut next = cause.source();
        while let Some(source) = next {
            message.push_str(&format!(": {source}"));
            next = source.source();
        }
        Error::new(Code::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
