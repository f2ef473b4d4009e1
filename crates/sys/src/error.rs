//! The one error of this crate: what was tried, on what, and the kernel's answer.

use std::fmt::Display;
use std::io;

/// A system call's failure. `Display` names the call's purpose and its object; the kernel's words are the source.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}")]
pub struct Error {
    /// What was tried: "mount overlay on".
    pub action: &'static str,
    /// On what: a path, a pid, a name.
    pub object: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// What calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The kernel's error number, for those who tell cases apart.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kind of the kernel's answer.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Makes the closure for `map_err`: `.map_err(failed("open", path.display()))`.
pub(crate) fn failed<E: Into<io::Error>>(action: &'static str, object: impl Display) -> impl FnOnce(E) -> Error {
    move |source| Error { action, object: object.to_string(), source: source.into() }
}
