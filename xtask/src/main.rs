//! The one door for people and machines: `cargo xtask demo | test | bench | chaos | conform | node | client | image | vm | setup | tidy`.
//!
//! It installs what is missing, builds, makes images and network namespaces, and starts the programs that the work is
//! about. It is no part of what users get, and depends on none of our crates, so that it builds in seconds.

mod bench;
mod binaries;
mod chaos;
mod clients;
mod conform;
mod demo;
mod disk;
mod host;
mod images;
mod made;
mod netns;
mod node;
mod registry;
mod session;
mod setup;
mod test;
mod tidy;
mod toolbox;
mod upstream;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, try, test and measure Remora.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that building and trying need (as root).
    Setup,
    /// Start a node in a scratch folder, run the session of ephemeral containers, print it, clean up.
    Demo,
    /// All tests: logic, contracts, real containers, stock kubectl.
    Test(test::TestArgs),
    /// Measure, and print medians.
    Bench(bench::BenchArgs),
    /// Random kills and disk faults under load, an invariant checker after each; prints `N passed, N failed`.
    Chaos(chaos::ChaosArgs),
    /// Hold any cluster against real Kubernetes: recorded answers, behaviours of pods, upstream's own suite; prints `N passed, N failed`.
    Conform(conform::ConformArgs),
    /// A node for tests and benchmarks, in a network namespace of its own.
    #[command(subcommand)]
    Node(NodeTask),
    /// Make a client of another language ready to run and print its command, a word a line; exit status 77 if it cannot be had here.
    Client {
        /// Which one.
        language: clients::Language,
    },
    /// The toolbox image for `remora debug`, of Debian's packages: an OCI layout, ready to be pushed, and an archive for `remora image import`.
    Image(toolbox::ImageArgs),
    /// A virtual machine with cgroup v2 and Debian's kernel.
    #[command(subcommand)]
    Vm(vm::VmTask),
    /// Formatting and lints, as CI judges them.
    Tidy,
}

#[derive(Subcommand)]
enum NodeTask {
    /// Start it, with the demo's registry and images; the last line printed is the kubeconfig's path.
    Start {
        /// Where it keeps everything.
        #[arg(long, default_value = node::DEFAULT_DIR)]
        dir: PathBuf,
        /// An optimized build, as users run it and benchmarks measure it.
        #[arg(long)]
        release: bool,
        /// Arguments for `remora up`, after `--`.
        #[arg(last = true)]
        up: Vec<String>,
    },
    /// Run a command in its network namespace, with its kubeconfig in KUBECONFIG.
    In {
        /// As given to `start`.
        #[arg(long, default_value = node::DEFAULT_DIR)]
        dir: PathBuf,
        /// The command, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End it and leave nothing behind.
    Stop {
        /// As given to `start`.
        #[arg(long, default_value = node::DEFAULT_DIR)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            host::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Setup => setup::install_missing()?,
        Task::Demo => demo::run()?,
        Task::Test(args) => test::run(&args)?,
        Task::Bench(args) => bench::run(&args)?,
        Task::Chaos(args) => chaos::run(&args)?,
        Task::Conform(args) => return conform::run(&args),
        Task::Tidy => tidy::run()?,
        Task::Client { language } => return clients::run(language),
        Task::Image(args) => return toolbox::run(&args),
        Task::Vm(task) => return vm::run(task),
        Task::Node(NodeTask::Start { dir, release, up }) => {
            let profile = if release { binaries::Profile::Release } else { binaries::Profile::Dev };
            let node = node::start(&dir, profile, &up)?;
            host::print(node.kubeconfig().display());
        }
        Task::Node(NodeTask::In { dir, command }) => {
            let status = node::load(&dir)?.command(&command)?.status()?;
            return Ok(host::exit_code(status));
        }
        Task::Node(NodeTask::Stop { dir }) => node::stop(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}
