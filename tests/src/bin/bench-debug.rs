//! `cargo xtask bench debug`: from the start of the command to the prompt of the tool, as a user waits for it, on any cluster; beside it stock
//! kubectl on the same pod, in turns; the client's own start, and its size.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use rexpect::process::PtyProcess;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::json;

const POD: &str = "bench-debug-prompt";
/// How long a terminal may stay silent.
const SILENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

#[derive(Parser)]
struct Arguments {
    /// How often each thing is done.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Remora's program.
    #[arg(long)]
    remora: PathBuf,
    /// A stock kubectl, measured in turns with it.
    #[arg(long)]
    kubectl: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let pods: Api<Pod> = Api::default_namespaced(kube::Client::try_default().await.context("reading KUBECONFIG")?);
    let measured = measure(&pods, &arguments).await;
    let gone = pods.delete(POD, &DeleteParams::default().grace_period(0)).await;
    for line in measured? {
        show(&line);
    }
    gone?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(line: &str) {
    println!("{line}");
}

async fn measure(pods: &Api<Pod>, arguments: &Arguments) -> Result<Vec<String>> {
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "c", "image": "k8s.gcr.io/pause:3.1", "imagePullPolicy": "IfNotPresent"}]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": POD}, "spec": spec}))?;
    pods.create(&PostParams::default(), &pod).await?;
    running(pods).await?;
    let (mut ours, mut theirs, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    // The first of each pulls and warms up: it is not counted.
    for round in 0..=arguments.rounds {
        let remora = prompt(&arguments.remora, &["debug", POD, "-q"])?;
        let words = [
            "debug",
            POD,
            "-it",
            "--image=busybox",
            "--image-pull-policy=IfNotPresent",
            "--target=c",
            "--profile=general",
        ];
        let kubectl = arguments.kubectl.as_deref().map(|kubectl| prompt(kubectl, &words)).transpose()?;
        let start = start(&arguments.remora)?;
        if round > 0 {
            ours.push(remora);
            theirs.extend(kubectl);
            starts.push(start);
        }
    }
    let size = std::fs::metadata(&arguments.remora)?.len() as f64 / f64::from(1 << 20);
    Ok([
        line("remora debug POD → prompt", &ours),
        line("kubectl debug -it POD … → prompt", &theirs),
        line("the client's own start (version --client)", &starts),
        Some(format!("{:<42} {size:>8.1} MiB", "size of the program")),
    ]
    .into_iter()
    .flatten()
    .collect())
}

fn line(what: &str, samples: &[Duration]) -> Option<String> {
    let mut sorted: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.first()?, sorted.last()?);
    Some(format!("{what:<42} {:>8.1} ms ({low:.1}–{high:.1}, n={})", sorted[sorted.len() / 2], sorted.len()))
}

async fn running(pods: &Api<Pod>) -> Result<()> {
    let wanted = WatchParams::default().fields(&format!("metadata.name={POD}")).timeout(90);
    let mut events = Box::pin(pods.watch(&wanted, "0").await?);
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
            && pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
        {
            return Ok(());
        }
    }
    anyhow::bail!("pod {POD} does not run")
}

/// On a terminal, until the shell's prompt is there. What it shows is read as it comes: `rexpect`'s own sessions look every 100 ms.
fn prompt(program: &Path, words: &[&str]) -> Result<Duration> {
    // A terminal that a program makes has no size; a real one has, and its arrival makes a shell draw its prompt again where it came too early.
    let mut command = Command::new("sh");
    command.args(["-c", "stty rows 33 cols 101; exec \"$@\"", "sh"]).arg(program).args(words);
    let begun = Instant::now();
    let process = PtyProcess::new(command)?;
    let mut terminal = process.get_file_handle()?;
    let mut shown = Vec::new();
    while !has_prompt(&shown) {
        ensure!(
            read_more(&mut terminal, &mut shown)?,
            "no prompt from {}: {}",
            program.display(),
            String::from_utf8_lossy(&shown)
        );
    }
    let elapsed = begun.elapsed();
    terminal.write_all(b"exit\n")?;
    while read_more(&mut terminal, &mut shown)? {}
    Ok(elapsed)
}

fn has_prompt(shown: &[u8]) -> bool {
    shown.windows(2).any(|pair| pair == b"# " || pair == b"$ ")
}

/// Whether something came; false at the terminal's end.
fn read_more(terminal: &mut File, shown: &mut Vec<u8>) -> Result<bool> {
    let ready = poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&SILENCE))?;
    ensure!(ready > 0, "the terminal is silent");
    let mut piece = [0; 4096];
    match terminal.read(&mut piece) {
        Ok(length) => {
            shown.extend_from_slice(&piece[..length]);
            Ok(length > 0)
        }
        // So the kernel says that nobody holds the other side any more.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error).context("reading the terminal"),
    }
}

fn start(remora: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let status = Command::new(remora).args(["version", "--client"]).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{} ended with {status}", remora.display());
    Ok(begun.elapsed())
}
