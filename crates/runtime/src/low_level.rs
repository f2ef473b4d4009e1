//! The low-level runtime, where no shim is there to call it.

use std::process::{Command, Stdio};

use remora_shim_protocol::LowLevelRuntime;

use crate::task::blocking;
use crate::{Error, Inner};

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
