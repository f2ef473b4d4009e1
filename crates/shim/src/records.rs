//! What the shim leaves on disk, and what it tells the one who spawned it.

use std::fs::File;
use std::io::Write;

use remora_shim_protocol::{ExitRecord, Report, ShimConfig, StartRecord};
use remora_sys::file::write_durably;
use rustix::process::WaitStatus;

/// Written before anybody is told that the container runs.
pub(crate) fn write_start(config: &ShimConfig, record: &StartRecord) -> remora_sys::Result<()> {
    write_durably(&config.start_record, &json(record), 0o600)
}

/// Written before anybody is told that the container has ended.
pub(crate) fn write_exit(config: &ShimConfig, record: &ExitRecord) -> remora_sys::Result<()> {
    write_durably(&config.exit_record, &json(record), 0o600)
}

/// Tells the spawner, once, and closes the pipe. Whether it still listens is its business: the container goes on without it.
pub(crate) fn report(pipe: &mut Option<File>, report: &Report) {
    if let Some(mut pipe) = pipe.take()
        && let Err(error) = pipe.write_all(&json(report))
    {
        crate::note(format_args!("nobody took the report of the start: {error}"));
    }
}

fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and finite numbers")
}

/// A process's exit code, and the signal that ended it.
pub(crate) fn exit_code(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
