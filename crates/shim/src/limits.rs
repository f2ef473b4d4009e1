//! Time limits: when a container that has gone on for too long, or that nobody talks to, is asked to end, and then made to. Told the time
//! and the traffic; what it says is done in `impl Shim` below.
//!
//! ```text
//! Watching ──a limit passes──▶ Asked (stop signal sent) ──grace──▶ Killed
//! ```
//! Traffic is whatever goes between a client and a process of the container, in either direction, its coming included. Output that nobody
//! is attached to is none; nor is a client that just waits, as with sshd's ChannelTimeout and a shell's TMOUT.

use std::time::{Duration, Instant};

use remora_shim_protocol::{Expired, TimeLimit, TimeLimits};

use crate::requests::send;
use crate::shim::Shim;

/// The limits of a container that runs.
#[derive(Debug)]
pub(crate) struct Limits {
    config: TimeLimits,
    started: Instant,
    last_traffic: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Watching,
    Asked { expired: Expired, kill_at: Option<Instant> },
    Killed(Expired),
}

impl Limits {
    /// Of a container that starts now.
    pub(crate) fn new(config: TimeLimits, now: Instant) -> Self {
        Self { config, started: now, last_traffic: now, phase: Phase::Watching }
    }

    /// The moment at which [`Limits::due`] is to be asked next. One too far away to be counted never comes.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.phase {
            Phase::Watching => self.ends().map(|(end, _)| end).min(),
            Phase::Asked { kill_at, .. } => kill_at,
            Phase::Killed(_) => None,
        }
    }

    /// The signal that is to be sent now, if any.
    pub(crate) fn due(&mut self, now: Instant) -> Option<i32> {
        match self.phase {
            Phase::Watching => {
                let (_, expired) = self.ends().filter(|(end, _)| *end <= now).min_by_key(|(end, _)| *end)?;
                let kill_at = now.checked_add(Duration::from_millis(self.config.grace_ms));
                self.phase = Phase::Asked { expired, kill_at };
                Some(self.config.stop_signal)
            }
            Phase::Asked { expired, kill_at: Some(kill_at) } if kill_at <= now => {
                self.phase = Phase::Killed(expired);
                Some(libc::SIGKILL)
            }
            Phase::Asked { .. } | Phase::Killed(_) => None,
        }
    }

    pub(crate) fn traffic(&mut self, now: Instant) {
        self.last_traffic = now;
    }

    /// The limit that the container is ended for.
    pub(crate) fn expired(&self) -> Option<Expired> {
        match self.phase {
            Phase::Watching => None,
            Phase::Asked { expired, .. } | Phase::Killed(expired) => Some(expired),
        }
    }

    fn ends(&self) -> impl Iterator<Item = (Instant, Expired)> {
        let ttl = (TimeLimit::Ttl, self.started, self.config.ttl_ms);
        let idle = (TimeLimit::IdleTimeout, self.last_traffic, self.config.idle_timeout_ms);
        [ttl, idle].into_iter().filter_map(|(limit, from, after_ms)| {
            let after_ms = after_ms?;
            Some((from.checked_add(Duration::from_millis(after_ms))?, Expired { limit, after_ms }))
        })
    }
}

impl Shim {
    /// When [`Shim::keep_limits`] has to be called, even if nothing happens.
    pub(crate) fn next_limit(&self) -> Option<Instant> {
        self.life.pid().and(self.limits.as_ref()).and_then(Limits::next)
    }

    /// Sends the signal that is due.
    pub(crate) fn keep_limits(&mut self) {
        let (Some(pid), Some(limits)) = (self.life.pid(), &mut self.limits) else { return };
        let Some(signal) = limits.due(Instant::now()) else { return };
        if let Err(failure) = send(pid, signal) {
            crate::note(format_args!("signal {signal} for a time limit cannot be sent: {}", failure.message));
        }
    }

    pub(crate) fn note_traffic(&mut self) {
        if let Some(limits) = &mut self.limits {
            limits.traffic(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays events at seconds: `t` is traffic, a number is what is due then; gives the limit that has passed.
    fn play(ttl: Option<u64>, idle: Option<u64>, events: &[(u64, Option<i32>)]) -> Option<TimeLimit> {
        let config = TimeLimits {
            ttl_ms: ttl.map(|s| s * 1000),
            idle_timeout_ms: idle.map(|s| s * 1000),
            stop_signal: 15,
            grace_ms: 5000,
        };
        let start = Instant::now();
        let mut limits = Limits::new(config, start);
        for (second, expected) in events {
            let now = start + Duration::from_secs(*second);
            match expected {
                None => limits.traffic(now),
                Some(signal) => assert_eq!(limits.due(now), Some(*signal).filter(|s| *s != 0), "at {second} s"),
            }
        }
        limits.expired().map(|expired| expired.limit)
    }

    #[test]
    fn a_limit_that_passes_asks_once_then_kills_once() {
        const TRAFFIC: Option<i32> = None;
        let (nothing, asked, killed) = (Some(0), Some(15), Some(9));
        let (ttl, idle) = (Some(TimeLimit::Ttl), Some(TimeLimit::IdleTimeout));
        assert_eq!(play(None, None, &[(1_000_000, nothing)]), None);
        assert_eq!(play(Some(30), None, &[(29, nothing)]), None);
        assert_eq!(
            play(Some(30), None, &[(29, TRAFFIC), (30, asked), (34, nothing), (35, killed), (99, nothing)]),
            ttl
        );
        assert_eq!(play(None, Some(10), &[(9, TRAFFIC), (18, nothing), (18, TRAFFIC), (27, nothing)]), None);
        assert_eq!(play(None, Some(10), &[(9, TRAFFIC), (19, asked), (20, TRAFFIC), (24, killed)]), idle);
        assert_eq!(play(Some(30), Some(10), &[(10, asked)]), idle);
        assert_eq!(play(Some(30), Some(25), &[(24, TRAFFIC), (30, asked)]), ttl);
        assert_eq!(play(Some(u64::MAX / 1000), None, &[(1_000_000, nothing)]), None);
    }
}
