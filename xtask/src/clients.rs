//! `cargo xtask client`: makes a client of another language ready to run, of the versions that its folder in `tests/clients` pins, and prints its
//! command, a word a line. What it needs is kept in a folder of the user's cache, named after what it was made of.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{host, setup};

/// Says that this machine cannot have it, as test harnesses do.
pub(crate) const CANNOT_BE_HAD: u8 = 77;
/// The first major version of Node.js that the client runs on.
const NODE: u32 = 20;

/// A language.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    /// The Python client, in a virtual environment.
    Python,
    /// client-go.
    Go,
    /// @kubernetes/client-node.
    Node,
}

/// Why there is no client.
enum Failure {
    /// A program or a package cannot be had here.
    Missing(anyhow::Error),
    /// What is ours is wrong.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

type Made<T> = Result<T, Failure>;

pub(crate) fn run(language: Language) -> Result<ExitCode> {
    match prepare(language) {
        Ok(words) => {
            words.iter().for_each(host::print);
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Missing(error)) => {
            host::say(format_args!("{error:#}"));
            Ok(ExitCode::from(CANNOT_BE_HAD))
        }
        Err(Failure::Broken(error)) => Err(error),
    }
}

/// The client's command.
fn prepare(language: Language) -> Made<Vec<String>> {
    let text = |path: PathBuf| path.display().to_string();
    match language {
        Language::Python => {
            let source = source("python");
            let made = cached(&source, |folder| python(&source, folder))?;
            Ok(vec![text(made.join("bin/python")), text(source.join("clients.py"))])
        }
        Language::Go => {
            let source = source("go");
            let made = cached(&source, |folder| go(&source, folder))?;
            Ok(vec![text(made.join("clients"))])
        }
        Language::Node => {
            let source = source("node");
            let made = cached(&source, |folder| node(&source, folder))?;
            Ok(vec!["node".to_owned(), text(made.join("clients.js"))])
        }
    }
}

fn source(language: &str) -> PathBuf {
    host::root().join("tests/clients").join(language)
}

/// The folder in the cache that was made of this source, or is made now; one that was made by half is never taken.
fn cached(source: &Path, make: impl FnOnce(&Path) -> Made<()>) -> Made<PathBuf> {
    let folder = cache()?.join(format!("{}-{:016x}", file_name(source), fingerprint(source)?));
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension(format!("{}", std::process::id()));
    std::fs::create_dir_all(&unfinished).context("making a folder in the cache")?;
    if let Err(failure) = make(&unfinished) {
        // It failed already; what is left is only in the way.
        let _left = std::fs::remove_dir_all(&unfinished);
        return Err(failure);
    }
    std::fs::rename(&unfinished, &folder).context("keeping what was made")?;
    Ok(folder)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn cache() -> Result<PathBuf> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(own.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("remora/clients"))
}

/// Of all files.
fn fingerprint(source: &Path) -> Result<u64> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(source)
        .with_context(|| format!("reading {}", source.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let content = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        (file_name(file), content).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// A program, from Debian if it is not there.
fn program(name: &str, package: &str) -> Made<PathBuf> {
    if host::find_program(name).is_none() {
        setup::install(&[(package, "a client of another language")]).map_err(Failure::Missing)?;
    }
    host::find_program(name).with_context(|| format!("there is no {name}")).map_err(Failure::Missing)
}

/// Runs what may fail for want of a network or a package.
fn fetch(command: &mut Command) -> Made<()> {
    host::read(command).map(drop).map_err(Failure::Missing)
}

fn python(source: &Path, folder: &Path) -> Made<()> {
    fetch(Command::new(program("python3", "python3-venv")?).args(["-m", "venv"]).arg(folder))?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]);
    fetch(install.arg(source.join("requirements.txt")))
}

fn go(source: &Path, folder: &Path) -> Made<()> {
    let go = program("go", "golang-go")?;
    let command = || {
        let mut command = Command::new(&go);
        // One that is older than the module asks for fetches a newer one.
        command.current_dir(source).env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly -buildvcs=false");
        command.env("CGO_ENABLED", "0");
        command
    };
    fetch(command().args(["mod", "download"]))?;
    Ok(host::read(command().args(["build", "-o"]).arg(folder.join("clients"))).map(drop)?)
}

fn node(source: &Path, folder: &Path) -> Made<()> {
    let version = host::read(Command::new(program("node", "nodejs")?).arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        return Err(Failure::Missing(anyhow::anyhow!("Node.js {NODE} is needed, this is {}", version.trim())));
    }
    // Modules are looked for beside the file that wants them.
    for file in ["package.json", "package-lock.json", "clients.js"] {
        copy(&source.join(file), &folder.join(file))?;
    }
    let mut install = Command::new(program("npm", "npm")?);
    fetch(install.current_dir(folder).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    match std::fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => bail!("copying {}: {error}", from.display()),
    }
}
