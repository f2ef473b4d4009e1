//! Debian's docker-registry on loopback, in a node's network namespace.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::host;
use crate::netns::NetworkNamespace;

/// Where it listens; each network namespace has a loopback of its own.
pub(crate) const URL: &str = "http://127.0.0.1:5000";

/// Starts it and waits until it says that it listens. Its log goes on to a file.
pub(crate) fn start(netns: &NetworkNamespace<'_>, dir: &Path) -> Result<Child> {
    std::fs::create_dir_all(dir.join("blobs"))?;
    let config = dir.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
        dir.join("blobs").display()
    );
    std::fs::write(&config, text)?;
    let log_path = dir.join("log");
    let log = std::fs::File::create(&log_path)?;
    let mut command = netns.enter("docker-registry");
    command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    detach(&mut command);
    let mut child = command.spawn().with_context(|| format!("starting {}", host::words(&command)))?;
    wait_for_listening(&mut child, &log_path)?;
    Ok(child)
}

/// Away from our terminal: an interrupt for us is none for it.
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

/// Follows the log until the registry listens. `tail -F --pid` waits by inotify and ends when the registry does.
fn wait_for_listening(child: &mut Child, log: &Path) -> Result<()> {
    let pid = child.id().to_string();
    let mut tail = Command::new("tail")
        .args(["-n", "+1", "-F", "--pid", &pid])
        .arg(log)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting tail")?;
    let lines = BufReader::new(tail.stdout.take().context("tail has no output")?).lines();
    let listening = lines.map_while(Result::ok).any(|line| line.contains("listening on"));
    tail.kill()?;
    tail.wait()?;
    if !listening {
        bail!("the registry ended before it listened: {}", std::fs::read_to_string(log).unwrap_or_default());
    }
    Ok(())
}
