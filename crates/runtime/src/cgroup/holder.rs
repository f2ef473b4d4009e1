//! The process that keeps a container's scope alive: see `remora-shim`'s `hold`.

use std::fs;
use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::process::Child;

use super::names;
use crate::Error;
use crate::error::failed;

/// A holder that ends, with the value, unless it is told to [stay](Holder::stay).
pub(super) struct Holder {
    child: Child,
    stay: PipeWriter,
}

impl Holder {
    pub(super) fn start(program: &Path) -> Result<Self, Error> {
        let wrong = || failed("start", program);
        let (input, stay) = io::pipe().map_err(wrong())?;
        let mut command = Command::new(program);
        command.arg("hold").current_dir("/").stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
        let child = tokio::process::Command::from(command).spawn().map_err(wrong())?;
        Ok(Holder { child, stay })
    }

    pub(super) fn pid(&self) -> u32 {
        // None only of one that was waited for.
        self.child.id().unwrap_or_default()
    }

    /// Moves it out of the way, in a scope that systemd has put it into, and lets it live on: only a cgroup without processes of its own can hand
    /// controllers down.
    ///
    /// # Errors
    /// The scope is not this holder's: it was there already, with another process.
    pub(super) fn stay(mut self, scope: &Path) -> Result<(), Error> {
        let members = scope.join("cgroup.procs");
        let pids = fs::read_to_string(&members).map_err(failed("read", &members))?;
        if !pids.lines().any(|pid| pid == self.pid().to_string()) {
            return Err(failed("use", scope)(io::Error::other(
                "it was made for another process: stop it with systemctl",
            )));
        }
        let folder = names::holder(scope);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let procs = folder.join("cgroup.procs");
        fs::write(&procs, self.pid().to_string()).map_err(failed("write", &procs))?;
        self.stay.write_all(b"!").map_err(failed("write to the holder of", scope))?;
        // The daemon's to wait for as long as that lives; else it would stay as a zombie.
        tokio::spawn(async move { self.child.wait().await });
        Ok(())
    }
}
