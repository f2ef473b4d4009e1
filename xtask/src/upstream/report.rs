//! What came of a run of upstream's suite, from the report that its runner writes as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::Deserialize;

/// How long a reason may be in the list; the suite's output has all of it.
const LONGEST_REASON: usize = 300;

/// A runner's report of one program of tests.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
    Skipped,
}

/// How many of a group did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// What came of all that was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    groups: BTreeMap<String, Counts>,
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
}

impl Outcome {
    /// By the report.
    pub(crate) fn of(json: &[u8]) -> Result<Self> {
        let suites: Vec<Suite> = serde_json::from_slice(json)?;
        let mut outcome = Self::default();
        for spec in suites.into_iter().flat_map(|suite| suite.spec_reports.unwrap_or_default()) {
            outcome.add(&spec);
        }
        Ok(outcome)
    }

    fn add(&mut self, spec: &Spec) {
        let Some(state) = spec.ended() else { return };
        let counts = self.groups.entry(spec.group()).or_default();
        let told = || (spec.name(), reason(&spec.failure.message));
        match state {
            State::Passed => counts.passed += 1,
            State::Failed => {
                counts.failed += 1;
                self.failed.push(told());
            }
            State::Skipped => {
                counts.skipped += 1;
                self.skipped.push(told());
            }
        }
    }

    fn total(&self) -> Counts {
        self.groups.values().fold(Counts::default(), |sum, counts| Counts {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
            skipped: sum.skipped + counts.skipped,
        })
    }

    /// Whether something passed, and nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        let total = self.total();
        total.failed == 0 && total.passed > 0
    }

    /// For people: what failed and why, what was skipped and why, the groups, the sum.
    pub(crate) fn lines(&self) -> Vec<String> {
        let told = |word: &'static str, all: &[(String, String)]| -> Vec<String> {
            all.iter().map(|(name, why)| format!("{word} {name}\n        {why}")).collect()
        };
        let mut lines = told("SKIPPED", &self.skipped);
        lines.extend(told("FAILED ", &self.failed));
        let widest = self.groups.keys().map(String::len).max().unwrap_or_default();
        let row = |name: &str, counts: [String; 3]| {
            let mut row = format!("{name:widest$}");
            for count in counts {
                // Writing to a string does not fail.
                let _written = write!(row, " {count:>7}");
            }
            row
        };
        lines.push(row("", ["passed", "failed", "skipped"].map(str::to_owned)));
        for (name, counts) in &self.groups {
            lines.push(row(name, [counts.passed, counts.failed, counts.skipped].map(|count| count.to_string())));
        }
        let Counts { passed, failed, skipped } = self.total();
        lines.push(format!("{passed} passed, {failed} failed, {skipped} skipped"));
        lines
    }
}

impl Spec {
    /// None of what was not asked for, and of preparations that went well.
    fn ended(&self) -> Option<State> {
        let is_spec = self.leaf_node_type == "It";
        match self.state.as_str() {
            "passed" if is_spec => Some(State::Passed),
            "passed" | "pending" => None,
            // One that is not in the focus has no reason.
            "skipped" => (is_spec && !self.failure.message.is_empty()).then_some(State::Skipped),
            // Failed, panicked, interrupted, aborted, timed out.
            _ => Some(State::Failed),
        }
    }

    fn group(&self) -> String {
        let first = self.container_hierarchy_texts.iter().flatten().next();
        first.cloned().unwrap_or_else(|| self.leaf_node_type.clone())
    }

    fn name(&self) -> String {
        let texts = self.container_hierarchy_texts.iter().flatten().map(String::as_str);
        let words: Vec<&str> = texts.chain([self.leaf_node_text.as_str()]).filter(|text| !text.is_empty()).collect();
        if words.is_empty() { self.leaf_node_type.clone() } else { words.join(" ") }
    }
}

/// On one line.
fn reason(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(group: &str, leaf: &str, state: &str, message: &str) -> Value {
        json!({
            "ContainerHierarchyTexts": [group, "inner"], "LeafNodeType": "It", "LeafNodeText": leaf, "State": state,
            "Failure": {"Message": message},
        })
    }

    fn outcome(specs: &[Value]) -> Outcome {
        Outcome::of(json!([{"SpecReports": specs}]).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn groups_are_counted_and_what_failed_is_told() {
        let before = json!({"ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"});
        let made = outcome(&[
            before,
            spec("[sig-node] Pods", "one", "passed", ""),
            spec("[sig-node] Pods", "two", "failed", "expected\n  this"),
            spec("[sig-node] Pods", "not asked for", "skipped", ""),
            spec("[sig-apps] Job", "three", "skipped", "no jobs here"),
            spec("[sig-apps] Job", "four", "timedout", "too late"),
        ]);
        assert!(!made.is_good());
        assert_eq!(
            made.lines(),
            [
                "SKIPPED [sig-apps] Job inner three\n        no jobs here",
                "FAILED  [sig-node] Pods inner two\n        expected this",
                "FAILED  [sig-apps] Job inner four\n        too late",
                "                 passed  failed skipped",
                "[sig-apps] Job        0       1       1",
                "[sig-node] Pods       1       1       0",
                "1 passed, 2 failed, 1 skipped",
            ]
        );
    }

    #[test]
    fn a_suite_that_could_not_begin_has_failed() {
        let before = json!({"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "failed", "Failure": {"Message": "no nodes"}});
        let made = outcome(&[before]);
        assert_eq!(made.failed, [("SynchronizedBeforeSuite".to_owned(), "no nodes".to_owned())]);
        assert!(!made.is_good());
        assert!(!outcome(&[]).is_good(), "nothing was found");
        assert!(outcome(&[spec("a", "b", "passed", "")]).is_good());
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason(" a\n\tb "), "a b");
        assert_eq!(reason(&"ä".repeat(400)).chars().count(), LONGEST_REASON + 1);
    }
}
