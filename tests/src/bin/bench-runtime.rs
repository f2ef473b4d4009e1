//! `cargo xtask bench runtime`: what a low-level runtime costs, on a prepared bundle, beside the peer that Debian has.
//!
//! Ours is called as the shim calls it, which is part of what is measured: from a read-only view of the program, and with the kernel made ready
//! for the move to another cgroup (the children that do that are not waited for: they end by themselves, and this process soon). It is measured twice:
//! started when the container is to start, and started ahead, as the node does while it prepares a container. Each round does
//! the same with every contestant, one after the other, so that whatever else the machine does hits all of them. The bundle is what `runc spec`
//! writes, with busybox as its root file system. It needs root, and touches nothing but its own folder and cgroups.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use remora_sys::socket::send_with_descriptors;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// How often each thing is done.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Where `remora-shim` and `remora-create` are.
    #[arg(long)]
    libexec: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("remora-bench-runtime-{}", std::process::id()));
    let measured = measure(&arguments, &folder);
    let removed = fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()));
    measured.and(removed)
}

fn measure(arguments: &Arguments, folder: &Path) -> Result<()> {
    remora_sys::process::become_subreaper()?;
    let bench = Bench { folder: folder.to_owned(), cgroup: format!("/remora-bench-{}", std::process::id()) };
    bench.make_bundle()?;
    // As the shim starts it: see `remora_sys::mount::read_only_view`.
    let view = remora_sys::mount::read_only_view(&arguments.libexec.join("remora-create"))?;
    let own = format!("/proc/self/fd/{}", view.as_raw_fd());
    let contestant =
        |name, program: &str, way| Contestant { name, program: program.into(), way, starts: vec![], execs: vec![] };
    let mut contestants = [
        contestant("remora-create", &own, Way::Hastened),
        contestant("runc", "runc", Way::Plain),
        contestant("remora-create-ahead", &own, Way::Ahead),
    ];
    for round in 0..arguments.rounds {
        // While the others run, it gets ready.
        let ahead = Creator::start(&own, &bench.bundle())?;
        let mut ahead = Some(ahead);
        for contestant in &mut contestants {
            let creator = if contestant.way == Way::Ahead { ahead.take() } else { None };
            bench.round(contestant, round, creator)?;
        }
    }
    let [ours, peer, ahead] = contestants;
    show("create → started, from a prepared bundle", &ours, &ours.starts, &peer.starts, peer.name);
    show("the same, the creator started ahead", &ahead, &ahead.starts, &peer.starts, peer.name);
    show("exec `true` in it", &ours, &ours.execs, &peer.execs, peer.name);
    bench.remove_cgroups()
}

/// One runtime and what it needed.
struct Contestant {
    name: &'static str,
    program: PathBuf,
    way: Way,
    starts: Vec<Duration>,
    execs: Vec<Duration>,
}

/// How a command is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// See `remora_sys::cgroup::hasten_moves`.
    Hastened,
    /// Hastened, and `run` by a creator that waits.
    Ahead,
}

/// A `remora-create` that waits for its command line.
struct Creator {
    child: Child,
    socket: UnixStream,
}

impl Creator {
    fn start(program: &str, bundle: &Path) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.arg("await").arg("--bundle").arg(bundle);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn().with_context(|| format!("starting {command:?}"))?, socket })
    }

    /// Has it do what the command would do.
    fn run(mut self, command: &Command) -> Result<Duration> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let words: Vec<&[u8]> = command.get_args().map(OsStrExt::as_bytes).collect();
        let begun = Instant::now();
        remora_sys::cgroup::hasten_moves()?;
        let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
        send_with_descriptors(self.socket.as_fd(), &words.join(&0), &streams)?;
        let status = self.child.wait()?;
        let elapsed = begun.elapsed();
        ensure!(status.success(), "{command:?}, started ahead, ended with {status}");
        Ok(elapsed)
    }
}

impl Contestant {
    fn run(&self, command: &mut Command) -> Result<Duration> {
        let begun = Instant::now();
        if self.way != Way::Plain {
            remora_sys::cgroup::hasten_moves()?;
        }
        run(command)?;
        Ok(begun.elapsed())
    }
}

struct Bench {
    folder: PathBuf,
    /// From the root of the hierarchies; unique to this run.
    cgroup: String,
}

impl Bench {
    fn bundle(&self) -> PathBuf {
        self.folder.join("bundle")
    }

    fn make_bundle(&self) -> Result<()> {
        let bin = self.bundle().join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        fs::copy("/bin/busybox", bin.join("busybox")).context("busybox-static is not installed")?;
        ["sleep", "true"].iter().try_for_each(|name| symlink("busybox", bin.join(name)))?;
        run(Command::new("runc").arg("spec").arg("--bundle").arg(self.bundle()))?;
        let mut process = self.config()?["process"].take();
        process["args"] = json!(["/bin/true"]);
        process["terminal"] = false.into();
        Ok(fs::write(self.folder.join("exec.json"), process.to_string())?)
    }

    fn config(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.bundle().join("config.json"))?)?)
    }

    /// A cgroup of its own for each container, as every container has.
    fn write_config(&self, id: &str) -> Result<()> {
        let mut config = self.config()?;
        config["process"]["args"] = json!(["/bin/sleep", "1000"]);
        config["process"]["terminal"] = false.into();
        config["linux"]["cgroupsPath"] = format!("{}/{id}", self.cgroup).into();
        Ok(fs::write(self.bundle().join("config.json"), config.to_string())?)
    }

    fn round(&self, contestant: &mut Contestant, round: usize, ahead: Option<Creator>) -> Result<()> {
        let id = format!("{}-{round}", contestant.name);
        self.write_config(&id)?;
        let (first, second) = (self.folder.join("first.pid"), self.folder.join("second.pid"));
        let mut start = self.command(contestant, &["run", "--detach", "--pid-file"]);
        start.arg(&first).arg("--bundle").arg(self.bundle()).arg(&id);
        contestant.starts.push(match ahead {
            Some(creator) => creator.run(&start)?,
            None => contestant.run(&mut start)?,
        });
        let mut exec = self.command(contestant, &["exec", "--detach", "--pid-file"]);
        contestant
            .execs
            .push(contestant.run(exec.arg(&second).arg("--process").arg(self.folder.join("exec.json")).arg(&id))?);
        reap(&second)?;
        kill_process(pid_in(&first)?, Signal::KILL)?;
        reap(&first)?;
        run(self.command(contestant, &["delete", "--force"]).arg(&id)).map(drop)
    }

    fn command(&self, contestant: &Contestant, words: &[&str]) -> Command {
        let mut command = Command::new(&contestant.program);
        command.arg("--root").arg(self.folder.join(contestant.name)).args(words);
        command
    }

    /// The runtimes have removed what was below.
    fn remove_cgroups(&self) -> Result<()> {
        for hierarchy in fs::read_dir("/sys/fs/cgroup")? {
            let folder = hierarchy?.path().join(self.cgroup.trim_start_matches('/'));
            if folder.exists() {
                fs::remove_dir(&folder).with_context(|| format!("removing {}", folder.display()))?;
            }
        }
        Ok(())
    }
}

/// The process whose number a runtime has written down.
fn pid_in(file: &Path) -> Result<Pid> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Pid::from_raw(text.trim().parse()?).context("0 is no process")
}

/// Waits for the end of a process that a runtime has left to us: `delete` waits in vain for one that nobody reaps.
fn reap(file: &Path) -> Result<()> {
    let pid = pid_in(file)?;
    waitpid(Some(pid), WaitOptions::empty())
        .with_context(|| format!("waiting for process {}", pid.as_raw_nonzero()))?;
    Ok(())
}

/// How long it took to its end. What a container inherits as its standard streams is nothing that could be waited for.
fn run(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let elapsed = begun.elapsed();
    let status = status.with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(elapsed)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn show(what: &str, ours: &Contestant, own: &[Duration], peers: &[Duration], peer: &str) {
    let ([low, median, high], [peer_low, peer_median, peer_high]) = (spread(own), spread(peers));
    println!(
        "{what:<42} {} {median:.1} ms ({low:.1}–{high:.1}); {peer} {peer_median:.1} ms ({peer_low:.1}–{peer_high:.1}); n={}: {:.1}×",
        ours.name,
        own.len(),
        peer_median / median
    );
}

/// Least, median and most, in milliseconds.
fn spread(samples: &[Duration]) -> [f64; 3] {
    let mut sorted: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]]
}
