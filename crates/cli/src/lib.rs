//! Remora's command line: one file per command, parsing and printing only.
//!
//! [`Cli`] is parsed by the binary. Commands that run a node (`up`, `down`) or open its store are only parsed here and carried out by
//! the binary, which alone knows the services; all others are carried out by [`run`], against any kubeconfig or, for images and
//! status, against the control socket of a node on this machine ([`control`]).

#![forbid(unsafe_code)]

mod beside;
mod cluster;
mod commands;
pub mod control;
mod error;
pub mod kubeconfig;
mod output;
mod program;
mod record;
mod resource;
mod table;
mod terminal;
mod witness;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use commands::down::DownArgs;
pub use commands::store::{StoreArgs, StoreCommand, StoreCommandArgs, WhichStore};
pub use commands::up::{CgroupDriverArg, MirrorArg, UpArgs};
pub use error::{CommandError, Kind};
pub use output::{print_error, print_line};

/// A Kubernetes node in one process, and the best way into its pods.
#[derive(Debug, Parser)]
#[command(name = "remora", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Which cluster to talk to.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace a command means.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or that of the node on this machine].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The namespace [default: that of the context].
    #[arg(long, short, global = true)]
    pub namespace: Option<String>,
    /// Do it as this user, whom you may impersonate: `jane`, `system:serviceaccount:NAMESPACE:NAME`.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// And as a member of this group. May be repeated.
    #[arg(long, global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,
}

/// Where a node on this machine keeps its things.
#[derive(Clone, Debug, Args)]
pub struct NodeDirs {
    /// Durable data: objects, images, containers, keys.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/remora", env = "REMORA_DATA_DIR")]
    pub data_dir: PathBuf,
    /// What lives as long as the machine runs: sockets, namespaces, mounts.
    #[arg(long, value_name = "DIR", default_value = "/run/remora", env = "REMORA_RUN_DIR")]
    pub run_dir: PathBuf,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node on this machine (needs root).
    Up(Box<UpArgs>),
    /// End the node, its pods, and everything that it made on this machine; its data stays.
    Down(DownArgs),
    /// Show whether a node runs on this machine, and how it is.
    Status(commands::status::StatusArgs),
    /// Print the node's kubeconfig, or add it to ~/.kube/config.
    Kubeconfig(commands::kubeconfig::KubeconfigArgs),
    /// Back up and restore the objects of a node.
    Store(Box<StoreCommandArgs>),
    /// Import, pull, list and remove images of the node on this machine.
    Image(commands::image::ImageArgs),
    /// Run an image as a pod.
    Run(commands::run::RunArgs),
    /// List objects, or show one.
    Get(commands::get::GetArgs),
    /// Run a command in a container.
    Exec(commands::exec::ExecArgs),
    /// Copy files into and out of containers, also of those without tar and shell.
    Cp(commands::cp::CpArgs),
    /// Print what a container has changed among its image's files.
    Diff(commands::diff::DiffArgs),
    /// Write a container's whole root as a tar archive.
    Export(commands::export::ExportArgs),
    /// Capture the packets of a pod's network, for Wireshark and its like.
    Capture(commands::capture::CaptureArgs),
    /// Take a process' memory, Java heap, or threads.
    Dump(commands::dump::DumpArgs),
    /// Add a tool container to a running pod and attach to it.
    Debug(Box<commands::debug::DebugArgs>),
    /// Play what `debug --record` has written.
    Play(commands::play::PlayArgs),
    /// Listen on local ports and carry connections to a pod's.
    PortForward(commands::port_forward::PortForwardArgs),
    /// Print a container's log.
    Logs(commands::logs::LogsArgs),
    /// Delete objects.
    Delete(commands::delete::DeleteArgs),
    /// Print the versions of this program and of the server.
    Version(commands::version::VersionArgs),
    /// Print a completion script for a shell.
    Completion(commands::completion::CompletionArgs),
}

/// Carries out a command other than `up`, `down` and `store`.
///
/// # Errors
/// [`CommandError`] with a sentence and, where there is one, a remedy; `up`, `down` and `store` are refused, the binary's work.
pub async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let cluster = &cli.cluster;
    match cli.command {
        Command::Up(_) | Command::Down(_) | Command::Store(_) => {
            Err(CommandError::usage("up, down and store are carried out by the binary"))
        }
        Command::Status(args) => commands::status::run(args).await,
        Command::Kubeconfig(args) => commands::kubeconfig::run(&args),
        Command::Image(args) => commands::image::run(args).await,
        Command::Run(args) => commands::run::run(cluster, args).await,
        Command::Get(args) => commands::get::run(cluster, args).await,
        Command::Exec(args) => commands::exec::run(cluster, args).await,
        Command::Cp(args) => commands::cp::run(cluster, args).await,
        Command::Diff(args) => commands::diff::run(cluster, args).await,
        Command::Export(args) => commands::export::run(cluster, args).await,
        Command::Capture(args) => commands::capture::run(cluster, args).await,
        Command::Dump(args) => commands::dump::run(cluster, args).await,
        Command::Debug(args) => commands::debug::run(cluster, *args).await,
        Command::Play(args) => commands::play::run(args).await,
        Command::PortForward(args) => commands::port_forward::run(cluster, args).await,
        Command::Logs(args) => commands::logs::run(cluster, args).await,
        Command::Delete(args) => commands::delete::run(cluster, args).await,
        Command::Version(args) => commands::version::run(cluster, &args).await,
        Command::Completion(args) => commands::completion::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_each_tool_tells_all_of_it() {
        let mut remora = Cli::command().term_width(110);
        remora.build();
        for name in ["capture", "cp", "diff", "dump", "export"] {
            let command = remora.find_subcommand_mut(name).unwrap();
            insta::assert_snapshot!(name, command.render_help());
        }
    }

    #[test]
    fn everything_after_two_dashes_is_the_command() {
        let cli = Cli::try_parse_from(["remora", "exec", "-it", "web", "-n", "prod", "--", "ls", "-n"]).unwrap();
        assert_eq!(cli.cluster.namespace.as_deref(), Some("prod"));
        let Command::Exec(args) = cli.command else { panic!("parsed as another command") };
        assert_eq!((args.stdin, args.tty, args.command), (true, true, vec!["ls".to_owned(), "-n".to_owned()]));
    }
}
