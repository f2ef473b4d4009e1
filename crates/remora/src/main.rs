//! The `remora` program: parses arguments and joins the parts. It holds no logic: what a pod becomes is decided elsewhere.
//!
//! | role | where |
//! |---|---|
//! | `remora up` | [`up`], which starts a [`daemon`] here or in the background |
//! | `remora down` | [`down`] |
//! | `remora store` | [`store`] |
//! | everything else | `remora_cli` |

#![forbid(unsafe_code)]

mod access;
mod control;
mod daemon;
mod down;
mod place;
mod preflight;
mod report;
mod store;
mod up;

use std::process::ExitCode;

use clap::Parser;
use remora_cli::{Cli, Command, CommandError};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            remora_cli::print_error(&error);
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    match cli.command {
        Command::Up(args) if args.detach => up::in_background(&args),
        Command::Up(args) => up::in_foreground(*args),
        Command::Down(args) => down::run(&args),
        Command::Store(args) => on_one_thread(store::run(&args)),
        _ => on_one_thread(remora_cli::run(cli)),
    }
}

/// A command line needs one thread. It is left at once when the command is done: a read of standard input may still wait.
fn on_one_thread<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::caused("starting", &error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
