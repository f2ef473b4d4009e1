//! `remora kubeconfig`

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::output::print_raw;
use crate::{CommandError, NodeDirs};

/// Arguments of `remora kubeconfig`. To add the node's context to ~/.kube/config, use `remora up --merge`.
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    dirs: NodeDirs,
    /// Print the file's path instead of its content: `export KUBECONFIG=$(remora kubeconfig --path)`.
    #[arg(long)]
    path: bool,
}

pub(crate) fn run(args: &KubeconfigArgs) -> Result<ExitCode, CommandError> {
    let path = args.dirs.data_dir.join("kubeconfig");
    let text = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    if args.path {
        crate::print_line(path.display());
    } else {
        print_raw(&text);
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(path: &Path, error: &std::io::Error) -> CommandError {
    let failed = CommandError::caused(format_args!("reading {}", path.display()), error);
    match error.kind() {
        std::io::ErrorKind::NotFound => failed.hint("`sudo remora up` starts a node and writes it"),
        std::io::ErrorKind::PermissionDenied => failed.hint("it holds the admin's key: `sudo remora kubeconfig`"),
        _ => failed,
    }
}
