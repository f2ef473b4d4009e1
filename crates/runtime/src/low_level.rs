//! The low-level runtime, where no shim is there to call it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use remora_shim_protocol::LowLevelRuntime;
use remora_sys::process::PidFd;

use crate::task::blocking;
use crate::{Error, Inner, record};

impl Inner {
    /// How a shim is to call the low-level runtime of a handler.
    pub(crate) fn low_level(&self, handler: &str) -> Result<LowLevelRuntime, Error> {
        let found = self.handlers.get(handler).ok_or_else(|| Error::Handler(handler.to_owned()))?;
        Ok(LowLevelRuntime { path: found.path.clone(), root: self.paths.low_level(handler), args: found.args.clone() })
    }

    /// Has the low-level runtime forget a container, by force. One that it does not know is no error.
    pub(crate) async fn delete_low_level(&self, handler: &str, id: &str) -> Result<(), Error> {
        let runtime = self.low_level(handler)?;
        let id = id.to_owned();
        blocking(move || delete(&runtime, &id)).await
    }
}

/// Ends the processes of a low-level runtime that are still at work on a bundle: their shim, whose children they were, is gone, and what they
/// start would be nobody's. They are known by their command line, and need not be in the container's cgroup yet.
pub(crate) fn end_creators(runtime: &Path, bundle: &Path) -> Result<(), Error> {
    const KILL: i32 = 9;
    loop {
        let mut dying = Vec::new();
        for pid in creators(runtime, bundle)? {
            if let Some(handle) = PidFd::open(pid)? {
                handle.send_signal(KILL)?;
                dying.push(handle);
            }
        }
        if dying.is_empty() {
            return Ok(());
        }
        dying.iter().try_for_each(PidFd::wait_ended)?;
    }
}

fn creators(runtime: &Path, bundle: &Path) -> Result<Vec<i32>, Error> {
    let all = record::folders(Path::new("/proc"))?;
    let pids = all.iter().filter_map(|name| name.parse::<i32>().ok());
    let at_work = |pid: &i32| {
        // One that has ended meanwhile, or is a zombie, has no command line.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.first() == Some(&runtime.as_os_str().as_bytes())
            && words.windows(2).any(|pair| pair == [b"--bundle", bundle.as_os_str().as_bytes()])
    };
    Ok(pids.filter(at_work).collect())
}

/// As [`Inner::delete_low_level`], on this thread.
pub(crate) fn delete(runtime: &LowLevelRuntime, id: &str) -> Result<(), Error> {
    let mut command = Command::new(&runtime.path);
    command.args(&runtime.args).arg("--root").arg(&runtime.root).args(["delete", "--force", id]);
    let output = command.stdin(Stdio::null()).output().map_err(crate::error::failed("run", &runtime.path))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Error::Start(format!("{} delete: {said}", runtime.path.display())))
        }
    }
}
