//! `cargo xtask client`: makes a client of another language ready to run, of the versions that its folder in `tests/clients` pins, and prints its
//! command, a word a line. What it needs is kept in a folder of the user's cache, named after what it was made of.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ValueEnum;

use crate::host;
use crate::made::{Failure, Made, cached, copy, fetch, go_command, program};

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
            let made = cached("clients", &source, |folder| python(&source, folder))?;
            Ok(vec![text(made.join("bin/python")), text(source.join("clients.py"))])
        }
        Language::Go => {
            let source = source("go");
            let made = cached("clients", &source, |folder| go(&source, folder))?;
            Ok(vec![text(made.join("clients"))])
        }
        Language::Node => {
            let source = source("node");
            let made = cached("clients", &source, |folder| node(&source, folder))?;
            Ok(vec!["node".to_owned(), text(made.join("clients.js"))])
        }
    }
}

fn source(language: &str) -> PathBuf {
    host::root().join("tests/clients").join(language)
}

fn python(source: &Path, folder: &Path) -> Made<()> {
    fetch(Command::new(program("python3", "python3-venv")?).args(["-m", "venv"]).arg(folder))?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]);
    fetch(install.arg(source.join("requirements.txt")))
}

fn go(source: &Path, folder: &Path) -> Made<()> {
    let go = program("go", "golang-go")?;
    fetch(go_command(&go, source).args(["mod", "download"]))?;
    Ok(host::read(go_command(&go, source).args(["build", "-o"]).arg(folder.join("clients"))).map(drop)?)
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
