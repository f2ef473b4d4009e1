//! systemd's manager over D-Bus, as far as cgroups go: slices with limits, and scopes that are delegated to us.
//!
//! ```text
//! wish ─▶ a systemd that has not failed to answer it yet ─▶ call ─▶ the job's end ─▶ done, or refused
//!             ▲                                            │          │
//!             └── it executes itself anew: another name ◀──┴──────────┘
//! ```
//! A systemd that executes itself anew (a package's upgrade, `daemon-reexec`) drops what it was asked, or the answer, or the word that the job has ended.
//! Whatever it was, the next one is asked for the same: each wish may be carried out twice. That is known without looking at the clock, since the
//! bus gives each of them a name of its own, calls go to that name, and the bus says when it goes and when the next one comes.
//!
//! Every attempt has a connection of its own. It costs less than a millisecond, and there is none that breaks when the bus is started anew.

use std::io::{self, ErrorKind};
use std::time::Duration;

use futures::TryStreamExt;
use serde::Serialize;
use zbus::connection::Builder;
use zbus::message::{Message, Type};
use zbus::names::OwnedUniqueName;
use zbus::zvariant::{DynamicType, OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream};

use crate::Error;

/// The system's message bus. (zbus cannot be used on `/run/systemd/private`, which has no bus: systemd signs there with a name that is none of a
/// bus's, and zbus panics.)
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// Its own name, which is its interface's too.
const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

// Answers that are no failures.
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_PROPERTY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
const UNKNOWN: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// What the bus says of a call to one that has gone: before it has read the call, or before it has answered.
const GONE: [&str; 4] = [
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Disconnected",
];
const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";

/// Longer than this nobody waits for a wish, however many systemds it needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// More of them than anybody executes in that time; a bus that falls over at our call is not asked for ever.
const ATTEMPTS: usize = 10;
/// For what an administrator stops: from SIGTERM to SIGKILL. (We stop only what holds nothing but its holder.)
const STOP_GRACE_US: u64 = 10_000_000;
/// Signals of other people's jobs that may come while ours runs.
const QUEUED_SIGNALS: usize = 1024;

type Properties<'a> = Vec<(&'a str, Value<'a>)>;

/// What systemd is asked for. Once it is so, asking again changes nothing.
pub(super) enum Wish<'a> {
    /// Only a sign of life.
    Answer,
    /// A slice with these limits. One that is there, maybe only because another lies in it, is given them.
    Slice { unit: &'a str, about: &'a str, limits: &'a [(&'static str, u64)] },
    /// A scope with one process, whose cgroup is ours from here on, until its last process ends. One of that name that is there stays as it is, with
    /// whom it has.
    Scope { unit: &'a str, slice: &'a str, about: &'a str, pid: u32 },
    /// No such unit, and none of those in it. Its cgroup goes with it.
    Gone { unit: &'a str },
}

/// Has a wish carried out.
///
/// # Errors
/// systemd refuses, or nobody answers.
pub(super) async fn ask(wish: &Wish<'_>) -> Result<(), Error> {
    let answer = tokio::time::timeout(PATIENCE, until_answered(wish)).await;
    let late = |_| Err(io::Error::new(ErrorKind::TimedOut, format!("not done within {PATIENCE:?}")).into());
    let (action, unit) = wish.words();
    answer.unwrap_or_else(late).map_err(|source| Error::Systemd {
        action,
        unit: unit.to_owned(),
        source: Box::new(source),
    })
}

async fn until_answered(wish: &Wish<'_>) -> Result<(), zbus::Error> {
    let mut gone = None;
    for _ in 0..ATTEMPTS {
        let mut asked = None;
        let answer = async {
            let systemd = asked.insert(Systemd::other_than(gone.as_ref()).await?);
            systemd.carry_out(wish).await
        };
        gone = match answer.await {
            Ok(()) => return Ok(()),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Gone) => asked.map(|systemd| systemd.name),
            // Names are the bus's: another one may give the same again.
            Err(Trouble::NoBus) => None,
        };
        tracing::info!(unit = wish.words().1, "systemd was executed anew, or its bus: it is asked again");
    }
    Err(zbus::Error::Failure(format!("systemd or its bus has gone {ATTEMPTS} times before this was done")))
}

impl Wish<'_> {
    /// For errors: what, and of which unit.
    fn words(&self) -> (&'static str, &str) {
        match self {
            Wish::Answer => ("reach", "systemd"),
            Wish::Slice { unit, .. } | Wish::Scope { unit, .. } => ("start", unit),
            Wish::Gone { unit } => ("stop", unit),
        }
    }
}

/// Why one systemd has not carried out a wish.
#[derive(Debug)]
enum Trouble {
    /// It has gone without a word: whether it has is not known.
    Gone,
    /// The bus has.
    NoBus,
    /// This is its answer.
    Refused(zbus::Error),
}

impl From<zbus::Error> for Trouble {
    fn from(error: zbus::Error) -> Self {
        // There is no bus: nothing comes of asking again.
        let is_none = |cause: &io::Error| [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&cause.kind());
        match &error {
            zbus::Error::MethodError(name, ..) if GONE.contains(&name.as_str()) => Trouble::Gone,
            zbus::Error::InputOutput(cause) if !is_none(cause) => Trouble::NoBus,
            _ => Trouble::Refused(error),
        }
    }
}

/// One systemd, from one execution to the next.
struct Systemd {
    bus: Connection,
    /// That the bus knows it by.
    name: OwnedUniqueName,
    /// Who has come and gone since.
    changes: MessageStream,
}

impl Systemd {
    /// The one that is there, or that comes, if it is not this one.
    async fn other_than(gone: Option<&OwnedUniqueName>) -> Result<Self, zbus::Error> {
        let bus = Builder::address(BUS)?.build().await?;
        let rule =
            MatchRule::builder().msg_type(Type::Signal).sender(DBUS)?.interface(DBUS)?.member("NameOwnerChanged")?;
        // Before the question: what comes after its answer is not missed.
        let mut changes = MessageStream::for_match_rule(rule.arg(0, NAME)?.build(), &bus, None).await?;
        let mut owner = match bus.call_method(Some(DBUS), DBUS_PATH, Some(DBUS), "GetNameOwner", &NAME).await {
            Err(error) if is(&error, NO_OWNER) => None,
            answer => Some(answer?.body().deserialize()?),
        };
        loop {
            match owner {
                Some(name) if Some(&name) != gone => return Ok(Systemd { bus, name, changes }),
                _ => owner = next_owner(&mut changes).await?,
            }
        }
    }

    async fn carry_out(&mut self, wish: &Wish<'_>) -> Result<(), Trouble> {
        // Signals are sent only while somebody wants them.
        self.call("Subscribe", &()).await?;
        match *wish {
            Wish::Answer => Ok(()),
            Wish::Slice { unit, about, limits } => self.set_slice(unit, about, limits).await,
            Wish::Scope { unit, slice, about, pid } => self.delegate(unit, slice, about, pid).await,
            Wish::Gone { unit } => self.stop(unit).await,
        }
    }

    async fn set_slice(&mut self, unit: &str, about: &str, limits: &[(&'static str, u64)]) -> Result<(), Trouble> {
        let limits = || limits.iter().map(|(name, value)| (*name, Value::from(*value)));
        let mut properties: Properties<'_> = vec![("Description", about.into()), ("DefaultDependencies", false.into())];
        let accounting = ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"];
        properties.extend(accounting.map(|name| (name, true.into())));
        properties.extend(limits());
        match self.start(unit, properties).await {
            Err(Trouble::Refused(error)) if is(&error, EXISTS) => {
                // For as long as systemd knows the unit, as those of a transient one are.
                const RUNTIME: bool = true;
                let limits: Properties<'_> = limits().collect();
                Ok(self.call("SetUnitProperties", &(unit, RUNTIME, limits)).await.map(drop)?)
            }
            started => started,
        }
    }

    async fn delegate(&mut self, unit: &str, slice: &str, about: &str, pid: u32) -> Result<(), Trouble> {
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
            Err(Trouble::Refused(error)) if is(&error, NO_PROPERTY) => self.start(unit, properties(false)).await,
            started => started,
        };
        match started {
            // As an earlier one was asked, who took the job along to the next. It ends at once if it has ended already.
            Err(Trouble::Refused(error)) if is(&error, EXISTS) => self.job("StartUnit", &(unit, "fail")).await,
            started => started,
        }
    }

    async fn stop(&mut self, unit: &str) -> Result<(), Trouble> {
        match self.job("StopUnit", &(unit, "replace")).await {
            // What it does not know is stopped already.
            Err(Trouble::Refused(error)) if is(&error, UNKNOWN) => Ok(()),
            stopped => stopped,
        }
    }

    async fn start(&mut self, unit: &str, properties: Properties<'_>) -> Result<(), Trouble> {
        let further: Vec<(&str, Properties<'_>)> = Vec::new();
        self.job("StartTransientUnit", &(unit, "fail", properties, further)).await
    }

    /// Has systemd begin a job, and waits for its end.
    async fn job<B: Serialize + DynamicType>(&mut self, method: &str, body: &B) -> Result<(), Trouble> {
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(&self.name)?.interface(INTERFACE)?;
        // Before the call: the job may have ended when that returns.
        let rule = rule.member("JobRemoved")?.build();
        let mut ended = MessageStream::for_match_rule(rule, &self.bus, Some(QUEUED_SIGNALS)).await?;
        let job = self.call(method, body).await?.body().deserialize::<OwnedObjectPath>()?;
        loop {
            let signal = tokio::select! {
                // Both are queues: the signal that is not taken now stays there.
                signal = ended.try_next() => signal?.ok_or(Trouble::NoBus)?,
                changed = next_owner(&mut self.changes) => return Err(changed.map_or_else(Trouble::from, |_| Trouble::Gone)),
            };
            let body = signal.body();
            let (_, which, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
            if which == job {
                let failure = || zbus::Error::Failure(format!("the job for {unit} ended as {result}"));
                return if result == "done" { Ok(()) } else { Err(Trouble::Refused(failure())) };
            }
        }
    }

    async fn call<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> Result<Message, zbus::Error> {
        self.bus.call_method(Some(self.name.as_ref()), PATH, Some(INTERFACE), method, body).await
    }
}

/// Waits until systemd's name goes to another, or to nobody.
async fn next_owner(changes: &mut MessageStream) -> Result<Option<OwnedUniqueName>, zbus::Error> {
    let broken = || io::Error::from(ErrorKind::UnexpectedEof);
    let change = changes.try_next().await?.ok_or_else(broken)?;
    let body = change.body();
    let (_, _, new): (&str, &str, &str) = body.deserialize()?;
    if new.is_empty() { Ok(None) } else { Ok(Some(new.try_into()?)) }
}

fn is(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(found, ..) if found.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systemd_that_goes_is_no_refusal() {
        let call = Message::method_call(PATH, "StopUnit").unwrap().build(&()).unwrap();
        let answer = |name: &str| Message::error(&call.header(), name).unwrap().build(&"in words").unwrap().into();
        let check =
            |error: zbus::Error, expected: &str| assert!(format!("{:?}", Trouble::from(error)).starts_with(expected));
        for name in GONE {
            check(answer(name), "Gone");
        }
        check(io::Error::from(ErrorKind::BrokenPipe).into(), "NoBus");
        check(io::Error::from(ErrorKind::NotFound).into(), "Refused");
        check(answer(EXISTS), "Refused");
        check(answer("org.freedesktop.DBus.Error.AccessDenied"), "Refused");
    }
}
