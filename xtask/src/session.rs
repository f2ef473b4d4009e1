//! The session that Remora exists for, played with a real client on a real terminal, and printed as it goes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rexpect::session::PtySession;

use crate::host;
use crate::node::Node;

/// How long a terminal may stay silent before the session counts as hung, in milliseconds.
const SILENCE: u64 = 60_000;
const PROMPT: &str = "/ # ";

/// A client program: Remora's own, or a stock kubectl.
pub(crate) struct Client<'a> {
    /// The node that it talks to.
    pub(crate) node: &'a Node,
    /// The program.
    pub(crate) program: String,
    /// What is printed before its arguments.
    pub(crate) shown: String,
}

/// What a command did.
pub(crate) struct Done {
    /// Standard output and error, joined.
    pub(crate) text: String,
    code: i32,
}

impl Client<'_> {
    fn command(&self, line: &str) -> Result<Command> {
        let words: Vec<&str> = std::iter::once(self.program.as_str()).chain(line.split(' ')).collect();
        self.node.command(&words)
    }

    fn is_kubectl(&self) -> bool {
        self.shown.starts_with("kubectl")
    }

    /// An exec that fails where there is no such program: ours would bring it along.
    fn exec(&self) -> &'static str {
        if self.is_kubectl() { "exec -it" } else { "exec -it --no-fallback" }
    }

    /// Runs one command and prints it with what it said; its exit status must be `expected`.
    pub(crate) fn run(&self, line: &str, expected: i32) -> Result<Done> {
        host::print(format_args!("$ {} {line}", self.shown));
        let output = self.command(line)?.stdin(Stdio::null()).output()?;
        let done = Done { text: host::said(&output), code: output.status.code().unwrap_or(-1) };
        host::print(&done.text);
        ensure!(done.code == expected, "{} {line}: exit status {}, not {expected}", self.shown, done.code);
        Ok(done)
    }

    /// Runs one command on a terminal of its own: waits for each prompt, types the line, and prints all of it.
    pub(crate) fn talk(&self, line: &str, typed: &[&str], expected: i32) -> Result<String> {
        host::print(format_args!("$ {} {line}", self.shown));
        let mut terminal = rexpect::session::spawn_command(self.command(line)?, Some(SILENCE))?;
        let mut seen = String::new();
        for words in typed {
            seen += &until_prompt(&mut terminal)?;
            terminal.send_line(words)?;
        }
        seen += &terminal.exp_eof()?;
        let status = terminal.process().wait()?;
        host::print(seen.replace('\r', "").trim_end());
        let ended = format!("{status:?}");
        ensure!(ended.contains(&format!(", {expected})")), "{} {line}: {ended}, not {expected}", self.shown);
        Ok(seen)
    }

    /// Waits until the pod shows as running, by a watch of all pods. Of one pod alone, kubectl shows it as it is and then hides the first that
    /// the watch says: a pod that starts in between would never be seen running.
    pub(crate) fn wait_running(&self, pod: &str) -> Result<()> {
        let mut watch = self.command("get pods -w")?.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(watch.stdout.take().context("no output")?).lines();
        let is_meant = |line: &str| line.split_whitespace().next() == Some(pod) && line.contains("Running");
        let running = lines.map_while(Result::ok).any(|line| is_meant(&line));
        watch.kill()?;
        watch.wait()?;
        if !running {
            bail!("pod {pod} was never seen running");
        }
        Ok(())
    }
}

fn until_prompt(terminal: &mut PtySession) -> Result<String> {
    let before = terminal.exp_string(PROMPT).context("waiting for a prompt")?;
    Ok(before + PROMPT)
}

impl Done {
    /// Fails unless the text is there.
    pub(crate) fn shows(self, text: &str) -> Result<Done> {
        ensure!(self.text.contains(text), "expected to read {text:?}");
        Ok(self)
    }
}

/// The pod without a shell: run, refused to exec, debugged three times, looked at, deleted.
pub(crate) fn pause(client: &Client<'_>) -> Result<()> {
    client.run("version", 0)?.shows("v1.34")?;
    client.run("get nodes", 0)?.shows("Ready")?;
    client.run("run ephemeral-demo --image=k8s.gcr.io/pause:3.1 --restart=Never", 0)?.shows("created")?;
    client.wait_running("ephemeral-demo")?;
    let refused = client.talk(&format!("{} ephemeral-demo -- sh", client.exec()), &[], 126)?;
    ensure!(refused.contains(r#"exec: "sh": executable file not found in $PATH"#), "the refusal names no cause");
    let debug = "debug -it ephemeral-demo --image=busybox --target=ephemeral-demo";
    let seen = client.talk(debug, &["ps -ef", "ls /proc/1/root", "exit"], 0)?;
    ensure!(seen.contains("1 root") && seen.contains("/pause"), "process 1 is not the target's");
    if client.is_kubectl() {
        client.run("describe pod ephemeral-demo", 0)?.shows("Ephemeral Containers:")?.shows("Completed")?;
    }
    client.run("get pod ephemeral-demo -o yaml", 0)?.shows("ephemeralContainerStatuses:")?;
    // Stock kubectl cannot tell the tool's exit status: attach does not carry it.
    client.talk(&format!("{debug} -c second"), &["exit 3"], if client.is_kubectl() { 0 } else { 3 })?;
    client.run("debug ephemeral-demo --image=busybox -c third -- echo hello", 0)?;
    // Ours says so before it asks, with an exit status of its own.
    let (taken, words) =
        if client.is_kubectl() { (1, "may not be changed") } else { (243, "is in pod ephemeral-demo already") };
    client.run("debug ephemeral-demo --image=busybox -c third --env A=B -- true", taken)?.shows(words)?;
    client.run("debug ephemeral-demo --image=busybox --target=ghost", 1)?.shows("Not found: \"ghost\"")?;
    client.run("get pods", 0)?;
    client.run("delete pod ephemeral-demo --now", 0)?.shows("deleted").map(drop)
}

/// The case it exists for: a distroless web server, no shell, user 65532, read-only root.
pub(crate) fn distroless(client: &Client<'_>) -> Result<()> {
    client.run("run web --image=registry.example/httpd:1 --restart=Never", 0)?;
    client.wait_running("web")?;
    let refused = client.talk(&format!("{} web -- sh", client.exec()), &[], 126)?;
    ensure!(refused.contains("executable file not found"), "the refusal names no cause");
    let debug = "debug -it web --image=busybox --target=web";
    let seen = client.talk(debug, &["wget -q -O - http://127.0.0.1:8080/", "ps -ef", "exit"], 0)?;
    ensure!(seen.contains("hello from user 65532"), "the web server did not answer");
    client.run("logs web", 0)?.shows("listening on 8080")?;
    client.run("delete pod web --now", 0).map(drop)
}
