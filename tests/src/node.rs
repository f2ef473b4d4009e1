//! The node under test and the clients that talk to it, inside its network namespace.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use remora_sys::namespace::{self, Kind};
use rexpect::session::PtySession;

/// How long a terminal may stay silent before a test counts as hung, in milliseconds.
const SILENCE: u64 = 60_000;

/// The exit status by which xtask says so.
const CANNOT_BE_HAD: i32 = 77;

/// A running node, started by `cargo xtask node start`.
pub struct TestNode {
    dir: PathBuf,
    xtask: PathBuf,
    remora: PathBuf,
}

impl TestNode {
    /// The node that xtask named, or none, said loudly.
    ///
    /// # Panics
    /// If there is none and `REMORA_REQUIRE_ROOT` is set: then a skip would be a lie.
    pub fn from_environment() -> Option<TestNode> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let node = (|| {
            Some(TestNode {
                dir: variable("REMORA_TEST_NODE")?,
                xtask: variable("REMORA_TEST_XTASK")?,
                remora: variable("REMORA_TEST_BINARY")?,
            })
        })();
        if node.is_none() {
            assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "no node to test: run `cargo xtask test`");
            say("SKIPPED: no node to test (REMORA_TEST_NODE is not set): run `cargo xtask test` as root");
        }
        node
    }

    /// Where the node keeps everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Remora's program.
    ///
    /// # Panics
    /// If its path is not UTF-8.
    pub fn remora_path(&self) -> &str {
        self.remora.to_str().expect("xtask builds below a UTF-8 path")
    }

    /// A program inside this node's network namespace.
    ///
    /// # Errors
    /// None yet; a namespace that is gone shows when the command runs.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(&self.xtask);
        command.args(["node", "in", "--dir"]).arg(&self.dir).args(["--", program]);
        Ok(command)
    }

    /// A connection to a port of the loopback inside this node's network namespace.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(&self, port: u16) -> Result<TcpStream> {
        Ok(self.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))??)
    }

    /// Works on a thread inside this node's network namespace.
    ///
    /// # Errors
    /// If the namespace is gone.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let record = std::fs::read(self.dir.join("node.json")).context("reading the node's record")?;
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        let name = record["netns"].as_str().context("the node has no network namespace")?;
        Ok(namespace::run_in(Kind::Net, &Path::new("/run/netns").join(name), work)?)
    }

    /// A program inside the network namespace of the node in another folder, on a terminal of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn terminal_in(&self, dir: &Path, words: &[&str]) -> Result<PtySession> {
        let mut command = Command::new(&self.xtask);
        command.args(["node", "in", "--dir"]).arg(dir).arg("--").args(words);
        Ok(rexpect::session::spawn_command(command, Some(SILENCE))?)
    }

    /// Runs xtask itself: `words`, the folder, and what follows `--`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn xtask(&self, words: &[&str], dir: &Path, rest: &[&str]) -> Result<Done> {
        let mut command = Command::new(&self.xtask);
        command.args(words).arg(dir);
        if !rest.is_empty() {
            command.arg("--").args(rest);
        }
        Ok(done(command.stdin(Stdio::null()).output().context("starting xtask")?))
    }

    /// The command of a client of another language, which xtask makes ready, or none, said loudly, if this machine cannot have it.
    ///
    /// # Errors
    /// If it does not build.
    pub fn client_of(&self, language: &str) -> Result<Option<Vec<String>>> {
        let output = Command::new(&self.xtask).args(["client", language]).stdin(Stdio::null()).output();
        let made = done(output.context("starting xtask")?);
        if made.code == CANNOT_BE_HAD {
            say(&format!("SKIPPED: no client in {language} on this machine: {}", made.stderr.trim()));
            return Ok(None);
        }
        ensure!(made.code == 0, "xtask client {language}: {made:?}");
        Ok(Some(made.stdout.lines().map(str::to_owned).collect()))
    }

    /// Remora's own command line.
    pub fn remora(&self) -> Client<'_> {
        Client { node: self, program: self.remora.clone(), namespace: None }
    }

    /// The stock kubectls to test with.
    ///
    /// # Panics
    /// If xtask named none though a real client is required.
    pub fn kubectls(&self) -> Vec<Client<'_>> {
        let Some(list) = std::env::var_os("REMORA_TEST_KUBECTLS") else {
            say("SKIPPED: no kubectl on this machine; set REMORA_TEST_KUBECTLS to paths separated by colons");
            return Vec::new();
        };
        std::env::split_paths(&list).map(|program| Client { node: self, program, namespace: None }).collect()
    }

    /// The same, and the older ones that are installed beside them, which stream over SPDY.
    pub fn kubectls_of_every_version(&self) -> Vec<Client<'_>> {
        let mut all = self.kubectls();
        let folder = all.first().and_then(|newest| newest.program.parent().map(PathBuf::from)).unwrap_or_default();
        for version in ["1.27", "1.28", "1.29", "1.30"] {
            let program = folder.join(format!("kubectl.{version}"));
            let is_missing = !all.iter().any(|there| there.program == program);
            if is_missing && program.exists() {
                all.push(Client { node: self, program, namespace: None });
            }
        }
        all
    }
}

/// A client program and the namespace that it works in.
#[derive(Clone)]
pub struct Client<'a> {
    node: &'a TestNode,
    program: PathBuf,
    namespace: Option<String>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status; -1 for a signal.
    pub code: i32,
}

impl<'a> Client<'a> {
    /// The program's file name, such as `kubectl.1.33`.
    pub fn name(&self) -> String {
        self.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The same client without a namespace on its command line: before a plugin's name kubectl takes no flags.
    #[must_use]
    pub fn in_no_namespace(&self) -> Client<'a> {
        Client { namespace: None, ..self.clone() }
    }

    /// Where the program is.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The same client in a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Client<'a> {
        Client { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The namespace that it works in.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// A command of this client, ready to run in the node's network namespace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.node.xtask);
        command.args(["node", "in", "--dir"]).arg(&self.node.dir).arg("--").arg(&self.program);
        if let Some(namespace) = &self.namespace {
            command.args(["-n", namespace]);
        }
        command.args(arguments);
        command
    }

    /// Runs to its end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Done> {
        let output = self.command(arguments).stdin(Stdio::null()).output().context("starting the client")?;
        Ok(done(output))
    }

    /// Runs a line of words that must succeed, and gives its standard output.
    ///
    /// # Errors
    /// If it fails; the error holds what it said.
    pub fn ok(&self, line: &str) -> Result<String> {
        let done = self.run(&line.split(' ').collect::<Vec<_>>())?;
        ensure!(done.code == 0, "{} {line}: {done:?}", self.name());
        Ok(done.stdout)
    }

    /// Runs a line of words that must fail with this exit status, and gives its standard error.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub fn fails(&self, line: &str, code: i32) -> Result<String> {
        let done = self.run(&line.split(' ').collect::<Vec<_>>())?;
        ensure!(done.code == code, "{} {line}: expected exit status {code}: {done:?}", self.name());
        Ok(done.stderr)
    }

    /// Starts it on a terminal of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn terminal(&self, line: &str) -> Result<PtySession> {
        let command = self.command(&line.split(' ').collect::<Vec<_>>());
        Ok(rexpect::session::spawn_command(command, Some(SILENCE))?)
    }
}

/// Says what is skipped, and why; also where the harness keeps what passed tests print.
pub fn say(line: &str) {
    // A reader that is gone cannot be told so.
    let _gone = writeln!(std::io::stderr(), "{line}");
}

fn done(output: Output) -> Done {
    Done {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}
