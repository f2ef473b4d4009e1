//! Which of several nodes that share a store runs the controllers: the one that holds a Lease. Started by the binary in place of
//! [`run`](crate::run) where the store is shared.
//!
//! ```text
//! candidate ──free, or not renewed for DURATION──▶ leader ──not renewed for DEADLINE, or taken──▶ candidate
//! ```
//! Source of the rules: client-go's `tools/leaderelection`: whether a lease is still held is told by when *we* saw it change, not by the times in
//! it, so that clocks need not agree; a leader stops before another may begin.
//!
//! What it is not: a fence. A leader that is suspended may finish a call after another began; the controllers bear that, since each write is a
//! compare-and-swap and each look may be repeated.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use remora_rules::rbac::defaults::CONTROLLERS_LEASE as NAME;
use tokio::time::{Instant, sleep, timeout};

use crate::Account;
use crate::per_object::answered;

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:leader-election");

/// Where the lease is.
const NAMESPACE: &str = "kube-system";
/// Unchanged for so long, it is free.
const DURATION: Duration = Duration::from_secs(15);
/// Not renewed for so long, its holder stops.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Does `work` whenever `me` holds the lease, until dropped. No other process may have the same name.
pub async fn run<W>(client: Client, me: String, work: impl Fn() -> W) -> Infallible
where
    W: Future<Output = Infallible>,
{
    let candidate = Candidate { leases: Api::namespaced(client, NAMESPACE), me };
    loop {
        let (lease, since) = candidate.until_held().await;
        tracing::info!(lease = NAME, "this node runs the controllers");
        tokio::select! {
            // Dropped wherever it is: what it does may be repeated by whoever is next.
            never = work() => match never {},
            () = candidate.while_held(lease, since) => {}
        }
        tracing::warn!(lease = NAME, "this node does not run the controllers any more");
    }
}

struct Candidate {
    leases: Api<Lease>,
    me: String,
}

impl Candidate {
    /// Waits for the lease; returns it as written, and when it was asked for.
    async fn until_held(&self) -> (Lease, Instant) {
        let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut changes = pin!(watcher(self.leases.clone(), only).default_backoff());
        let (mut seen, mut since, mut is_known) = (None, Instant::now(), false);
        loop {
            let pause = match next(&self.me, seen.as_ref(), since.elapsed(), Timestamp::now()) {
                _ if !is_known => Duration::MAX,
                Next::Wait(pause) => pause,
                Next::Write(lease) => {
                    let asked = Instant::now();
                    match self.write(&lease).await {
                        Ok(lease) => return (lease, asked),
                        Err(error) => told(&error),
                    }
                    PAUSE
                }
            };
            // Cut off by its time-out, the stream loses nothing: it is only borrowed.
            match timeout(pause, changes.next()).await {
                Ok(Some(Ok(watcher::Event::InitDone))) => is_known = true,
                Ok(Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)))) => {
                    (seen, since) = (Some(lease), Instant::now());
                }
                Ok(Some(Ok(watcher::Event::Delete(_) | watcher::Event::Init))) => seen = None,
                Ok(Some(Err(error))) => tracing::debug!(%error, lease = NAME, "will be watched again"),
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// Renews the lease, last asked for at `since`; returns when it is held no more.
    async fn while_held(&self, mut lease: Lease, mut since: Instant) {
        let mut pause = RENEW;
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            let left = DEADLINE.saturating_sub(since.elapsed());
            match timeout(left, self.write(&renewed(&lease, Timestamp::now()))).await {
                Ok(Ok(written)) => (lease, since, pause) = (written, asked, RENEW),
                // Whoever has written it has taken it: nobody else does.
                Ok(Err(error)) if answered(&error, 409) || answered(&error, 404) => return,
                Ok(Err(error)) => {
                    told(&error);
                    pause = PAUSE.min(DEADLINE.saturating_sub(since.elapsed()));
                }
                Err(_) => return,
            }
            if since.elapsed() >= DEADLINE {
                return;
            }
        }
    }

    /// Creates it, or replaces the one with its version.
    async fn write(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let post = PostParams::default();
        match lease.metadata.resource_version {
            None => self.leases.create(&post, lease).await,
            Some(_) => self.leases.replace(NAME, &post, lease).await,
        }
    }
}

fn told(error: &kube::Error) {
    let error: &(dyn std::error::Error + Send + Sync + 'static) = error;
    tracing::debug!(error, lease = NAME, "will be tried again");
}

/// What a candidate does next.
#[derive(Debug, PartialEq)]
enum Next {
    /// Writes this, and holds it if nobody else wrote.
    Write(Box<Lease>),
    /// Looks again when it changes, or after this.
    Wait(Duration),
}

/// `unchanged` is for how long the lease is as it is, by our own clock.
fn next(me: &str, lease: Option<&Lease>, unchanged: Duration, now: Timestamp) -> Next {
    let Some(lease) = lease else {
        let metadata =
            ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        return Next::Write(Box::new(Lease { metadata, spec: Some(held(me, 0, now)) }));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return Next::Write(Box::new(renewed(lease, now)));
    }
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let left = duration.map_or(DURATION, Duration::from_secs).saturating_sub(unchanged);
    if !holder.is_empty() && !left.is_zero() {
        return Next::Wait(left);
    }
    let spec = held(me, spec.lease_transitions.unwrap_or(0).saturating_add(1), now);
    Next::Write(Box::new(Lease { spec: Some(spec), ..lease.clone() }))
}

fn held(me: &str, transitions: i32, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

fn renewed(lease: &Lease, now: Timestamp) -> Lease {
    let spec = LeaseSpec { renew_time: Some(MicroTime(now)), ..lease.spec.clone().unwrap_or_default() };
    Lease { spec: Some(spec), ..lease.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, transitions: i32) -> Lease {
        let metadata = ObjectMeta { resource_version: Some("7".to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(held(holder, transitions, Timestamp::UNIX_EPOCH)) }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_and_left_alone_while_it_is_renewed() {
        let now = Timestamp::from_second(100).unwrap();
        let check = |lease: Option<&Lease>, unchanged: u64, expected: Result<(i32, i64), u64>| match (
            next("me", lease, Duration::from_secs(unchanged), now),
            expected,
        ) {
            (Next::Wait(pause), Err(seconds)) => assert_eq!(pause, Duration::from_secs(seconds)),
            (Next::Write(written), Ok((transitions, acquired))) => {
                let spec = written.spec.unwrap();
                assert_eq!(spec.holder_identity.as_deref(), Some("me"));
                assert_eq!(spec.lease_transitions, Some(transitions));
                assert_eq!(spec.acquire_time.unwrap().0.as_second(), acquired);
                assert_eq!(spec.renew_time.unwrap().0, now);
                assert_eq!(written.metadata.resource_version, lease.and_then(|l| l.metadata.resource_version.clone()));
            }
            (next, expected) => panic!("expected {expected:?}, got {next:?}"),
        };
        check(None, 0, Ok((0, 100)));
        check(Some(&lease("other", 3)), 0, Err(15));
        check(Some(&lease("other", 3)), 14, Err(1));
        check(Some(&lease("other", 3)), 15, Ok((4, 100)));
        check(Some(&lease("", 3)), 0, Ok((4, 100)));
        check(Some(&lease("me", 3)), 0, Ok((3, 0)));
    }
}
