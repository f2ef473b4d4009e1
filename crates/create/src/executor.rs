//! The last step inside a new container: from libcontainer's process to the user's program.
//!
//! libcontainer calls [`Executor::validate`] while the container is being created and [`Executor::exec`] once it is started.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use crate::program::{self, find, reason};

/// Runs `process.args` in the words of runc.
#[derive(Clone)]
pub(crate) struct ProgramExecutor {
    /// Closed by a successful exec, or with the process: whoever holds the other end learns that "started" has become true.
    #[expect(dead_code, reason = "held to be closed")]
    executed: Arc<OwnedFd>,
}

impl ProgramExecutor {
    pub(crate) fn new(executed: OwnedFd) -> Self {
        Self { executed: Arc::new(executed) }
    }
}

impl Executor for ProgramExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = program(spec);
        let name = args.first().map_or("", String::as_str);
        find(name, env).map(drop).map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = program(spec);
        let name = args.first().map_or("", String::as_str);
        let path = find(name, env).map_err(|error| ExecutorError::Other(error.to_string()))?;
        // `exec` also gives SIGPIPE its default again, which the start of a Rust program has changed.
        let mut command = Command::new(&path);
        program::set_environment(&mut command, env, &home());
        let error = command.arg0(name).args(args.iter().skip(1)).exec();
        // The creator has gone already or is about to: the container's own standard error is the place where people look, as with runc.
        let sentence = format!("exec {}: {}", path.display(), reason(&error));
        let _ = writeln!(std::io::stderr(), "{sentence}");
        Err(ExecutorError::Other(sentence))
    }
}

/// libcontainer has put the user's home into our own environment, if the user is listed.
fn home() -> String {
    std::env::var("HOME").unwrap_or_else(|_| "/".to_owned())
}

fn program(spec: &Spec) -> (&[String], &[String]) {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().as_deref()).unwrap_or_default();
    let env = process.and_then(|process| process.env().as_deref()).unwrap_or_default();
    (args, env)
}
