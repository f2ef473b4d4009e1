//! The parameters of `pods/NAME/log`, `exec` and `attach` (upstream: `ValidatePodLogOptions`, `pkg/apis/core/types.go`).

use jiff::{SignedDuration, Timestamp};
use remora_model::field::FieldErrors;
use remora_model::status::Qualified;
use remora_model::{FieldError, Path, Status};
use serde_json::Value;

use super::containers;

/// What a log request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Which container; empty for the only one.
    pub container: String,
    /// Stay and send what comes.
    pub follow: bool,
    /// The log of the instance before this one.
    pub previous: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// Only what is younger, in seconds.
    pub since_seconds: Option<i64>,
    /// Only what is younger than this time.
    pub since_time: Option<Timestamp>,
    /// Only so many lines from the end.
    pub tail_lines: Option<i64>,
    /// Only so many bytes.
    pub limit_bytes: Option<i64>,
    /// Which of the container's outputs: behind a gate that is off in v1.34, so refused.
    pub stream: Option<String>,
}

impl LogOptions {
    /// Reads the decoded query parameters of a log request.
    ///
    /// # Errors
    /// 400 for a number or time that is none, 422 for one that may not be.
    pub fn from_query<'q>(pod_name: &str, query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, Status> {
        let mut options = Self::default();
        for (name, value) in query {
            match name {
                "container" => options.container = value.to_owned(),
                "follow" => options.follow = boolean(value),
                "previous" => options.previous = boolean(value),
                "timestamps" => options.timestamps = boolean(value),
                "sinceSeconds" => options.since_seconds = Some(number(value)?),
                "sinceTime" => options.since_time = Some(time(value)?),
                "tailLines" => options.tail_lines = Some(number(value)?),
                "limitBytes" => options.limit_bytes = Some(number(value)?),
                "stream" => options.stream = Some(value.to_owned()),
                _ => {}
            }
        }
        let errors = options.validate();
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(Status::invalid(Qualified::core("PodLogOptions"), pod_name, &errors))
        }
    }

    /// From when on lines are wanted, at a time: nanoseconds since the Unix epoch.
    pub fn since(&self, now: Timestamp) -> Option<i64> {
        let ago = |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds)).ok();
        let since = self.since_time.or_else(|| self.since_seconds.and_then(ago));
        since.and_then(|at| i64::try_from(at.as_nanosecond()).ok())
    }

    fn validate(&self) -> FieldErrors {
        let mut errors = FieldErrors::new();
        if let Some(lines) = self.tail_lines.filter(|n| *n < 0) {
            errors.push(FieldError::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
        }
        if let Some(bytes) = self.limit_bytes.filter(|n| *n < 1) {
            errors.push(FieldError::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
        }
        if self.since_seconds.is_some() && self.since_time.is_some() {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(&Path::ROOT, detail));
        } else if let Some(seconds) = self.since_seconds.filter(|n| *n < 1) {
            errors.push(FieldError::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
        }
        if self.stream.is_some() {
            errors.push(FieldError::forbidden(&Path::new("stream"), "may not be specified"));
        }
        errors
    }
}

/// What an exec or attach request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Which container; empty for the only one.
    pub container: String,
    /// The command and its arguments; of an attach, none.
    pub command: Vec<String>,
    /// Streams to be joined.
    pub stdin: bool,
    /// See `stdin`.
    pub stdout: bool,
    /// See `stdin`.
    pub stderr: bool,
    /// Whether to make a terminal.
    pub tty: bool,
}

impl StreamOptions {
    /// Reads the decoded query parameters of an exec or attach request.
    pub fn from_query<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Self {
        let mut options = Self::default();
        for (name, value) in query {
            match name {
                "container" => options.container = value.to_owned(),
                "command" => options.command.push(value.to_owned()),
                "stdin" => options.stdin = boolean(value),
                "stdout" => options.stdout = boolean(value),
                "stderr" => options.stderr = boolean(value),
                "tty" => options.tty = boolean(value),
                _ => {}
            }
        }
        options
    }

    /// The container meant, and whether the node can be asked: the checks of an exec or attach before the upgrade.
    ///
    /// # Errors
    /// 400 if no such container is there or none is chosen, or the pod has no node.
    pub fn container_of(&self, pod: &Value) -> Result<String, Status> {
        let container = containers::choose(pod, &self.container)?;
        containers::node_of(pod)?;
        Ok(container)
    }

    /// Whether any stream is asked for; without one there is nothing to join (400, as the streaming server says).
    ///
    /// # Errors
    /// 400 if there is none.
    pub fn check_streams(&self) -> Result<(), Status> {
        if self.stdin || self.stdout || self.stderr {
            return Ok(());
        }
        Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
    }
}

/// As Go converts query parameters: everything but these words is true.
fn boolean(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

fn number(value: &str) -> Result<i64, Status> {
    let quoted = remora_model::text::quoted(value);
    value.parse().map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {quoted}: invalid syntax")))
}

fn time(value: &str) -> Result<Timestamp, Status> {
    let quoted = remora_model::text::quoted(value);
    crate::time::parse(value).ok_or_else(|| Status::bad_request(format!("parsing time {quoted}: not RFC 3339")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &[(&str, &str)], expected: Result<LogOptions, (u16, &str)>) {
        let got = LogOptions::from_query("plain", query.iter().copied());
        assert_eq!(got.as_ref().map_err(|s| (s.code, s.message.as_str())), expected.as_ref().map_err(|e| *e));
    }

    #[test]
    fn log_parameters_are_read_and_judged() {
        check(
            &[("follow", "1"), ("tailLines", "10"), ("container", "c"), ("previous", "false")],
            Ok(LogOptions { follow: true, tail_lines: Some(10), container: "c".to_owned(), ..LogOptions::default() }),
        );
        check(
            &[("tailLines", "-1")],
            Err((
                422,
                "PodLogOptions \"plain\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            )),
        );
        check(&[("tailLines", "x")], Err((400, "strconv.ParseInt: parsing \"x\": invalid syntax")));
        check(
            &[("sinceSeconds", "1"), ("sinceTime", "2026-01-02T03:04:05Z")],
            Err((
                422,
                "PodLogOptions \"plain\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            )),
        );
    }

    #[test]
    fn commands_are_read_in_their_order() {
        let options =
            StreamOptions::from_query([("command", "ls"), ("command", "-l"), ("stdin", "true"), ("tty", "0")]);
        assert_eq!(options.command, ["ls", "-l"]);
        assert!(options.stdin && !options.tty && !options.stdout);
        assert!(options.check_streams().is_ok() && StreamOptions::default().check_streams().is_err());
    }
}
