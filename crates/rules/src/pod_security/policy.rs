//! What a namespace's labels ask: a level and a version for each of enforcing, auditing and warning.

use std::fmt;

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do; the later the stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// No known way to more rights than it was given.
    Baseline,
    /// As hardened as pods can be.
    Restricted,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// A level as it was in a version of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The level.
    pub level: Level,
    /// `N` of `v1.N`; none is the newest.
    pub version: Option<u32>,
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            None => write!(out, "{}:latest", self.level.word()),
            Some(minor) => write!(out, "{}:v1.{minor}", self.level.word()),
        }
    }
}

/// What is asked of the pods of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: Rule,
    /// Pods that violate it are noted in the audit log.
    pub audit: Rule,
    /// Pods that violate it are warned of.
    pub warn: Rule,
}

impl Policy {
    /// Of a namespace's labels, and what is wrong with them: a wrong level is enforced as the strictest, and else counts for nothing.
    pub fn of(labels: &Value) -> (Self, FieldErrors) {
        let mut reader = Reader { labels, wrong: FieldErrors::new() };
        let (enforce_level, enforce_version) = (reader.level("enforce"), reader.version("enforce"));
        let (audit_level, audit_version) = (reader.level("audit"), reader.version("audit"));
        let (warn_level, warn_version) = (reader.level("warn"), reader.version("warn"));
        let rule = |level: &Given<Level>, version: &Given<Option<u32>>, if_wrong| Rule {
            level: level.value.unwrap_or(if level.is_wrong { if_wrong } else { Level::Privileged }),
            version: version.value.flatten(),
        };
        let mut policy = Self {
            enforce: rule(&enforce_level, &enforce_version, Level::Restricted),
            audit: rule(&audit_level, &audit_version, Level::Privileged),
            warn: rule(&warn_level, &warn_version, Level::Privileged),
        };
        // Whoever is refused is also warned, where the two differ: of workloads, whose pods are refused later.
        let is_warn_given = warn_level.value.is_some() || warn_level.is_wrong;
        if !is_warn_given && enforce_level.value.is_some() && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if warn_version.value.is_none() && !warn_version.is_wrong {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, reader.wrong)
    }
}

struct Given<T> {
    value: Option<T>,
    is_wrong: bool,
}

struct Reader<'l> {
    labels: &'l Value,
    wrong: FieldErrors,
}

impl Reader<'_> {
    fn level(&mut self, mode: &str) -> Given<Level> {
        let levels = [Level::Privileged, Level::Baseline, Level::Restricted];
        let read = |word: &str| levels.into_iter().find(|level| level.word() == word);
        self.read(mode, read, "must be one of privileged, baseline, restricted")
    }

    fn version(&mut self, mode: &str) -> Given<Option<u32>> {
        self.read(&format!("{mode}-version"), read_version, "must be \"latest\" or \"v1.x\"")
    }

    fn read<T>(&mut self, label: &str, read: impl Fn(&str) -> Option<T>, why: &str) -> Given<T> {
        let label = format!("{PREFIX}{label}");
        let Some(word) = self.labels.get(&label).and_then(Value::as_str) else {
            return Given { value: None, is_wrong: false };
        };
        let value = read(word);
        if value.is_none() {
            let labels = Path::new("metadata");
            self.wrong.push(FieldError::invalid(&labels.child("labels").key(&label), word, why));
        }
        Given { is_wrong: value.is_none(), value }
    }
}

fn read_version(word: &str) -> Option<Option<u32>> {
    if word == "latest" {
        return Some(None);
    }
    let minor = word.strip_prefix("v1.")?;
    let is_plain = minor.bytes().all(|b| b.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    minor.parse().ok().filter(|_| is_plain).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(labels: Value, expected: [&str; 3], wrong: usize) {
        let labels: serde_json::Map<String, Value> =
            labels.as_object().unwrap().iter().map(|(name, v)| (format!("{PREFIX}{name}"), v.clone())).collect();
        let (policy, errors) = Policy::of(&labels.into());
        assert_eq!([policy.enforce, policy.audit, policy.warn].map(|rule| rule.to_string()), expected);
        assert_eq!(errors.len(), wrong);
    }

    #[test]
    fn labels_are_read() {
        check(json!({}), ["privileged:latest"; 3], 0);
        check(json!({"enforce": "baseline"}), ["baseline:latest", "privileged:latest", "baseline:latest"], 0);
        check(
            json!({"enforce": "restricted", "enforce-version": "v1.24", "warn-version": "v1.30"}),
            ["restricted:v1.24", "privileged:latest", "restricted:v1.30"],
            0,
        );
        check(
            json!({"enforce": "restricted", "warn": "privileged", "audit": "baseline", "audit-version": "latest"}),
            ["restricted:latest", "baseline:latest", "privileged:latest"],
            0,
        );
        check(
            json!({"enforce": "x", "audit": "x", "warn": "x", "enforce-version": "v1.x"}),
            ["restricted:latest", "privileged:latest", "privileged:latest"],
            4,
        );
    }

    #[test]
    fn versions_are_read() {
        for (word, expected) in [("latest", Some(None)), ("v1.0", Some(Some(0))), ("v1.34", Some(Some(34)))] {
            assert_eq!(read_version(word), expected);
        }
        for word in ["", "v1", "v1.", "v1.01", "v2.1", "1.2", "v1.-1", "v1.+1", "Latest"] {
            assert_eq!(read_version(word), None, "{word}");
        }
    }
}
