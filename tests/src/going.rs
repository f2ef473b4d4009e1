//! Commands that go on until they are no longer needed, and no longer than they may.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A command that is ended, with all that it has started, when this is dropped.
pub struct Going {
    /// None once it is waited for.
    child: Option<Child>,
    group: Pid,
    /// Its drop ends whoever watches over the time.
    _in_time: Option<Sender<()>>,
}

impl Going {
    /// Starts it, in a process group of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Going> {
        let child = command.process_group(0).spawn().context("starting the command")?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process has an id")?;
        Ok(Going { child: Some(child), group, _in_time: None })
    }

    /// The same, killed if it goes on for longer: its streams then end, and its status says so.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_within(command: &mut Command, limit: Duration) -> Result<Going> {
        let mut going = Self::start(command)?;
        let (in_time, ended) = mpsc::channel::<()>();
        let group = going.group;
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // One that has just ended by itself has no group that could be ended.
                let _ended_or_gone = kill_process_group(group, Signal::KILL);
            }
        });
        going._in_time = Some(in_time);
        Ok(going)
    }

    /// Its streams, and its end.
    ///
    /// # Panics
    /// Never: only [`Self::finish`] takes it away.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is taken by who owns this")
    }

    /// Waits for its end, with all that it says until then.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn finish(mut self) -> Result<Output> {
        let child = self.child.take().context("it has not been waited for")?;
        Ok(child.wait_with_output()?)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // One that has ended by itself, and been waited for, has no group that could be ended.
        if let Ok(None) = child.try_wait() {
            let _ended_or_gone = kill_process_group(self.group, Signal::KILL);
            let _reaped = child.wait();
        }
    }
}
