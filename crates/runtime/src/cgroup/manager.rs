//! systemd's manager over D-Bus, as far as cgroups go: slices with limits, and scopes that are delegated to us.
//!
//! Every call has a connection of its own. It costs less than a millisecond, and there is none that breaks when systemd is executed anew.
//! A call returns when systemd has done what it asks for: the job's end is a signal.

use std::io;
use std::time::Duration;

use futures::TryStreamExt;
use serde::Serialize;
use zbus::connection::Builder;
use zbus::message::{Message, Type};
use zbus::zvariant::{DynamicType, OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream};

use crate::Error;

/// The system's message bus. (zbus cannot be used on `/run/systemd/private`, which has no bus: systemd signs there with a name that is none of a
/// bus's, and zbus panics.)
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

// Answers that are no failures.
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_PROPERTY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
const UNKNOWN: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A systemd that does not answer is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what an administrator stops: from SIGTERM to SIGKILL. (We stop only what holds nothing but its holder.)
const STOP_GRACE_US: u64 = 10_000_000;
/// Signals of other people's jobs that may come while ours runs.
const QUEUED_SIGNALS: usize = 1024;

type Properties<'a> = Vec<(&'a str, Value<'a>)>;

/// A connection to systemd.
pub(super) struct Manager(Connection);

impl Manager {
    pub(super) async fn connect() -> Result<Self, zbus::Error> {
        let manager = Manager(Builder::address(BUS)?.method_timeout(PATIENCE).build().await?);
        // Signals are sent only while somebody wants them.
        manager.call("Subscribe", &()).await?;
        Ok(manager)
    }

    /// A slice with these limits. One that is there, maybe only because another lies in it, is given them.
    pub(super) async fn set_slice(&self, unit: &str, about: &str, limits: &[(&'static str, u64)]) -> Result<(), Error> {
        let limits = || limits.iter().map(|(name, value)| (*name, Value::from(*value)));
        let mut properties: Properties<'_> = vec![("Description", about.into()), ("DefaultDependencies", false.into())];
        let accounting = ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"];
        properties.extend(accounting.map(|name| (name, true.into())));
        properties.extend(limits());
        match self.start(unit, properties).await {
            Err(error) if is(&error, EXISTS) => {
                // For as long as systemd knows the unit, as those of a transient one are.
                const RUNTIME: bool = true;
                let limits: Properties<'_> = limits().collect();
                let set = self.call("SetUnitProperties", &(unit, RUNTIME, limits)).await;
                set.map(drop).map_err(failed("limit", unit))
            }
            started => started.map_err(failed("start", unit)),
        }
    }

    /// A scope with one process, whose cgroup is ours from here on, until its last process ends.
    pub(super) async fn delegate(&self, unit: &str, slice: &str, about: &str, pid: u32) -> Result<(), Error> {
        let properties = |oom_policy: bool| {
            let mut properties: Properties<'_> = vec![
                ("Description", about.into()),
                ("Slice", slice.into()),
                ("DefaultDependencies", false.into()),
                ("PIDs", Value::from(vec![pid])),
                ("Delegate", true.into()),
                // The container's own limits are below. systemd's default would be a share of what the machine can have.
                ("TasksMax", u64::MAX.into()),
                ("TimeoutStopUSec", STOP_GRACE_US.into()),
                ("CollectMode", "inactive-or-failed".into()),
            ];
            // What the kernel kills in a container is its shim's affair.
            properties.extend(oom_policy.then(|| ("OOMPolicy", "continue".into())));
            properties
        };
        let started = match self.start(unit, properties(true)).await {
            // Before version 253, scopes had no such policy.
            Err(error) if is(&error, NO_PROPERTY) => self.start(unit, properties(false)).await,
            started => started,
        };
        started.map_err(failed("start", unit))
    }

    /// Stops a unit and those in it; what systemd does not know is stopped already. Its cgroup goes with it.
    pub(super) async fn stop(&self, unit: &str) -> Result<(), Error> {
        match self.job("StopUnit", &(unit, "replace")).await {
            Err(error) if is(&error, UNKNOWN) => Ok(()),
            stopped => stopped.map_err(failed("stop", unit)),
        }
    }

    async fn start(&self, unit: &str, properties: Properties<'_>) -> Result<(), zbus::Error> {
        let further: Vec<(&str, Properties<'_>)> = Vec::new();
        self.job("StartTransientUnit", &(unit, "fail", properties, further)).await
    }

    /// Has systemd begin a job, and waits for its end.
    async fn job<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> Result<(), zbus::Error> {
        let done = async {
            let rule = MatchRule::builder().msg_type(Type::Signal).interface(INTERFACE)?.member("JobRemoved")?.build();
            // Before the call: the job may have ended when that returns.
            let mut ended = MessageStream::for_match_rule(rule, &self.0, Some(QUEUED_SIGNALS)).await?;
            let job: OwnedObjectPath = self.call(method, body).await?.body().deserialize()?;
            while let Some(signal) = ended.try_next().await? {
                let body = signal.body();
                let (_, which, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
                if which == job {
                    let failure = || zbus::Error::Failure(format!("the job for {unit} ended as {result}"));
                    return if result == "done" { Ok(()) } else { Err(failure()) };
                }
            }
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        };
        let answer = tokio::time::timeout(PATIENCE, done).await;
        answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    async fn call<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> Result<Message, zbus::Error> {
        self.0.call_method(Some(NAME), PATH, Some(INTERFACE), method, body).await
    }
}

pub(super) fn failed(action: &'static str, unit: &str) -> impl FnOnce(zbus::Error) -> Error {
    move |source| Error::Systemd { action, unit: unit.to_owned(), source: Box::new(source) }
}

fn is(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(found, ..) if found.as_str() == name)
}
