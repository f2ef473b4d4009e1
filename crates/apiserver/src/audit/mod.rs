//! The audit log: which request was whose, what it asked for, and how it ended. What is told of a request is `remora_rules::audit`'s business;
//! here it is gathered on the request's way, and written.
//!
//! ```text
//!  request ─▶ Trail ──event──▶ Queue (bounded) ─▶ a thread of its own ─▶ Output: RotatingFile, StandardOutput
//!             │ fields fill up on the way            what does not fit is lost, counted and said
//!             └ its last holder drops it: ResponseComplete
//! ```
//!
//! **Invariant:** no request waits for the log.

mod file;
mod queue;
mod trail;

use std::io;
use std::sync::Arc;

pub use remora_rules::audit::Policy;

pub use file::{OpenError, RotatingFile, Rotation, StandardOutput};
pub use queue::{Counters, Output};
pub use trail::Trail;

use queue::Queue;

/// A policy, and where events go. Clones share both.
#[derive(Clone)]
pub struct Auditor {
    policy: Arc<Policy>,
    queue: Arc<Queue>,
}

impl Auditor {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(policy: Policy, output: impl Output) -> io::Result<Self> {
        Ok(Self { policy: Arc::new(policy), queue: Arc::new(Queue::start(output)?) })
    }

    /// Returns when everything that was told up to now has been tried to write. Give it a bound: a disk may hang.
    pub async fn flush(&self) {
        self.queue.flush().await;
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        self.queue.counters()
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no Policy; the message names field, line and column.
    #[error("not a Policy of audit.k8s.io/v1: {0}")]
    Malformed(#[source] serde_norway::Error),
    /// Fields that make no sense, each with its place.
    #[error("{0}")]
    Invalid(String),
}

/// Reads a policy, from YAML or JSON. Unlike kube-apiserver, which reads on as if they were not there, it refuses fields that it does not know: a
/// rule with a misspelt condition would match everything.
///
/// # Errors
/// If it is none.
pub fn read_policy(text: &str) -> Result<Policy, PolicyError> {
    let policy: Policy = serde_norway::from_str(text).map_err(PolicyError::Malformed)?;
    let problems: Vec<String> = policy.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(policy) } else { Err(PolicyError::Invalid(problems.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_the_manual_is_one() {
        let manual = include_str!("../../../../docs/audit.md");
        let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(read_policy(example).unwrap().rules.len(), 5);
    }

    #[test]
    fn a_policy_that_is_wrong_is_refused_with_its_place() {
        let check = |rules: &str, expected: &str| {
            let read = read_policy(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}"));
            let said = read.map(|_| String::new()).unwrap_or_else(|error| error.to_string());
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{rules}: {said}");
        };
        check("- level: Metadata\n  omitStages: [RequestReceived]\n", "");
        let wrong = "not a Policy of audit.k8s.io/v1: ";
        check("- level: All\n", &format!("{wrong}rules[0].level: unknown variant `All`, expected one of `None`"));
        check("- level: None\n- level: None\n  user: [a]\n", &format!("{wrong}rules[1]: unknown field `user`"));
        check("- users: [a]\n", &format!("{wrong}rules[0]: missing field `level`"));
        check("- level: None\n  nonResourceURLs: [x]\n", "rules[0].nonResourceURLs[0]: Invalid value: \"x\"");
        check(" []\n", "rules: Required value");
    }
}
