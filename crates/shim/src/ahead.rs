//! Started ahead, while the container is still being prepared: by the time that it can be started, this program and the creator are loaded.
//!
//! `remora-shim ahead RUNTIME BUNDLE LOG SHIM.JSON` waits at its standard input for the number (8 bytes) of the inode of the order, and goes on as if it had
//! been started with `SHIM.JSON` just then. If the input ends without it, nothing is to be started, or the daemon is gone; then it ends, has touched
//! nothing, and the creator with it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::low_level::{Creator, null};
use crate::note;

/// The order has come.
pub(crate) struct Called<'w> {
    /// None: it could not be started, or the runtime knows no waiting.
    pub(crate) creator: Option<Creator>,
    pub(crate) config: &'w Path,
    /// Of the order that is meant: see [`crate::Order`].
    pub(crate) inode: u64,
}

/// Waits for the order. `None`: there is none.
///
/// # Errors
/// One sentence.
pub(crate) fn wait(words: &[OsString]) -> Result<Option<Called<'_>>, String> {
    let [runtime, bundle, log, config] = words else {
        return Err("usage: remora-shim ahead RUNTIME BUNDLE LOG SHIM.JSON".to_owned());
    };
    let started = Creator::start(Path::new(runtime), Path::new(bundle));
    let mut inode = [0; 8];
    match std::io::stdin().read_exact(&mut inode) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(format!("cannot wait for the order: {error}")),
    }
    speak_into(Path::new(log)).map_err(|error| format!("cannot open {log:?}: {error}"))?;
    let creator = started.unwrap_or_else(|error| {
        note(format_args!("no creator could be started ahead: {error}"));
        None
    });
    Ok(Some(Called { creator, config: Path::new(config), inode: u64::from_le_bytes(inode) }))
}

/// Its own log, whose folder was not there before; and an input that nobody holds.
fn speak_into(log: &Path) -> std::io::Result<()> {
    let log = File::options().create(true).append(true).open(log)?;
    rustix::stdio::dup2_stdin(null()?)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}
