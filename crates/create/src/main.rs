//! `remora-create`: makes or enters a container, then ends. Its command line is the one that OCI runtimes share (runc's), so that the
//! shim can call runc or crun in its place.
//!
//! Short-lived and single-threaded, and the only user of libcontainer, which clones its caller. It does not supervise: whoever spawns it is
//! a subreaper and becomes the parent of what it has started. Called by `remora-shim`, and by people who look into a node's state.

mod ahead;
mod arguments;
mod container;
mod devices;
mod error;
mod exec;
mod executor;
mod program;
mod seal;
mod spec;
mod terminal;

use std::process::ExitCode;

use crate::arguments::{Arguments, Command};
use crate::error::Error;

fn main() -> ExitCode {
    let words = match ahead::words(std::env::args_os().skip(1).collect()) {
        Ok(Some(words)) => words,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return error::report(None, &error),
    };
    let arguments = match Arguments::parse(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(error) => return error::report(None, &error),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(arguments.log.as_ref(), &error),
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let root = &arguments.root;
    match &arguments.command {
        Command::Create(create) => {
            seal::protect_own_binary()?;
            container::create(root, create).map(drop).map_err(|error| error.context("remora-create create failed"))
        }
        Command::Run(create) => {
            seal::protect_own_binary()?;
            container::run(root, create).map_err(|error| error.context("remora-create run failed"))
        }
        Command::Exec(request) => {
            seal::protect_own_binary()?;
            exec::exec(root, request).map_err(|error| error.context("exec failed"))
        }
        Command::Start { id } => container::start(root, id),
        Command::Kill { id, signal, all } => container::kill(root, id, *signal, *all),
        Command::Delete { id, force } => container::delete(root, id, *force),
        Command::State { id } => container::print_state(root, id),
    }
}
