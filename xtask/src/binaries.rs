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
    /// again. So for the quick builds it is always the whole workspace with an example, which brings the features of
    /// dev-dependencies, as `cargo test --workspace` and clippy have it; what is measured has the features that users get.
    fn selection<'a>(self, packages: &[&'a str]) -> Vec<&'a str> {
        match self {
            Profile::Dev => vec!["--workspace", "--example", DEMO_IMAGES],
            Profile::Release => {
                std::iter::once("--release").chain(packages.iter().flat_map(|name| ["-p", name])).collect()
            }
        }
    }
}

/// The example of `remora-images` that makes the demo's images.
const DEMO_IMAGES: &str = "demo_images";

/// Names a folder with all programs of a node and of the demo: nothing is built then. For machines that are to run what others have built,
/// such as `vm`'s.
pub(crate) const BUILT: &str = "REMORA_XTASK_BUILT";

/// The folder that [`BUILT`] names.
pub(crate) fn built_folder() -> Option<PathBuf> {
    std::env::var_os(BUILT).map(PathBuf::from)
}

/// Builds the daemon, its shim and its creator, side by side in one folder, and returns the daemon's path.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    if let Some(folder) = built_folder() {
        return Ok(folder.join("remora"));
    }
    let programs = ["remora", "remora-shim", "remora-create"];
    let mut arguments = profile.selection(&programs);
    arguments.extend(programs.iter().flat_map(|name| ["--bin", name]));
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

/// Builds the program that makes the toolbox image, and returns its path.
pub(crate) fn build_toolbox_maker() -> Result<PathBuf> {
    if let Some(folder) = built_folder() {
        return Ok(folder.join("toolbox_image"));
    }
    build_tool(Profile::Dev, "remora-images", "--example", "toolbox_image")
}

/// Builds one of the programs that measure or torment a node, and returns its path.
pub(crate) fn build_test_program(profile: Profile, name: &str) -> Result<PathBuf> {
    if let Some(folder) = built_folder() {
        return Ok(folder.join(name));
    }
    build_tool(profile, "remora-tests", "--bin", name)
}

fn build_tool(profile: Profile, package: &str, kind: &str, name: &str) -> Result<PathBuf> {
    let mut arguments = profile.selection(&[package]);
    arguments.extend([kind, name]);
    cargo_build(&arguments)?
        .into_iter()
        .find(|p| p.file_stem().is_some_and(|f| f == name))
        .with_context(|| format!("cargo built no {name}"))
}

/// A built test program.
pub(crate) struct TestProgram {
    /// Its target's name: `root_kernel`, or the library's for unit tests.
    pub(crate) name: String,
    /// Its crate's folder, in which cargo runs it.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) path: PathBuf,
}

/// Builds test programs of these names, or all tests, those in programs and libraries too, and runs none.
pub(crate) fn build_tests(only: &[String]) -> Result<Vec<TestProgram>> {
    let mut arguments = vec!["--workspace", "--no-run"];
    arguments.extend(only.iter().flat_map(|name| ["--test", name]));
    let built = cargo("test", &arguments)?;
    let programs = built.into_iter().filter_map(|message| {
        let folder = message.manifest_path?.parent()?.to_owned();
        let path = message.executable.filter(|_| message.profile.is_some_and(|profile| profile.test))?;
        Some(TestProgram { name: message.target?.name, folder, path })
    });
    Ok(programs.collect())
}

/// The folder that cargo builds into.
pub(crate) fn target_folder() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let text = host::read(host::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    Ok(serde_json::from_str::<Metadata>(&text)?.target_directory)
}

/// What we read of cargo's messages; most of them are about something else.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<BuiltProfile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct BuiltProfile {
    test: bool,
}

fn cargo_build(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let built = cargo("build", arguments)?;
    Ok(built.into_iter().filter_map(|message| message.executable).collect())
}

fn cargo(subcommand: &str, arguments: &[&str]) -> Result<Vec<Message>> {
    let mut command = host::cargo();
    command.arg(subcommand).args(arguments).args(["--message-format", "json-render-diagnostics"]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", host::words(&command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", host::words(&command), output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}
