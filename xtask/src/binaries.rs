//! Builds our programs and says where they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::host;

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// As users run it.
    Release,
}

impl Profile {
    /// Cargo's arguments for it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Profile::Dev => &[],
            Profile::Release => &["--release"],
        }
    }
}

/// The built programs, side by side in one folder.
pub(crate) struct Binaries {
    /// `remora`
    pub(crate) remora: PathBuf,
}

impl Binaries {
    /// Where `remora-shim` and `remora-create` are.
    pub(crate) fn folder(&self) -> &Path {
        self.remora.parent().unwrap_or(Path::new("."))
    }
}

/// Builds the daemon, its shim and its creator.
pub(crate) fn build(profile: Profile) -> Result<Binaries> {
    let packages = ["-p", "remora", "-p", "remora-shim", "-p", "remora-create"];
    let built = cargo_build(profile, &packages)?;
    let find = |name: &str| {
        let found = built.iter().find(|path| path.file_name().is_some_and(|file| file == name));
        found.cloned().with_context(|| format!("cargo built no {name}"))
    };
    find("remora-shim")?;
    find("remora-create")?;
    Ok(Binaries { remora: find("remora")? })
}

/// Builds one example or program of the workspace and returns its path.
pub(crate) fn build_tool(profile: Profile, package: &str, kind: &str, name: &str) -> Result<PathBuf> {
    let built = cargo_build(profile, &["-p", package, kind, name])?;
    built
        .into_iter()
        .find(|p| p.file_stem().is_some_and(|f| f == name))
        .with_context(|| format!("cargo built no {name}"))
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn cargo_build(profile: Profile, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(host::root()).arg("build").args(profile.arguments()).args(arguments);
    command.args(["--message-format", "json-render-diagnostics"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", host::words(&command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", host::words(&command), output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable).collect())
}
