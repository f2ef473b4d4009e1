//! `remora-shim`: the owner of one container. It has the low-level OCI runtime start it, and then keeps its terminal or pipes, its log, its
//! execs and its exit record, until the container has ended and everybody has been told. It outlives the daemon that spawned it.
//!
//! ```text
//! Starting ──▶ Running ──▶ Killing ──▶ Deleting ──▶ Ended     the container's life: see life.rs
//!     └──▶ failed: Killing ──▶ Deleting ──▶ reported, the shim ends
//! ```
//!
//! One thread, one loop over poll(2) (see shim.rs); no tokio, no libcontainer: there is one of it per container, and what it weighs counts by
//! the hundred. If the shim itself is killed (`kill -9`), the container lives on as a child of the next subreaper above; its output meets closed
//! pipes (SIGPIPE) or a hung-up terminal (SIGHUP), its exit code is lost, and the start record tells who it was. Spawned by `runtime`.

mod ahead;
mod attach;
mod client;
mod console;
mod crun;
mod exec;
mod hold;
mod life;
mod limits;
mod log;
mod low_level;
mod pause;
mod process;
mod records;
mod replay;
mod requests;
mod ring;
mod screen;
mod shim;
mod streams;
mod timestamp;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use remora_shim_protocol::{Failure, FailureKind, Report, ShimConfig};

use crate::shim::Shim;

/// Where the spawner's pipe is; see [`Report`].
const REPORT: i32 = 3;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["pause"]) {
        return pause::run();
    }
    if std::env::args_os().skip(1).eq(["hold"]) {
        return hold::run();
    }
    let mut report = report_pipe();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == "ahead") {
        return start_ahead(&words[1..], report);
    }
    let started = start(&words, &mut report);
    run(started, report)
}

fn start(words: &[OsString], report: &mut Option<File>) -> Result<Shim, String> {
    let order = match words {
        [path] => Order::read(Path::new(path))?,
        [path, inode] => {
            let meant = inode.to_str().and_then(|inode| inode.parse().ok());
            let meant = meant.ok_or_else(|| format!("{inode:?} is no inode's number"))?;
            Order::read(Path::new(path))?.of_inode(meant)?
        }
        _ => {
            *report = None;
            return Err("usage: remora-shim SHIM.JSON [INODE] (spawned by Remora's runtime)".to_owned());
        }
    };
    Shim::start(order, None)
}

/// The same, but started before there is an order: see ahead.rs.
fn start_ahead(words: &[OsString], report: Option<File>) -> ExitCode {
    match ahead::wait(words) {
        Ok(Some(called)) => {
            let order = Order::read(called.config).and_then(|order| order.of_inode(called.inode));
            run(order.and_then(|order| Shim::start(order, called.creator)), report)
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(message) => run(Err(message), report),
    }
}

fn run(started: Result<Shim, String>, mut report: Option<File>) -> ExitCode {
    match started {
        Ok(shim) => shim.run(report),
        Err(message) => {
            note(format_args!("{message}"));
            let failure = Failure { kind: FailureKind::Internal, message };
            records::report(&mut report, &Report::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// A new daemon has found nobody at work on the order.
pub(crate) const TAKEN_BACK: &str = "the order to start the container was taken back";

/// What the shim is to do, and the file that says so.
pub(crate) struct Order {
    pub(crate) config: ShimConfig,
    path: PathBuf,
    inode: u64,
}

impl Order {
    fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| format!("cannot read {}: {error}", path.display());
        let mut file = File::open(path).map_err(|error| wrong(&error))?;
        let inode = file.metadata().map_err(|error| wrong(&error))?.ino();
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| wrong(&error))?;
        let config = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        Ok(Order { config, path: path.to_owned(), inode })
    }

    /// The same, if it is the file that the spawner has meant: one in its place was put there to take it back.
    fn of_inode(self, meant: u64) -> Result<Self, String> {
        if self.inode == meant { Ok(self) } else { Err(TAKEN_BACK.to_owned()) }
    }

    /// Whether it still stands. A new daemon that finds nobody listening puts another file in this one's place before it looks again: so either it
    /// finds the shim, or the shim finds that it has come too late.
    pub(crate) fn stands(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|now| now.ino() == self.inode)
    }
}

/// The spawner's pipe, if there is one: a shim started by hand has none. Whatever else the spawner has left open is closed: it would stay
/// open for as long as the container lives.
#[expect(unsafe_code, reason = "descriptors inherited by number")]
fn report_pipe() -> Option<File> {
    // SAFETY: nothing has been opened yet that could own one of these.
    unsafe { libc::close_range(REPORT.cast_unsigned() + 1, libc::c_uint::MAX, 0) };
    // SAFETY: asks for the flags of a number, open or not.
    let flags = unsafe { libc::fcntl(REPORT, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: the number is open, and nothing has been opened before that could own it.
    let pipe = unsafe { OwnedFd::from_raw_fd(REPORT) };
    // Without this, everything that is ever started would hold the spawner's pipe open.
    rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(File::from(pipe))
}

/// A line on standard error, which the runtime has sent to the shim's own log.
pub(crate) fn note(message: fmt::Arguments<'_>) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stderr(), "{} remora-shim: {message}", timestamp::rfc3339_nano(timestamp::now()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_shim_protocol::{CgroupPaths, LowLevelRuntime, StdioConfig};

    #[test]
    fn an_order_stands_until_another_file_is_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim.json");
        let config = ShimConfig {
            container_id: "c".into(),
            bundle: "/b".into(),
            socket: "/b/s".into(),
            start_record: "/d/start.json".into(),
            exit_record: "/d/exit.json".into(),
            runtime: LowLevelRuntime { path: "/r".into(), root: "/state".into(), args: Vec::new() },
            stdio: StdioConfig::default(),
            log_path: None,
            log_limit: None,
            cgroups: CgroupPaths::default(),
            replay_bytes: 0,
            limits: None,
        };
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let order = Order::read(&path).unwrap();
        assert_eq!(order.config, config);
        assert!(order.stands());
        let inode = order.inode;
        remora_sys::file::write_durably(&path, &serde_json::to_vec(&config).unwrap(), 0o600).unwrap();
        assert!(!order.stands());
        // One who reads it only now knows by its number that it is another.
        let late = Order::read(&path).unwrap();
        assert!(late.stands());
        assert_eq!(late.of_inode(inode).err().as_deref(), Some(TAKEN_BACK));
        std::fs::remove_file(&path).unwrap();
        assert!(!order.stands());
    }
}
