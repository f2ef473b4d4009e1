//! Network namespaces for nodes under test: what they send stays in there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::host;

/// A network namespace by its name in /run/netns.
pub(crate) struct NetworkNamespace<'a>(pub(crate) &'a str);

impl NetworkNamespace<'_> {
    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.0)
    }

    /// Makes it, with loopback up. One that is there already is used.
    pub(crate) fn create(&self) -> Result<()> {
        if !self.path().exists() {
            host::run(Command::new("ip").args(["netns", "add", self.0]))?;
        }
        host::run(self.enter("ip").args(["link", "set", "lo", "up"]))
    }

    /// A command that runs inside. (`ip netns exec` would hide the cgroups.)
    pub(crate) fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Removes it; one that is gone is no error.
    pub(crate) fn remove(&self) -> Result<()> {
        if !self.path().exists() {
            return Ok(());
        }
        host::run(Command::new("ip").args(["netns", "delete", self.0]))
    }
}
