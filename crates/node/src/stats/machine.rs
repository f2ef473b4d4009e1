//! What the machine as a whole uses, from the kernel's files.

use jiff::{SignedDuration, Timestamp};
use remora_cri::UInt64Value;
use remora_decide::usage::Counter;
use remora_model::usage::{Cpu, Filesystem, Interface, Memory, Network, NodeUsage, Processes, Swap};
use remora_sys::interfaces::{InterfaceCounters, default_interface, interfaces};

use super::{Extent, StatsError};
use crate::context::Context;

/// Ticks of `/proc/stat` in a second: the kernel's ABI on every machine that Rust's std knows.
const TICKS: u64 = 100;

/// All but its pods.
pub(super) async fn usage(context: &Context, extent: Extent) -> Result<NodeUsage, StatsError> {
    let now = context.now();
    let meminfo = text("/proc/meminfo");
    let (cpus, memory_bytes) = context.machine.size();
    let mut usage = NodeUsage {
        node: context.config.node_name.clone(),
        since: started(now).unwrap_or(now),
        cpu: counter(now).map(|counter| Cpu { at: counter.at, total: counter.total, rate: None }),
        memory: memory(&meminfo, &text("/proc/vmstat"), now),
        swap: swap(&meminfo, now),
        cpus,
        memory_bytes,
        ..NodeUsage::default()
    };
    if extent == Extent::All {
        usage.network = network(now);
        usage.filesystem = remora_sys::file::space(&context.config.root).ok().map(|space| filesystem(&space, now));
        usage.images = images(context).await?;
        usage.processes = processes(&text("/proc/loadavg"), &text("/proc/sys/kernel/pid_max"), now);
    }
    Ok(usage)
}

/// A file of the kernel's; empty where it has none, and then nothing is told.
fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The machine's processor time.
pub(super) fn counter(now: Timestamp) -> Option<Counter> {
    Some(Counter { at: now, total: busy(&text("/proc/stat"))? })
}

/// Nanoseconds in which some processor was neither idle nor waiting for a disk. A guest's time is in `user` already.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq + steal).saturating_mul(1_000_000_000 / TICKS))
}

fn started(now: Timestamp) -> Option<Timestamp> {
    let uptime = text("/proc/uptime");
    let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    now.checked_sub(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

/// A line `NAME: NUMBER kB`, in bytes.
fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(rest.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn memory(meminfo: &str, vmstat: &str, at: Timestamp) -> Option<Memory> {
    let total = kibibytes(meminfo, "MemTotal")?;
    let usage = total.checked_sub(kibibytes(meminfo, "MemFree")?)?;
    let working_set = usage.saturating_sub(kibibytes(meminfo, "Inactive(file)")?);
    let faults = |name: &str| {
        let rest = vmstat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rest.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Some(Memory {
        at,
        usage,
        working_set,
        rss: kibibytes(meminfo, "AnonPages").unwrap_or(0),
        available: Some(total.saturating_sub(working_set)),
        page_faults: faults("pgfault"),
        major_page_faults: faults("pgmajfault"),
    })
}

fn swap(meminfo: &str, at: Timestamp) -> Option<Swap> {
    let free = kibibytes(meminfo, "SwapFree")?;
    Some(Swap { at, usage: kibibytes(meminfo, "SwapTotal")?.saturating_sub(free), available: Some(free) })
}

fn network(at: Timestamp) -> Option<Network> {
    let read = interfaces().and_then(|all| Ok((all, default_interface()?)));
    let (all, first) = read.inspect_err(|error| tracing::debug!(%error, "the node's interfaces are not told")).ok()?;
    let mut interfaces: Vec<Interface> = all.into_iter().map(interface).collect();
    interfaces.sort_by_key(|interface| Some(&interface.name) != first.as_ref());
    Some(Network { at, interfaces })
}

fn interface(counters: InterfaceCounters) -> Interface {
    let InterfaceCounters { name, received, receive_errors, sent, send_errors } = counters;
    Interface { name, received, receive_errors, sent, send_errors }
}

fn filesystem(space: &remora_sys::file::Space, at: Timestamp) -> Filesystem {
    Filesystem {
        at,
        used: space.total_bytes.saturating_sub(space.available_bytes),
        inodes_used: space.total_inodes.saturating_sub(space.free_inodes),
        ..of_whole(space, at)
    }
}

/// What of a file system is there for everybody; what a part of it uses is the caller's to say.
pub(super) fn of_whole(space: &remora_sys::file::Space, at: Timestamp) -> Filesystem {
    Filesystem {
        at,
        capacity: space.total_bytes,
        available: space.available_bytes,
        inodes: space.total_inodes,
        inodes_free: space.free_inodes,
        ..Filesystem::default()
    }
}

async fn images(context: &Context) -> Result<Option<Filesystem>, StatsError> {
    let answer = context.config.images.image_fs_info().await?;
    let Some(first) = answer.image_filesystems.into_iter().next() else { return Ok(None) };
    let mount = first.fs_id.map(|id| id.mountpoint).unwrap_or_default();
    let space = remora_sys::file::space(mount.as_ref()).ok();
    let at = time(first.timestamp);
    let (used, inodes_used) = (number(first.used_bytes), number(first.inodes_used));
    Ok(space.map(|space| Filesystem { used, inodes_used, ..of_whole(&space, at) }))
}

/// `0.20 0.18 0.12 RUNNING/ALL LAST-PID`
fn processes(loadavg: &str, pid_max: &str, at: Timestamp) -> Option<Processes> {
    let running = loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Processes { at, most: pid_max.trim().parse().ok()?, running })
}

/// CRI's nanoseconds since the Unix epoch.
pub(super) fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default()
}

/// CRI's number, which may be missing.
pub(super) fn number(value: Option<UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_is_not_idle() {
        let stat = "cpu  10 1 2 900 50 3 4 5 7 0\ncpu0 10 1 2 900 50 3 4 5 7 0\n";
        assert_eq!(busy(stat), Some(25 * 10_000_000));
        assert_eq!(busy("cpu 1 2\n"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn the_working_set_is_what_cannot_be_given_back() {
        let meminfo = "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\nAnonPages: 300 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n";
        let at = Timestamp::UNIX_EPOCH;
        let memory = memory(meminfo, "pgfault 7\npgmajfault 1\n", at).unwrap();
        let kib = |bytes: u64| bytes / 1024;
        assert_eq!(
            (kib(memory.usage), kib(memory.working_set), kib(memory.rss), memory.available.map(kib)),
            (600, 500, 300, Some(500))
        );
        assert_eq!((memory.page_faults, memory.major_page_faults), (7, 1));
        assert_eq!(swap(meminfo, at).map(|swap| kib(swap.usage)), Some(30));
        assert_eq!(super::memory("", "", at), None);
    }

    #[test]
    fn processes_are_counted_by_the_kernel() {
        let at = Timestamp::UNIX_EPOCH;
        let got = processes("0.20 0.18 0.12 3/1234 5678\n", "4194304\n", at);
        assert_eq!(got, Some(Processes { at, most: 4_194_304, running: 1234 }));
        assert_eq!(processes("", "4194304\n", at), None);
    }
}
