//! Debian's etcd on loopback: one member, or several, each with a folder of its own.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

const PROGRAM: &str = "/usr/bin/etcd";
/// Names another one than Debian's, to see whether a later etcd is as good.
const OTHER_PROGRAM: &str = "REMORA_TEST_ETCD";
/// What etcd logs when clients are served.
const SERVING: [&str; 2] = ["serving client traffic", "serving insecure client"];

/// A running member. It is ended, and its folder removed, when this is dropped.
pub struct Etcd {
    folder: PathBuf,
    port: u16,
    /// Where other members find it.
    peer: u16,
    /// All members, as `--initial-cluster` wants them.
    cluster: String,
    tls: Option<EtcdTls>,
    /// The network namespace that it runs in; the test's own if not set.
    netns: Option<PathBuf>,
    child: Option<Child>,
}

/// The files by which an etcd speaks TLS, and asks its clients to.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// The authority of both sides.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Etcd {
    /// A new etcd with nothing in it; `None`, said aloud, where etcd is not installed.
    ///
    /// # Panics
    /// If it does not start; and under `REMORA_REQUIRE_ROOT`, where a skip would be a lie, if it is not installed.
    #[must_use]
    pub fn start() -> Option<Etcd> {
        Etcd::start_as(None, None)
    }

    /// The same with TLS.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start_with_tls(tls: EtcdTls) -> Option<Etcd> {
        Etcd::start_as(Some(tls), None)
    }

    /// The same in a network namespace, named as `nsenter --net=` does.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start_in(netns: &Path) -> Option<Etcd> {
        Etcd::start_as(None, Some(netns.to_owned()))
    }

    /// Three members of one cluster.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start_three() -> Option<[Etcd; 3]> {
        if !is_installed() {
            return None;
        }
        let mut members = [(); 3].map(|()| Etcd::new(None, None));
        let cluster = members.each_ref().map(Etcd::as_peer).join(",");
        for member in &mut members {
            member.cluster.clone_from(&cluster);
        }
        // None of them serves before most have begun.
        let logs = members.each_mut().map(Etcd::begin);
        logs.into_iter().for_each(until_it_serves);
        Some(members)
    }

    fn start_as(tls: Option<EtcdTls>, netns: Option<PathBuf>) -> Option<Etcd> {
        let mut etcd = is_installed().then(|| Etcd::new(tls, netns))?;
        etcd.resume();
        Some(etcd)
    }

    fn new(tls: Option<EtcdTls>, netns: Option<PathBuf>) -> Etcd {
        let (port, peer) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("remora-etcd-{}-{port}", std::process::id()));
        let mut etcd = Etcd { folder, port, peer, cluster: String::new(), tls, netns, child: None };
        etcd.cluster = etcd.as_peer();
        etcd
    }

    fn as_peer(&self) -> String {
        format!("member-{}=http://127.0.0.1:{}", self.port, self.peer)
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash would. Its data stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// etcd itself; nsenter becomes it, so that its process is the one that we end.
    fn program(&self) -> Command {
        let Some(netns) = &self.netns else { return Command::new(program()) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).arg("--").arg(program());
        command
    }

    /// Stops it where it is: connections stay, and nothing is answered any more.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let stopped = Command::new("kill").args(["-STOP", &pid]).status();
        assert!(stopped.is_ok_and(|status| status.success()), "etcd does not freeze");
        // A thread that is at work on another core still answers for a moment.
        while !is_stopped(&pid) {
            std::thread::yield_now();
        }
    }

    /// Starts it again after [`Etcd::kill`], with its data and on its port, and returns when it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub fn resume(&mut self) {
        let log = self.begin();
        until_it_serves(log);
    }

    /// Starts it; returns its log.
    fn begin(&mut self) -> Lines {
        self.kill();
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("etcd starts");
        let log = BufReader::new(child.stderr.take().expect("its log")).lines();
        self.child = Some(child);
        log
    }

    fn command(&self) -> Command {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let (client, peer) = (format!("{scheme}://{}", self.endpoint()), format!("http://127.0.0.1:{}", self.peer));
        let mut command = self.program();
        command.arg("--name").arg(format!("member-{}", self.port)).arg("--data-dir").arg(&self.folder);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &self.cluster]);
        // A leader is elected when an election times out: soon. A value of the largest size that a store takes needs a request that is a
        // little larger.
        command.args(["--heartbeat-interval", "20", "--election-timeout", "200", "--max-request-bytes", "2097152"]);
        command.args(["--logger", "zap", "--log-outputs", "stderr"]);
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.certificate).arg("--key-file").arg(&tls.key);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.authority);
        }
        command
    }
}

type Lines = std::io::Lines<BufReader<ChildStderr>>;

fn until_it_serves(mut log: Lines) {
    let mut told = Vec::new();
    let mut lines = log.by_ref().map_while(Result::ok).inspect(|line| told.push(line.clone()));
    let is_up = lines.any(|line| SERVING.iter().any(|words| line.contains(words)));
    assert!(is_up, "etcd did not start:\n{}", told.join("\n"));
    // Its log has to be read to its end, else it waits for a reader. The thread ends with it.
    std::thread::spawn(move || log.for_each(drop));
}

#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
fn is_installed() -> bool {
    let is_there = program().exists();
    if !is_there {
        let message = "SKIPPED: this test needs Debian's etcd-server (`cargo xtask setup`)";
        assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{message}");
        eprintln!("{message}");
    }
    is_there
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        // What is left lies in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn program() -> PathBuf {
    std::env::var_os(OTHER_PROGRAM).map_or_else(|| PROGRAM.into(), PathBuf::from)
}

/// A port that is free now, below those that the kernel gives to whoever connects: one that tries an etcd that is down again and again would in time
/// be given its port. Another program may take it in the next moment: then etcd says so and the test fails.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let any = || 20_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16;
    let mut ports = std::iter::repeat_with(any).take(1000);
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// Whether all threads of a process have been stopped.
fn is_stopped(pid: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let states = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    states.into_iter().all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}
