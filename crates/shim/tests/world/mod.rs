//! A scratch world for tests that run real containers: a root file system of busybox, a bundle, a shim, and clients of it.
//!
//! Every test runs on each low-level runtime ([`on_each`]). Cgroups have names of their own below `/remora-shim-test` and are emptied and
//! removed when a world is dropped, and at the next start if the test program was killed.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use remora_shim_protocol::{
    AttachRequest, CgroupPaths, Decoder, ExecRequest, ExitRecord, Frame, LowLevelRuntime, ProcessState, Reply, Report,
    Request, ShimConfig, StdioConfig, TerminalSize, TimeLimits, encode,
};
use remora_sys::cgroup::{self, Layout};
use serde_json::{Value, json};

/// A test that waits longer than this for an answer has failed: it is no measure of anything.
const HANGS: Duration = Duration::from_secs(20);
const CGROUPS: &str = "/remora-shim-test";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Create,
    Runc,
    Crun,
}

/// Runs a check on remora-create, on runc, and where there is cgroup v2 on crun. Without root it skips aloud, or fails under `REMORA_REQUIRE_ROOT=1`.
pub(crate) fn on_each(name: &str, check: impl Fn(Runtime)) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{name} needs root, and REMORA_REQUIRE_ROOT is set");
        eprintln!("SKIPPED: {name} needs root");
        return;
    }
    static LEFTOVERS: Once = Once::new();
    LEFTOVERS.call_once(remove_leftovers);
    for runtime in [Runtime::Create, Runtime::Runc, Runtime::Crun] {
        if runtime == Runtime::Crun && !matches!(Layout::detect().unwrap(), Layout::Unified(_)) {
            eprintln!("SKIPPED: {name} on {runtime:?} needs cgroup v2: cargo xtask vm test");
            continue;
        }
        eprintln!("== {name} on {runtime:?}");
        check(runtime);
    }
}

impl Runtime {
    fn path(self) -> PathBuf {
        match self {
            Self::Runc => PathBuf::from("/usr/sbin/runc"),
            Self::Crun => PathBuf::from("/usr/bin/crun"),
            Self::Create => {
                let path = Path::new(env!("CARGO_BIN_EXE_remora-shim")).with_file_name("remora-create");
                assert!(path.exists(), "{} is not there: cargo build -p remora-create", path.display());
                path
            }
        }
    }
}

/// Where one container lives, and what it is to be.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) id: String,
    cgroup: PathBuf,
    layout: Layout,
    /// The OCI spec; change it before [`World::start`].
    pub(crate) spec: Value,
    pub(crate) stdio: StdioConfig,
    pub(crate) replay_bytes: usize,
    pub(crate) limits: Option<TimeLimits>,
}

impl World {
    pub(crate) fn new(runtime: Runtime, args: &[&str]) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let folder = tempfile::Builder::new().prefix("remora-shim-test-").tempdir_in("/var/tmp").unwrap();
        make_rootfs(&folder.path().join("rootfs"));
        let cgroup = Path::new(CGROUPS).join(&id);
        let spec = spec(args, &cgroup);
        let stdio = StdioConfig { tty: false, stdin: false, stdin_once: false };
        let layout = Layout::detect().unwrap();
        Self { runtime, folder, id, cgroup, layout, spec, stdio, replay_bytes: 64 * 1024, limits: None }
    }

    pub(crate) fn sh(runtime: Runtime, script: &str) -> Self {
        Self::new(runtime, &["/bin/sh", "-c", script])
    }

    /// A container that stays until it is killed.
    pub(crate) fn idle(runtime: Runtime) -> Self {
        Self::new(runtime, &["/bin/tail", "-f", "/dev/null"])
    }

    pub(crate) fn with_tty(mut self) -> Self {
        self.spec["process"]["terminal"] = true.into();
        self.stdio = StdioConfig { tty: true, stdin: true, stdin_once: false };
        self
    }

    pub(crate) fn with_stdin(mut self, stdin_once: bool) -> Self {
        self.stdio = StdioConfig { tty: false, stdin: true, stdin_once };
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        self.layout.folders(&self.cgroup)
    }

    pub(crate) fn config(&self) -> ShimConfig {
        ShimConfig {
            container_id: self.id.clone(),
            bundle: self.folder.path().to_owned(),
            socket: self.path("a-folder-with-a-name-that-makes-the-path-of-the-socket-longer-than-an-address-may-be-in-all-of-linux/shim.sock"),
            start_record: self.path("start.json"),
            exit_record: self.path("exit.json"),
            runtime: LowLevelRuntime { path: self.runtime.path(), root: self.path("state"), args: Vec::new() },
            stdio: self.stdio,
            log_path: Some(self.path("0.log")),
            log_limit: None,
            cgroups: CgroupPaths(self.cgroups()),
            replay_bytes: self.replay_bytes,
            limits: self.limits,
        }
    }

    /// Spawns the shim and waits for its report.
    pub(crate) fn spawn(self) -> (Running, Report) {
        let config = self.config();
        self.write(&config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_remora-shim"));
        let errors = fs::File::create(self.path("shim.log")).unwrap();
        command.arg(self.path("shim.json")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let (pipe, writer) = remora_sys::spawn::detach(&mut command).unwrap();
        let shim = command.spawn().unwrap();
        drop(writer);
        Running { world: self, config, shim }.with_report(pipe)
    }

    /// Spawns the shim before its bundle is there; `meanwhile` gets the shim's pid before it is told to go on.
    pub(crate) fn spawn_ahead(self, meanwhile: impl FnOnce(u32)) -> (Running, Report) {
        let (shim, mut order, pipe) = self.wait_ahead();
        let config = self.config();
        self.write(&config);
        meanwhile(shim.id());
        let inode = fs::metadata(self.path("shim.json")).unwrap().ino();
        order.write_all(&inode.to_le_bytes()).unwrap();
        Running { world: self, config, shim }.with_report(pipe)
    }

    /// A shim that waits: its process, where it is told, and where it will report.
    pub(crate) fn wait_ahead(&self) -> (Child, PipeWriter, PipeReader) {
        let (input, order) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_remora-shim"));
        command.arg("ahead").arg(self.runtime.path()).arg(self.folder.path());
        command.arg(self.path("shim.log")).arg(self.path("shim.json"));
        command.stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
        let (pipe, writer) = remora_sys::spawn::detach(&mut command).unwrap();
        let shim = command.spawn().unwrap();
        drop(writer);
        (shim, order, pipe)
    }

    fn write(&self, config: &ShimConfig) {
        fs::create_dir_all(config.socket.parent().unwrap()).unwrap();
        fs::write(self.path("config.json"), self.spec.to_string()).unwrap();
        fs::write(self.path("shim.json"), serde_json::to_string(config).unwrap()).unwrap();
    }

    /// As [`World::spawn`]; the container must start.
    pub(crate) fn start(self) -> Running {
        let (running, report) = self.spawn();
        assert!(matches!(report, Report::Started(_)), "{report:?}\n{}", running.notes());
        running
    }
}

/// A shim with its container.
pub(crate) struct Running {
    pub(crate) world: World,
    pub(crate) config: ShimConfig,
    pub(crate) shim: Child,
}

impl Running {
    fn with_report(self, mut pipe: PipeReader) -> (Self, Report) {
        let mut report = String::new();
        pipe.read_to_string(&mut report).unwrap();
        let report =
            serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report:?}\n{}", self.notes()));
        (self, report)
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(remora_sys::socket::connect(&self.config.socket).unwrap())
    }

    pub(crate) fn ask(&self, request: Request) -> Reply {
        let mut client = self.connect();
        client.send(&Frame::Request(request));
        client.reply()
    }

    pub(crate) fn attach(&self) -> Client {
        let mut client = self.connect();
        let request = AttachRequest { exec_id: None, stdin: true, stdout: true, stderr: true };
        client.send(&Frame::Request(Request::Attach(request)));
        assert!(matches!(client.reply(), Reply::Streaming { .. }));
        client
    }

    /// Asks for an exec and gives the client and the reply.
    pub(crate) fn exec(&self, id: &str, args: &[&str], tty: bool, stdin: bool) -> (Client, Reply) {
        let mut process = self.world.spec["process"].clone();
        process["args"] = json!(args);
        self.exec_process(id, &process, tty, stdin)
    }

    pub(crate) fn exec_process(&self, id: &str, process: &Value, tty: bool, stdin: bool) -> (Client, Reply) {
        let mut client = self.connect();
        let size = tty.then_some(TerminalSize { width: 100, height: 30 });
        let request = ExecRequest { id: id.to_owned(), process: process.to_string(), tty, stdin, size };
        client.send(&Frame::Request(Request::Exec(request)));
        let reply = client.reply();
        (client, reply)
    }

    /// Runs a shell script in the container; its standard output and exit record.
    pub(crate) fn exec_sh(&self, script: &str) -> (String, ExitRecord) {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let id = format!("sh-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let (mut client, reply) = self.exec(&id, &["/bin/sh", "-c", script], false, false);
        assert_eq!(reply, Reply::Streaming { tty: false }, "{}", self.notes());
        client.until_exit()
    }

    /// Waits for a file to appear: told by the kernel, not by the clock.
    pub(crate) fn until_file(&self, name: &str) {
        let path = self.world.path(name);
        let watcher = remora_sys::inotify::Watcher::new().unwrap();
        watcher.watch(path.parent().unwrap()).unwrap();
        while !fs::exists(&path).unwrap() {
            let mut set = [rustix::event::PollFd::new(&watcher, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
            assert!(rustix::event::poll(&mut set, Some(&limit)).unwrap() > 0, "{} never came", path.display());
            watcher.events().unwrap();
        }
    }

    pub(crate) fn notes(&self) -> String {
        fs::read_to_string(self.world.path("shim.log")).unwrap_or_default()
    }

    /// The log without the times.
    pub(crate) fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.world.path("0.log")).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// How the container ended: told by the shim, or read from the record if the shim has ended already.
    pub(crate) fn wait(&self) -> ExitRecord {
        let Ok(socket) = remora_sys::socket::connect(&self.config.socket) else { return self.exit_record() };
        let mut client = Client::new(socket);
        client.send(&Frame::Request(Request::Wait));
        match client.next() {
            Some(Frame::Reply(Reply::State(ProcessState::Exited(record)))) => record,
            None => self.exit_record(),
            other => panic!("{other:?}\n{}", self.notes()),
        }
    }

    pub(crate) fn exit_record(&self) -> ExitRecord {
        remora_shim_protocol::unseal(&fs::read(self.world.path("exit.json")).unwrap()).unwrap()
    }

    /// The shim has ended by itself, with all that it made removed.
    pub(crate) fn assert_over(&mut self) {
        assert!(self.shim.wait().unwrap().code().is_some(), "{}", self.notes());
        assert!(!self.config.socket.exists());
        assert!(self.world.cgroups().iter().all(|folder| !folder.exists()), "cgroups are left\n{}", self.notes());
        let left: Vec<_> = fs::read_dir(self.world.path("state"))
            .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "the runtime's state holds {left:?}\n{}", self.notes());
        let records = ["copy-exit.json", "copy-start.json", "exit.json", "start.json"];
        let files = ["0.log", "config.json", "rootfs", "shim.json", "shim.log", "state"];
        let unknown: Vec<_> = fs::read_dir(self.world.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !records.contains(&name.as_str()) && !files.contains(&name.as_str()))
            .filter(|name| !name.starts_with("a-folder"))
            .collect();
        assert!(unknown.is_empty(), "the bundle holds {unknown:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("shim's notes:\n{}", self.notes());
        }
        // The shim ends when its container does; whatever else is wrong, nothing stays.
        let _ = cgroup::kill_all(&self.world.cgroups());
        if std::thread::panicking() {
            let _ = self.shim.kill();
        }
        let _ = self.shim.wait();
        let _ = Command::new(&self.config.runtime.path)
            .arg("--root")
            .arg(&self.config.runtime.root)
            .args(["delete", "--force", &self.world.id])
            .stderr(Stdio::null())
            .status();
        let _ = self.world.layout.remove(&self.world.cgroup);
    }
}

/// One connection, blocking.
pub(crate) struct Client {
    socket: UnixStream,
    decoder: Decoder,
    seen: Vec<u8>,
}

impl Client {
    fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(HANGS)).unwrap();
        Self { socket, decoder: Decoder::default(), seen: Vec::new() }
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        // The other side may have gone: what it said before can still be read.
        let _ = self.socket.write_all(&bytes);
    }

    pub(crate) fn stdin(&mut self, text: &str) {
        self.send(&Frame::Stdin(text.as_bytes().to_vec()));
    }

    /// The next frame, or none at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            let length = self.socket.read(&mut buffer).unwrap_or_else(|error| {
                if error.kind() == std::io::ErrorKind::ConnectionReset {
                    return 0;
                }
                panic!("{error}; seen so far: {:?}", String::from_utf8_lossy(&self.seen))
            });
            if length == 0 {
                return None;
            }
            self.decoder.push(&buffer[..length]);
        }
    }

    pub(crate) fn reply(&mut self) -> Reply {
        match self.next() {
            Some(Frame::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Reads output until it holds `text`; gives all up to there and forgets it.
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(at) = seen.find(text) {
                let (before, after) = seen.split_at(at + text.len());
                self.seen = after.as_bytes().to_vec();
                return before.to_owned();
            }
            match self.next() {
                Some(Frame::Stdout(data) | Frame::Stderr(data)) => self.seen.extend(data),
                other => panic!("{other:?} after {seen:?}, waiting for {text:?}"),
            }
        }
    }

    /// All output that is left, and how the process ended. The connection has ended too.
    pub(crate) fn until_exit(&mut self) -> (String, ExitRecord) {
        loop {
            match self.next() {
                Some(Frame::Stdout(data) | Frame::Stderr(data)) => self.seen.extend(data),
                Some(Frame::Exit(record)) => {
                    assert_eq!(self.next(), None);
                    return (String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned(), record);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn make_rootfs(rootfs: &Path) {
    for name in ["bin", "dev", "proc", "sys", "tmp", "etc", "root"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let tools = "sh cat ls ps sleep echo tty stty true false grep id env head tail dd kill readlink test yes nohup ulimit pwd touch sync seq";
    for tool in tools.split(' ') {
        symlink("busybox", rootfs.join("bin").join(tool)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/plain"), "no program").unwrap();
}

fn spec(args: &[&str], cgroup: &Path) -> Value {
    let capabilities =
        ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE", "CAP_DAC_OVERRIDE"];
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "hostname": "inside",
        "root": { "path": "rootfs" },
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin", "TERM=xterm"],
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "network" }],
        },
    })
}

/// Of test programs that were killed: their pid is the first part of the name.
fn remove_leftovers() {
    let layout = Layout::detect().unwrap();
    for folder in layout.folders(Path::new(CGROUPS)) {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().into_string().unwrap();
            let Some((pid, _)) = name.split_once('-') else { continue };
            if !Path::new("/proc").join(pid).exists() {
                let cgroup = Path::new(CGROUPS).join(&name);
                cgroup::kill_all(&layout.folders(&cgroup)).unwrap();
                layout.remove(&cgroup).unwrap();
            }
        }
    }
}
