//! Builds our programs and says where they are.

use std::path::PathBuf;
use std::process::Stdio;

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
    /// Cargo's arguments for it, and for which packages.
    ///
    /// Features of dependencies are unified over all packages that are selected, and another selection compiles half of them
    /// again. So for the quick builds it is always the whole workspace, as `cargo test --workspace` and clippy have it; what is
    /// measured has the features that users get.
    fn selection<'a>(self, packages: &[&'a str]) -> Vec<&'a str> {
        match self {
            Profile::Dev => vec!["--workspace"],
            Profile::Release => {
                std::iter::once("--release").chain(packages.iter().flat_map(|name| ["-p", name])).collect()
            }
        }
    }
}

/// The example of `remora-images` that makes the demo's images.
const DEMO_IMAGES: &str = "demo_images";

/// Builds the daemon, its shim and its creator, side by side in one folder, and returns the daemon's path.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let programs = ["remora", "remora-shim", "remora-create"];
    let mut arguments = profile.selection(&programs);
    arguments.extend(programs.iter().flat_map(|name| ["--bin", name]));
    if profile == Profile::Dev {
        // An example brings the features of dev-dependencies, which it needs when it is built next.
        arguments.extend(["--example", DEMO_IMAGES]);
    }
    let built = cargo_build(&arguments)?;
    let find = |name: &str| {
        let found = built.iter().find(|path| path.file_name().is_some_and(|file| file == name));
        found.cloned().with_context(|| format!("cargo built no {name}"))
    };
    find("remora-shim")?;
    find("remora-create")?;
    find("remora")
}

/// Builds the program that makes and pushes the demo's images, and returns its path.
pub(crate) fn build_image_pusher(profile: Profile) -> Result<PathBuf> {
    build_tool(profile, "remora-images", "--example", DEMO_IMAGES)
}

/// Builds the program that measures sessions, and returns its path.
pub(crate) fn build_session_bench() -> Result<PathBuf> {
    build_tool(Profile::Release, "remora-tests", "--bin", "bench-session")
}

fn build_tool(profile: Profile, package: &str, kind: &str, name: &str) -> Result<PathBuf> {
    let mut arguments = profile.selection(&[package]);
    arguments.extend([kind, name]);
    cargo_build(&arguments)?
        .into_iter()
        .find(|p| p.file_stem().is_some_and(|f| f == name))
        .with_context(|| format!("cargo built no {name}"))
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn cargo_build(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let mut command = host::cargo();
    command.arg("build").args(arguments);
    command.args(["--message-format", "json-render-diagnostics"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", host::words(&command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", host::words(&command), output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable).collect())
}
