//! Runs the program under test, judges what it says, and counts.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use remora_tests::cluster::show;
use rexpect::session::PtySession;
use tokio::process::Command;

use crate::cluster::Cluster;

/// Whatever takes longer hangs, and that is a failure.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a terminal may stay silent.
const SILENCE_MS: u64 = 20_000;

pub(crate) struct Player {
    pub(crate) remora: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) tally: Tally,
    pub(crate) cluster: Cluster,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) only: String,
    pub(crate) verbose: bool,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

/// Which clusters a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Anywhere,
    /// It is about what only Remora's own nodes do.
    OnRemora,
    /// It is about what is said where the nodes are not Remora's.
    Elsewhere,
}

/// What a command has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Player {
    /// Whether a check is to be made; says so if it is not.
    pub(crate) fn wants(&mut self, title: &str, place: Where) -> bool {
        if !title.contains(&self.tally.only) {
            return false;
        }
        let fits = match place {
            Where::Anywhere => true,
            Where::OnRemora => self.cluster.is_remora,
            Where::Elsewhere => !self.cluster.is_remora,
        };
        // What is said elsewhere is not lost on a Remora node: it is simply not true there.
        if !fits && place == Where::OnRemora {
            self.tally.skipped += 1;
            show(&format!("SKIP {title}: bound to Remora's own nodes"));
        }
        fits
    }

    pub(crate) fn note(&mut self, title: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.tally.passed += 1;
                if self.tally.verbose {
                    show(&format!("ok   {title}"));
                }
            }
            Err(error) => {
                self.tally.failed += 1;
                show(&format!("FAIL {title}\n     {}", format!("{error:#}").replace('\n', "\n     ")));
            }
        }
    }

    fn arguments(&self, purpose: &str, words: &[&str]) -> Vec<String> {
        let namespace = self.cluster.namespace(purpose);
        ["-n", &namespace].into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
    }

    pub(crate) async fn run(&self, purpose: &str, words: &[&str]) -> Result<Done> {
        self.run_with(purpose, words, Stdio::null()).await
    }

    pub(crate) async fn run_with(&self, purpose: &str, words: &[&str], stdin: Stdio) -> Result<Done> {
        let mut command = Command::new(&self.remora);
        command.args(self.arguments(purpose, words)).env("KUBECONFIG", &self.kubeconfig);
        command.env_remove("REMORA_DEBUG_IMAGE").stdin(stdin).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.with_context(|| format!("{words:?} hangs"))?.context("starting the program under test")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Done { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// The same on a terminal of its own.
    pub(crate) fn terminal(&self, purpose: &str, words: &[&str]) -> Result<PtySession> {
        // A terminal that a program makes has no size.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "stty rows 33 cols 101; exec \"$@\"", "sh"]).arg(&self.remora);
        command.args(self.arguments(purpose, words)).env("KUBECONFIG", &self.kubeconfig);
        command.env_remove("REMORA_DEBUG_IMAGE");
        Ok(rexpect::session::spawn_command(command, Some(SILENCE_MS))?)
    }
}

impl Done {
    /// The exit status is this one.
    pub(crate) fn ended(self, code: i32) -> Result<Done> {
        ensure!(self.code == code, "exit status {} instead of {code}\nout: {}\nerr: {}", self.code, self.out, self.err);
        Ok(self)
    }

    /// Standard error has all of these.
    pub(crate) fn says(&self, parts: &[&str]) -> Result<()> {
        match parts.iter().find(|part| !self.err.contains(**part)) {
            Some(missing) => bail!("standard error lacks {missing:?}: {}", self.err),
            None => Ok(()),
        }
    }

    /// Standard output is this.
    pub(crate) fn printed(&self, expected: &str) -> Result<()> {
        ensure!(self.out == expected, "printed {:?} instead of {expected:?}; said {:?}", self.out, self.err);
        Ok(())
    }
}
