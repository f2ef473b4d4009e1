//! Plays all [`rows`](super::rows) with each kubectl: the clients side by side, a client's rows one after another.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use remora_tests::{Client, Going, TestNode, say};
use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

use super::row::{Does, Follow, Row};
use super::rows::{FILES, ROWS};

/// A command that says nothing for longer counts as hung.
const HANGS: Duration = Duration::from_secs(60);

#[test]
fn every_kubectl_does_everything() {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(newest) = node.kubectls().pop() else { return };
    let name = newest.ok("get nodes -o jsonpath={.items[0].metadata.name}").unwrap();
    let all = node.kubectls_of_every_version();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let players: Vec<_> = all
            .iter()
            .map(|kubectl| scope.spawn(|| Player::new(&node, &newest, kubectl, &name).map(|player| player.play())))
            .collect();
        let failures = players.into_iter().zip(&all).map(|(player, kubectl)| match player.join().unwrap() {
            Ok(failures) => failures,
            Err(error) => vec![format!("{}: {error:?}", kubectl.name())],
        });
        failures.flatten().collect()
    });
    say(&format!("{} rows with each of {} kubectls", ROWS.len(), all.len()));
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}

/// One kubectl, in a namespace and a folder of its own.
struct Player<'n> {
    node: &'n TestNode,
    kubectl: Client<'n>,
    node_name: &'n str,
    folder: TempDir,
}

impl<'n> Player<'n> {
    fn new(node: &'n TestNode, newest: &Client<'n>, kubectl: &Client<'n>, node_name: &'n str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in FILES {
            std::fs::write(folder.path().join(name), text)?;
        }
        executable(&folder.path().join("editor"))?;
        let namespace = format!("clients-{}", kubectl.name().replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}"))?;
        // kubectls before 1.31 cannot wait for something to be created.
        newest.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s"))?;
        Ok(Self { node, kubectl: kubectl.in_namespace(&namespace), node_name, folder })
    }

    /// Plays all rows, also after one that failed, and tells of those.
    fn play(&self) -> Vec<String> {
        // A client of unknown version is as able as the newest.
        let minor = self.kubectl.name().rsplit('.').next().and_then(|word| word.parse().ok()).unwrap_or(u32::MAX);
        let rows = ROWS.iter().filter(|row| row.since <= minor);
        let failed = rows.filter_map(|row| {
            let begun = Instant::now();
            let error = self.check(row).err()?;
            let line = self.filled(row.line());
            let failure =
                format!("{} {line}\n  ({}, after {:?}): {error:#}", self.kubectl.name(), row.name, begun.elapsed());
            say(&failure);
            Some(failure)
        });
        failed.collect()
    }

    fn check(&self, row: &Row) -> Result<()> {
        let (said, code) = match &row.does {
            Does::Run(line) => self.feed(line, "")?,
            Does::Feed(line, input) => self.feed(line, input)?,
            Does::Talk(line, typed) => self.talk(line, typed)?,
            Does::Follow(line, how) => self.follow(line, how, row)?,
            Does::Serve(line, path) => (self.serve(line, path)?, 0),
        };
        ensure!(code == row.code, "exit status {code}, not {}: {said}", row.code);
        for text in row.shows {
            let text = self.filled(text);
            ensure!(said.contains(&text), "it does not say {text:?}: {said}");
        }
        for (line, expected) in row.leaves {
            let (left, _) = self.feed(line, "")?;
            ensure!(left == self.filled(expected), "{line} then says {left:?}, not {expected:?}");
        }
        Ok(())
    }

    /// A line with what stands for its placeholders.
    fn filled(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        text.replace("{ns}", self.kubectl.namespace()).replace("{dir}", &folder).replace("{node}", self.node_name)
    }

    fn command(&self, line: &str) -> Command {
        let words = words(&self.filled(line));
        let mut command = self.kubectl.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        // What kubectl has kept of an API server that was at the same address is no matter of this one.
        command.env("HOME", self.folder.path()).env("KUBE_EDITOR", self.folder.path().join("editor"));
        command
    }

    /// Runs to its end; output and then errors, and the exit status.
    fn feed(&self, line: &str, input: &str) -> Result<(String, i32)> {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut going = Going::start_within(&mut command, HANGS)?;
        let mut stdin = going.child().stdin.take().context("no stdin")?;
        // One that ends without having read it all is no failure of ours.
        let _written_or_gone = stdin.write_all(input.as_bytes());
        drop(stdin);
        let done = going.finish()?;
        let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((out + &err, done.status.code().unwrap_or(-1)))
    }

    fn talk(&self, line: &str, typed: &[(&str, &str)]) -> Result<(String, i32)> {
        let hangs = u64::try_from(HANGS.as_millis())?;
        let mut terminal: PtySession = spawn_command(self.command(line), Some(hangs))?;
        let mut said = String::new();
        for (prompt, words) in typed {
            said += &terminal.exp_string(prompt)?;
            terminal.send_line(words)?;
        }
        said += &terminal.exp_eof()?;
        match terminal.process().wait()? {
            rexpect::process::wait::WaitStatus::Exited(_, code) => Ok((said, code)),
            other => bail!("it ended with {other:?}: {said}"),
        }
    }

    fn follow(&self, line: &str, how: &Follow, row: &Row) -> Result<(String, i32)> {
        let mut going = Going::start_within(self.command(line).stdin(Stdio::null()).stdout(Stdio::piped()), HANGS)?;
        let mut lines = BufReader::new(going.child().stdout.take().context("no stdout")?);
        let mut said = String::new();
        read_until(&mut lines, &mut said, |said| said.contains(how.first))?;
        let (meanwhile, code) = self.feed(how.meanwhile, "")?;
        ensure!(code == 0, "{}: {meanwhile}", how.meanwhile);
        let shown = |said: &str| row.shows.iter().all(|text| said.contains(text));
        read_until(&mut lines, &mut said, |said| !how.ends && shown(said))?;
        if !how.ends {
            return Ok((said, row.code));
        }
        let status = going.child().wait()?;
        Ok((said, status.code().unwrap_or(-1)))
    }

    /// What it answers on the local port that it names.
    fn serve(&self, line: &str, path: &str) -> Result<String> {
        let mut going = Going::start_within(self.command(line).stdin(Stdio::null()).stdout(Stdio::piped()), HANGS)?;
        let mut lines = BufReader::new(going.child().stdout.take().context("no stdout")?);
        let mut said = String::new();
        lines.read_line(&mut said)?;
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        let port = said.split_once("127.0.0.1:").map(|(_, rest)| digits(rest)).unwrap_or_default();
        let port = port.parse().with_context(|| format!("it names no port: {said:?}"))?;
        let mut connection = self.node.connect(port)?;
        connection.set_read_timeout(Some(HANGS))?;
        write!(connection, "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", self.filled(path))?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Reads lines until enough is said, or to the end.
fn read_until(lines: &mut impl BufRead, said: &mut String, enough: impl Fn(&str) -> bool) -> Result<()> {
    while !enough(said) && lines.read_line(said)? > 0 {}
    Ok(())
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// The words of a line: quotes keep them together, and are gone.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for char in line.chars() {
        match char {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}
