//! `cargo xtask vm`: a virtual machine with what this machine may lack: the unified cgroup hierarchy (v2) and Debian's stock kernel.
//!
//! ```text
//! kernel     Debian's package, unpacked into a folder of ours; nothing is installed
//! machine    QEMU without network: the host's files read-only, a scratch disk for all that is written, a console
//! tests      built here, run there
//! ```
//!
//! The programs and tests are those of the host, at the same paths; the machine is gone when its job ends, and so is all that was written.

mod chaos;
mod kernel;
mod machine;
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;

use self::machine::{Init, Job};
use crate::{host, setup};

/// Tasks of `cargo xtask vm`.
#[derive(Subcommand)]
pub(crate) enum VmTask {
    /// Build the root tests here and run them in the virtual machine.
    Test(tests::TestArgs),
    /// Random kills and disk faults under load, in the virtual machine.
    Chaos(chaos::ChaosArgs),
    /// Run a command in a new virtual machine, in the current folder. What it writes is lost, except to the terminal.
    In {
        /// With Debian's systemd as the machine's process 1.
        #[arg(long)]
        systemd: bool,
        /// The command, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What the machine is made of, and what only its tests use.
const PACKAGES: [(&str, &str); 9] = [
    ("qemu-system-x86", "the machine"),
    ("kmod", "finds the kernel's modules"),
    ("busybox-static", "the first programs that run"),
    ("e2fsprogs", "the scratch disk"),
    ("crun", "a low-level runtime that needs cgroup v2"),
    ("util-linux", "setpriv, setsid"),
    ("systemd", "process 1 of the machines that have it"),
    ("dbus", "the bus on which systemd is asked"),
    ("apparmor", "compiles AppArmor profiles"),
];

pub(crate) fn run(task: VmTask) -> Result<ExitCode> {
    if !host::is_root() {
        bail!("the virtual machine reads the host's files and runs tests as root: run this as root");
    }
    setup::install(&PACKAGES)?;
    match task {
        VmTask::Test(args) => tests::run(&args),
        VmTask::Chaos(args) => chaos::run(&args),
        VmTask::In { systemd, command } => enter(Init::new(systemd), &command),
    }
}

fn enter(init: Init, command: &[String]) -> Result<ExitCode> {
    let folder = std::env::current_dir()?;
    let script = format!("cd {}\nexec {}\n", quoted(&folder.to_string_lossy()), words(command));
    let shown = vec![folder, crate::binaries::target_folder()?];
    let status = machine::run(&Job { script, shown, init })?;
    Ok(ExitCode::from(status))
}

/// Words of a shell command line.
fn words(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// One word for a shell, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where kernels are kept and runs have their folders.
fn home() -> PathBuf {
    PathBuf::from("/var/tmp/remora-vm")
}
