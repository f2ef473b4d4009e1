//! What goes wrong in a command, as people read it: a kind, a sentence, a hint.

use std::fmt::Display;
use std::process::ExitCode;

use remora_debug::{Cause, Refused, Refuser, SessionError};

/// What kind of failure; each has an exit status of its own where scripts want to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line makes no sense: 2.
    Usage,
    /// It did not work: 1.
    Failed,
    /// No node runs on this machine, or no cluster answers: 3.
    Unreachable,
    /// Admission, a policy or a quota refused: 240. What a tool of a debug session ends with stays below these.
    Refused,
    /// The user may not do this: 241.
    NoRight,
    /// An image cannot be pulled: 242.
    Image,
    /// The node cannot create or start the container: 243.
    CannotStart,
    /// The node is not ready, or the pod has none: 244.
    NodeNotReady,
    /// The pod has ended or is gone: 245.
    PodEnded,
    /// It took longer than allowed: 246.
    TimedOut,
    /// The connection is lost and could not be made again: 247.
    Lost,
}

/// A failed command. Printed once, by the binary.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What kind.
    pub kind: Kind,
    /// One sentence: the place and what is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CommandError {
    /// A failure.
    pub fn failed(message: impl Display) -> Self {
        CommandError { kind: Kind::Failed, message: message.to_string(), hint: None }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Display) -> Self {
        CommandError { kind: Kind::Usage, ..CommandError::failed(message) }
    }

    /// Nobody answers.
    pub fn unreachable(message: impl Display) -> Self {
        CommandError { kind: Kind::Unreachable, ..CommandError::failed(message) }
    }

    /// A failure of this kind.
    pub fn of(kind: Kind, message: impl Display) -> Self {
        CommandError { kind, ..CommandError::failed(message) }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(self, hint: impl Display) -> Self {
        CommandError { hint: Some(hint.to_string()), ..self }
    }

    /// `context: cause: its cause`.
    pub fn caused(context: impl Display, cause: &(dyn std::error::Error + 'static)) -> Self {
        CommandError::failed(format!("{context}: {}", chain(cause)))
    }

    /// The process's exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

impl Kind {
    /// The exit status of failures of this kind.
    pub fn code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            Kind::Refused => 240,
            Kind::NoRight => 241,
            Kind::Image => 242,
            Kind::CannotStart => 243,
            Kind::NodeNotReady => 244,
            Kind::PodEnded => 245,
            Kind::TimedOut => 246,
            Kind::Lost => 247,
        }
    }
}

/// An error and its causes in one line, without saying twice what a cause repeats.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = source.source();
    }
    text
}

impl From<kube::Error> for CommandError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.reason.is_empty() => CommandError::failed(status.message),
            kube::Error::Api(status) => {
                CommandError::failed(format!("Error from server ({}): {}", status.reason, status.message))
            }
            kube::Error::HyperError(_) | kube::Error::Service(_) => {
                CommandError::unreachable(format!("the API server does not answer: {}", chain(&error)))
                    .hint("is the node running? `remora status` tells; `sudo remora up` starts one")
            }
            other => CommandError::failed(chain(&other)),
        }
    }
}

impl From<SessionError> for CommandError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Api(kube::Error::Api(status)) => {
                let kind = kind(&status);
                CommandError { kind, ..kube::Error::Api(status).into() }
            }
            SessionError::Api(error) => error.into(),
            SessionError::Refused(refused) => none_admitted(&refused),
            SessionError::Failed(failure) => {
                let error = CommandError::of(kind_of(failure.cause), &failure.message);
                CommandError { hint: failure.remedy.map(str::to_owned), ..error }
            }
        }
    }
}

fn kind_of(cause: Cause) -> Kind {
    match cause {
        Cause::Image => Kind::Image,
        Cause::CannotStart => Kind::CannotStart,
        Cause::NodeNotReady => Kind::NodeNotReady,
        Cause::PodEnded => Kind::PodEnded,
        Cause::TimedOut => Kind::TimedOut,
        Cause::Lost => Kind::Lost,
    }
}

/// In a session, who refused decides the exit status.
fn kind(status: &kube::core::Status) -> Kind {
    match remora_debug::refusal(status, "", "").by {
        Refuser::PodSecurity(_) | Refuser::Policy(_) | Refuser::Quota => Kind::Refused,
        Refuser::Rights => Kind::NoRight,
        Refuser::Other => Kind::Failed,
    }
}

/// Every rung was refused: the last one is the one that should have passed.
fn none_admitted(refused: &[Refused]) -> CommandError {
    let lines: Vec<String> = refused.iter().map(|r| format!("  {}: {}", r.name, r.refusal)).collect();
    let error = CommandError::of(
        Kind::Refused,
        format!("the cluster admits no debug container to this pod\n{}", lines.join("\n")),
    );
    match refused.last() {
        Some(last) if !last.refusal.remedy.is_empty() => error.hint(&last.refusal.remedy),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = std::io::Error::other("disk full");
        let outer = std::io::Error::other(CommandError::caused("writing a", &inner));
        assert_eq!(CommandError::caused("saving", &outer).message, "saving: writing a: disk full");
    }
}
