//! Small words about this machine: running programs, printing, where things are.

use std::fmt::Display;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Output};

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Result, on standard output.
pub(crate) fn print(line: impl Display) {
    // A reader that is gone cannot be told so.
    let _gone = writeln!(std::io::stdout(), "{line}");
}

/// Talk, on standard error.
pub(crate) fn say(line: impl Display) {
    let _gone = writeln!(std::io::stderr(), "{line}");
}

/// Cargo, in the checkout, as if one had typed it.
///
/// What `cargo run` told us of our own package is not passed on: build scripts that look at such variables (ring's) would take each
/// call from here for another environment than a call by hand, and everything above them would be compiled again, each time.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program with our own streams; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", words(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", words(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; on failure the error carries what it said.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", words(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", words(command), output.status, said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Everything that a program said, for an error message.
pub(crate) fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    both.join("\n").trim().to_owned()
}

/// The command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A child's exit status as our own: signals as shells show them.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Whether we may make namespaces and containers.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Finds a program in `$PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}

/// Start time of a process in clock ticks since boot: with its pid it names it.
pub(crate) fn process_start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    // Field 22 of proc(5), counted from the third, which comes first here.
    after_name.split(' ').nth(19)?.parse().ok()
}

/// A folder for what a task of this clone makes, the same each time: what a killed run has left is found again by the next, and two clones do not
/// stop each other's nodes.
pub(crate) fn folder_of_clone(task: &str) -> PathBuf {
    let mut hasher = std::hash::DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    PathBuf::from(format!("/var/tmp/remora-{task}-{:08x}", hasher.finish() & 0xffff_ffff))
}
