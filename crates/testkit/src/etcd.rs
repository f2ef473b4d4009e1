//! Debian's etcd: one member on loopback, with a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/bin/etcd";
/// What etcd logs when clients are served.
const SERVING: &str = "ready to serve client requests";

/// A running etcd. It is ended, and its folder removed, when this is dropped.
pub struct Etcd {
    folder: PathBuf,
    port: u16,
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
        Etcd::begin(None, None)
    }

    /// The same with TLS.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start_with_tls(tls: EtcdTls) -> Option<Etcd> {
        Etcd::begin(Some(tls), None)
    }

    /// The same in a network namespace, named as `nsenter --net=` does.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start_in(netns: &Path) -> Option<Etcd> {
        Etcd::begin(None, Some(netns.to_owned()))
    }

    #[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
    fn begin(tls: Option<EtcdTls>, netns: Option<PathBuf>) -> Option<Etcd> {
        if !Path::new(PROGRAM).exists() {
            let message = "SKIPPED: this test needs Debian's etcd-server (`cargo xtask setup`)";
            assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{message}");
            eprintln!("{message}");
            return None;
        }
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("remora-etcd-{}-{port}", std::process::id()));
        let mut etcd = Etcd { folder, port, tls, netns, child: None };
        etcd.resume();
        Some(etcd)
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
        let Some(netns) = &self.netns else { return Command::new(PROGRAM) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).args(["--", PROGRAM]);
        command
    }

    /// Starts it again after [`Etcd::kill`], with its data and on its port, and returns when it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub fn resume(&mut self) {
        self.kill();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://{}", self.endpoint());
        // With one member nobody connects to it.
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut command = self.program();
        command.arg("--data-dir").arg(&self.folder).args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
        // One member elects itself as soon as its election times out. A value of the largest size that a store takes needs a request that is
        // a little larger. Clients of a test need not wait for ten minutes to hear how far a watch is.
        command.args(["--heartbeat-interval", "10", "--election-timeout", "100", "--max-request-bytes", "2097152"]);
        command.args(["--experimental-watch-progress-notify-interval", "200ms"]);
        command.args(["--logger", "zap", "--log-outputs", "stderr"]);
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.certificate).arg("--key-file").arg(&tls.key);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.authority);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("etcd starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
        self.child = Some(child);
        let mut told = Vec::new();
        let is_up = log.by_ref().map_while(Result::ok).inspect(|line| told.push(line.clone())).any(|line| {
            line.contains(SERVING)
                || line.contains("serving client traffic")
                || line.contains("serving insecure client")
        });
        assert!(is_up, "etcd did not start:\n{}", told.join("\n"));
        // Its log has to be read to its end, else it waits for a reader. The thread ends with it.
        std::thread::spawn(move || log.for_each(drop));
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        // What is left lies in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that is free now. Another program may take it in the next moment: then etcd says so and the test fails.
fn free_port() -> u16 {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.expect("a free port").port()
}
