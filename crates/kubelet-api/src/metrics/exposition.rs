//! Prometheus' text format (0.0.4), written line by line: samples carry the time at which they were read, which `prometheus-client` cannot write and
//! metrics-server counts on.

use std::collections::HashSet;
use std::fmt::{Display, Write};

use http::{Response, StatusCode};
use jiff::Timestamp;
use remora_http::{Body, body};

use crate::answer;

/// What kind of number a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
}

/// A text that is being written.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    /// Families that have their head.
    begun: HashSet<&'static str>,
}

impl Exposition {
    /// What is written, as an answer.
    pub(crate) fn answer(text: String) -> Response<Body> {
        answer::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body::full(text))
    }

    /// Begins a family. The format wants all samples of one together.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        if self.begun.insert(name) {
            let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
            self.line(format_args!("# HELP {name} {}", escaped(help, false)));
            self.line(format_args!("# TYPE {name} {kind}"));
        }
    }

    /// A sample of the family that was begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display, at: Option<Timestamp>) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value, true))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let at = at.map(|at| format!(" {}", at.as_millisecond())).unwrap_or_default();
        self.line(format_args!("{name}{labels} {value}{at}"));
    }

    /// All of it.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.text, "{line}");
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// A time as seconds since the Unix epoch.
pub(super) fn epoch(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_label_holds_stays_in_it() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "one\ntwo");
        let at = Timestamp::from_millisecond(1_500).unwrap();
        text.sample("a_total", &[("x", "\"} b 1\n\\"), ("y", "")], 1.5, Some(at));
        text.family("a_total", Kind::Counter, "again");
        text.sample("a_total", &[], 2, None);
        let expected = "# HELP a_total one\\ntwo\n# TYPE a_total counter\n\
                        a_total{x=\"\\\"} b 1\\n\\\\\",y=\"\"} 1.5 1500\na_total 2\n";
        assert_eq!(text.finish(), expected);
    }
}
