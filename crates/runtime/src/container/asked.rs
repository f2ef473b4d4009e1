//! What a request asks for in annotations, beyond CRI's own words (see `remora_cri::annotations`). Pure.

use jiff::SignedDuration;
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use remora_cri::{ContainerConfig, annotations};
use remora_shim_protocol::{Expired, LogLimit, TimeLimit, TimeLimits};

use crate::Error;

/// From the stop signal to the kill, when time is up: docker's default. The pod's own grace is for work that has to be finished.
const GRACE_MS: u64 = 10_000;

/// Whose root file system a container stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootOf {
    /// Its image's own.
    Image,
    /// That of a running container, by id.
    Running(String),
    /// That of a container that has ended, by id.
    Ended(String),
}

impl RootOf {
    /// As annotations say it.
    pub(super) fn asked(config: &ContainerConfig) -> Result<Self, Error> {
        let Some(kind) = config.annotations.get(annotations::ROOT) else { return Ok(RootOf::Image) };
        let of = root_of(config).ok_or(Error::Missing("the container whose root is asked for"))?.to_owned();
        match kind.as_str() {
            annotations::ROOT_TARGET => Ok(RootOf::Running(of)),
            annotations::ROOT_CRASHED => Ok(RootOf::Ended(of)),
            _ => Err(wrong(annotations::ROOT, kind)),
        }
    }
}

/// When the shim is to end the container; none if no limit is asked for.
pub(super) fn time_limits(config: &ContainerConfig, stop_signal: i32) -> Result<Option<TimeLimits>, Error> {
    let milliseconds = |annotation: &'static str| match config.annotations.get(annotation) {
        Some(value) => value.parse::<u64>().map(Some).map_err(|_| wrong(annotation, value)),
        None => Ok(None),
    };
    let (ttl_ms, idle_timeout_ms) = (milliseconds(annotations::TTL)?, milliseconds(annotations::IDLE_TIMEOUT)?);
    let limits = TimeLimits { ttl_ms, idle_timeout_ms, stop_signal, grace_ms: GRACE_MS };
    Ok(Some(limits).filter(|_| ttl_ms.is_some() || idle_timeout_ms.is_some()))
}

/// When the shim sets the log aside; none if no limit is asked for.
pub(super) fn log_limit(config: &ContainerConfig) -> Result<Option<LogLimit>, Error> {
    let Some(text) = config.annotations.get(annotations::LOG_LIMIT) else { return Ok(None) };
    let limit = text.split_once(' ').and_then(|(bytes, files)| {
        let limit = LogLimit { bytes: bytes.parse().ok()?, files: files.parse().ok()? };
        (limit.bytes > 0 && limit.files > 0).then_some(limit)
    });
    limit.map(Some).ok_or_else(|| wrong(annotations::LOG_LIMIT, text))
}

/// What CRI is told of a container that was ended for one. The reason is Kubernetes' word for pods whose time is up, the message names the
/// variable by which users ask (`docs/debug-on-remora.md`).
pub(super) fn expired_in_words(expired: Expired) -> (&'static str, String) {
    let variable = match expired.limit {
        TimeLimit::Ttl => "REMORA_TTL",
        TimeLimit::IdleTimeout => "REMORA_IDLE_TIMEOUT",
    };
    let after = SignedDuration::from_millis(i64::try_from(expired.after_ms).unwrap_or(i64::MAX));
    let after = SpanPrinter::new().spacing(Spacing::None).duration_to_string(&after);
    ("DeadlineExceeded", format!("ended by {variable} after {after}"))
}

/// The id of the container whose root is borrowed.
pub(super) fn root_of(config: &ContainerConfig) -> Option<&str> {
    config.annotations.get(annotations::ROOT_OF).map(String::as_str)
}

/// The id of the container whose image's files are to be seen.
pub(super) fn image_of(config: &ContainerConfig) -> Option<&str> {
    config.annotations.get(annotations::IMAGE_OF).map(String::as_str)
}

/// The ids of the containers whose files these are: they must not go before this one.
pub(super) fn stands_on(config: &ContainerConfig) -> impl Iterator<Item = &str> {
    [root_of(config), image_of(config)].into_iter().flatten()
}

fn wrong(annotation: &'static str, value: &str) -> Error {
    Error::Annotation { annotation, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time to live and idle time-out.
    type Pair = (Option<u64>, Option<u64>);

    #[test]
    fn time_limits_are_whole_milliseconds() {
        let check = |pairs: &[(&str, &str)], expected: Result<Option<Pair>, &str>| {
            let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let found = time_limits(&ContainerConfig { annotations, ..Default::default() }, 15);
            let found = found.map(|limits| limits.map(|limits| (limits.ttl_ms, limits.idle_timeout_ms)));
            assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{pairs:?}");
        };
        let (ttl, idle) = ("remora.dev/ttl-milliseconds", "remora.dev/idle-timeout-milliseconds");
        check(&[], Ok(None));
        check(&[(ttl, "5")], Ok(Some((Some(5), None))));
        check(&[(ttl, "5"), (idle, "7")], Ok(Some((Some(5), Some(7)))));
        check(&[(idle, "10m")], Err("annotation remora.dev/idle-timeout-milliseconds cannot be \"10m\""));
    }

    #[test]
    fn an_end_by_a_limit_is_told_as_users_wrote_it() {
        let check = |limit, after_ms, expected: &str| {
            assert_eq!(expired_in_words(Expired { limit, after_ms }), ("DeadlineExceeded", expected.to_owned()));
        };
        check(TimeLimit::Ttl, 1_800_000, "ended by REMORA_TTL after 30m");
        check(TimeLimit::Ttl, 5_400_000, "ended by REMORA_TTL after 1h30m");
        check(TimeLimit::IdleTimeout, 90_000, "ended by REMORA_IDLE_TIMEOUT after 1m30s");
    }

    #[test]
    fn a_root_is_the_images_unless_another_containers_is_asked_for() {
        let check = |pairs: &[(&str, &str)], expected: Result<RootOf, &str>| {
            let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let found = RootOf::asked(&ContainerConfig { annotations, ..Default::default() });
            assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{pairs:?}");
        };
        check(&[], Ok(RootOf::Image));
        check(&[("remora.dev/root", "target"), ("remora.dev/root-of", "a")], Ok(RootOf::Running("a".into())));
        check(&[("remora.dev/root", "crashed"), ("remora.dev/root-of", "a")], Ok(RootOf::Ended("a".into())));
        check(&[("remora.dev/root", "target")], Err("the request lacks the container whose root is asked for"));
        let other = [("remora.dev/root", "host"), ("remora.dev/root-of", "a")];
        check(&other, Err("annotation remora.dev/root cannot be \"host\""));
    }
}
