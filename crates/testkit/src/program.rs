//! What a fake container does when it is started.

use std::time::Duration;

/// A container's behaviour, chosen by its name in the pod.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// How starting ends.
    pub start: Start,
    /// Ends by itself after this time, with this code.
    pub ends: Option<(Duration, i32)>,
    /// The exit code after a stop signal; none ignores the signal, so that the kill must come (137).
    pub on_stop: Option<i32>,
    /// Lines on standard output, written when it starts.
    pub prints: Vec<String>,
    /// What it leaves at its termination message path, written when it starts.
    pub last_words: Option<String>,
    /// How long creating takes.
    pub create_takes: Duration,
}

/// How a start ends.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// It runs.
    #[default]
    Runs,
    /// The runtime refuses with these words; the container has ended with 128.
    Fails(String),
}

impl Program {
    /// Runs until it is stopped, and obeys the signal.
    pub fn runs() -> Self {
        Self { on_stop: Some(0), ..Self::default() }
    }

    /// Ends by itself.
    pub fn exits(after: Duration, code: i32) -> Self {
        Self { ends: Some((after, code)), ..Self::runs() }
    }

    /// Runs until it is killed.
    pub fn ignores_signals() -> Self {
        Self::default()
    }

    /// Cannot be started.
    pub fn cannot_start(why: &str) -> Self {
        Self { start: Start::Fails(why.to_owned()), ..Self::default() }
    }
}
