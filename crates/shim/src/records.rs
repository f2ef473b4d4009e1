//! What the shim leaves on disk, and what it tells the one who spawned it.

use std::fs::File;
use std::io::Write;

use std::path::Path;

use remora_shim_protocol::{ExitRecord, Failure, Report, ShimConfig, StartRecord, copy_of, seal};
use remora_sys::file::write_durably;
use rustix::process::WaitStatus;

use crate::shim::chain;
use crate::timestamp::now;

/// Written before anybody is told that the container runs.
///
/// # Errors
/// Neither the record nor its copy could be written.
pub(crate) fn write_start(config: &ShimConfig, record: &StartRecord) -> remora_sys::Result<()> {
    write(&config.start_record, &config.bundle, &sealed(record))
}

/// Written before anybody is told that the container has ended.
///
/// # Errors
/// As [`write_start`].
pub(crate) fn write_exit(config: &ShimConfig, record: &ExitRecord) -> remora_sys::Result<()> {
    write(&config.exit_record, &config.bundle, &sealed(record))
}

/// On the disk, and beside the socket: a full or failing disk shall not make a lie of how a container ended. One of the two is enough.
fn write(path: &Path, bundle: &Path, bytes: &[u8]) -> remora_sys::Result<()> {
    let durable = write_durably(path, bytes, 0o600);
    let copy = write_durably(&copy_of(path, bundle), bytes, 0o600);
    match (durable, copy) {
        (Err(error), Ok(())) => {
            crate::note(format_args!("only the copy of a record could be written: {}", chain(&error)));
            Ok(())
        }
        (durable, _) => durable,
    }
}

/// Tells the spawner, once, and closes the pipe. Whether it still listens is its business: the container goes on without it.
pub(crate) fn report(pipe: &mut Option<File>, report: &Report) {
    if let Some(mut pipe) = pipe.take()
        && let Err(error) = pipe.write_all(&serde_json::to_vec(report).expect(PLAIN))
    {
        crate::note(format_args!("nobody took the report of the start: {error}"));
    }
}

const PLAIN: &str = "records have string keys and finite numbers";

fn sealed(record: &impl serde::Serialize) -> Vec<u8> {
    seal(record).expect(PLAIN)
}

/// The record of a container that could not be started. Source of the code: containerd's, which Kubernetes shows unchanged.
pub(crate) fn failed_start(failure: &Failure) -> ExitRecord {
    const START_FAILED: i32 = 128;
    ExitRecord {
        exit_code: START_FAILED,
        signal: None,
        oom_killed: false,
        started_at: None,
        finished_at: now(),
        expired: None,
        failure: Some(failure.message.clone()),
    }
}

/// A process's exit code, and the signal that ended it.
pub(crate) fn exit_code(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
