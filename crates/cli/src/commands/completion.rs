//! `remora completion`

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output::print_raw;
use crate::{Cli, CommandError};

/// Arguments of `remora completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell: source its script, for instance `source <(remora completion bash)`.
    shell: Shell,
}

pub(crate) fn run(args: &CompletionArgs) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "remora", &mut script);
    print_raw(&script);
    Ok(ExitCode::SUCCESS)
}
