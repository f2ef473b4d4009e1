//! A runtime on real parts for root tests: folders of its own, a busybox root file system as the only image, a network in memory.
//!
//! The binaries are those beside the test program: `cargo build -p remora-shim -p remora-create` comes first.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test program uses its part")]

mod client;
mod image;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use remora_cri::{
    CgroupDriver, ContainerConfig, ContainerEventType, ContainerEvents, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, PodSandboxConfig, RemovePodSandboxRequest, RunPodSandboxRequest,
    RuntimeService, StartContainerRequest, slice_part, slice_path,
};
use remora_network::{FakeNetwork, Network};
use remora_runtime::contract::{Environment, event};
use remora_runtime::{Handler, Runtime, RuntimeConfig};
use remora_sys::cgroup::Layout;

use image::{PlainImage, make_images};

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use client::Client;

/// A test that waits longer than this for an answer has failed: it is no measure of anything.
pub(crate) const HANGS: Duration = Duration::from_secs(30);

/// The handlers that a test runs on; one that this machine cannot run is skipped aloud.
pub(crate) fn handlers(name: &str) -> Vec<&'static str> {
    let unified = matches!(Layout::detect().unwrap(), Layout::Unified(_));
    if !unified {
        eprintln!("SKIPPED: {name} on crun needs cgroup v2: cargo xtask vm test");
    }
    ["", "runc"].into_iter().chain(unified.then_some("crun")).collect()
}

/// Runs a test on each low-level runtime, each on a runtime of its own that is torn down and looked through afterwards. Without
/// root it skips aloud, or fails under `REMORA_REQUIRE_ROOT=1`.
pub(crate) fn on_each<F: Future<Output = World>>(name: &str, test: impl Fn(World) -> F) {
    on(&handlers(name), name, test);
}

/// Likewise, on those of the low-level runtimes.
pub(crate) fn on<F: Future<Output = World>>(handlers: &[&str], name: &str, test: impl Fn(World) -> F) {
    if !ready(name) {
        return;
    }
    for handler in handlers {
        eprintln!("== {name} on {}", if handler.is_empty() { "remora-create" } else { handler });
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        tokio.block_on(async {
            let world = test(World::open(handler).await).await;
            world.finish().await;
        });
    }
}

/// Whether a test can run: it needs root. What earlier programs have left is removed first.
pub(crate) fn ready(name: &str) -> bool {
    static LEFTOVERS: Once = Once::new();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{name} needs root, and REMORA_REQUIRE_ROOT is set");
        eprintln!("SKIPPED: {name} needs root");
        return false;
    }
    LEFTOVERS.call_once(remove_leftovers);
    true
}

pub(crate) const PREFIX: &str = "remora-runtime-test-";

/// What test programs that failed or were killed have left; those that still run are left alone.
fn remove_leftovers() {
    let is_left = |name: &str| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
    };
    let cgroups = hierarchies().into_iter().flat_map(fs::read_dir).flatten().flatten();
    let left = cgroups.filter(|cgroup| is_left(&cgroup.file_name().to_string_lossy()));
    let left: Vec<PathBuf> = left.map(|cgroup| cgroup.path()).collect();
    // Processes are in several hierarchies: all are killed before the first folder goes.
    left.iter().for_each(|cgroup| _ = remora_sys::cgroup::kill_all(std::slice::from_ref(cgroup)).unwrap());
    left.iter().for_each(|cgroup| remove_cgroup(cgroup));
    for folder in fs::read_dir("/var/tmp").unwrap().flatten() {
        if is_left(&folder.file_name().to_string_lossy()) {
            remora_sys::mount::unmount_below(&folder.path()).unwrap();
            fs::remove_dir_all(folder.path()).unwrap();
        }
    }
}

/// Where hierarchies of cgroups are mounted, the second one of a hybrid system too.
fn hierarchies() -> Vec<PathBuf> {
    match Layout::detect().unwrap() {
        Layout::Unified(mount) => vec![mount],
        Layout::Legacy { hierarchies, unified } => {
            hierarchies.into_iter().map(|hierarchy| hierarchy.mount).chain(unified).collect()
        }
    }
}

/// A cgroup's folder and those below it; its files cannot be removed and need not be.
fn remove_cgroup(folder: &Path) {
    let below = fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir());
    below.for_each(|entry| remove_cgroup(&entry.path()));
    fs::remove_dir(folder).unwrap();
}

/// One runtime and what it stands on.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) handler: String,
    pub(crate) cgroup_root: String,
    pub(crate) runtime: Runtime,
    pub(crate) events: ContainerEvents,
    network: Arc<FakeNetwork>,
    logs: PathBuf,
}

impl World {
    async fn open(handler: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in("/var/tmp").unwrap();
        make_images(&folder.path().join("images"));
        let cgroup_root = format!("{PREFIX}{}-{number}", std::process::id());
        Self::open_on(folder, handler.to_owned(), cgroup_root, new_network()).await
    }

    /// In the folder of another process's world; nothing of it is removed at the end.
    pub(crate) async fn open_in(folder: PathBuf) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap();
        let mut nobodys = tempfile::tempdir().unwrap();
        nobodys.disable_cleanup(true);
        let mut world =
            Self::open_paths(&folder, variable("REMORA_HANDLER"), variable("REMORA_CGROUP"), new_network(), nobodys)
                .await;
        world.logs = folder.join("logs");
        world
    }

    async fn open_on(
        folder: tempfile::TempDir,
        handler: String,
        cgroup_root: String,
        network: Arc<FakeNetwork>,
    ) -> Self {
        let path = folder.path().to_owned();
        Self::open_paths(&path, handler, cgroup_root, network, folder).await
    }

    async fn open_paths(
        path: &Path,
        handler: String,
        cgroup_root: String,
        network: Arc<FakeNetwork>,
        folder: tempfile::TempDir,
    ) -> Self {
        let runtime = Runtime::open(config(path, &cgroup_root, network.clone())).await.unwrap();
        let events = runtime.get_container_events().await.unwrap();
        World { logs: path.join("logs"), folder, handler, cgroup_root, runtime, events, network }
    }

    /// Closes the runtime and opens it again, as a new daemon would.
    pub(crate) async fn reopen(self) -> Self {
        self.reopen_after(async {}).await
    }

    /// Likewise, and something happens in between.
    pub(crate) async fn reopen_after(self, meanwhile: impl Future<Output = ()>) -> Self {
        self.close_for(meanwhile).await.0
    }

    /// Likewise, and something comes of it.
    pub(crate) async fn close_for<T>(self, meanwhile: impl Future<Output = T>) -> (Self, T) {
        let World { folder, handler, cgroup_root, runtime, events, network, .. } = self;
        drop(events);
        runtime.close().await;
        let result = meanwhile.await;
        (Self::open_on(folder, handler, cgroup_root, network).await, result)
    }

    /// A second runtime on the same folders.
    pub(crate) async fn open_again(&self) -> Result<Runtime, remora_runtime::Error> {
        Runtime::open(config(self.folder.path(), &self.cgroup_root, self.network.clone())).await
    }

    /// For the contract's checks.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            runtime: Arc::new(self.runtime.clone()),
            handler: self.handler.clone(),
            image: "busybox".into(),
            log_directory: self.logs.clone(),
        }
    }

    pub(crate) fn sandbox_config(&self, name: &str) -> PodSandboxConfig {
        let mut config = self.environment().sandbox_config(name, 0);
        let linux = config.linux.get_or_insert_default();
        linux.cgroup_parent = format!("/kubepods/pod-{name}");
        config
    }

    pub(crate) async fn sandbox(&self, name: &str) -> String {
        self.sandbox_with(self.sandbox_config(name)).await
    }

    pub(crate) async fn sandbox_with(&self, config: PodSandboxConfig) -> String {
        fs::create_dir_all(&config.log_directory).unwrap();
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: self.handler.clone() };
        self.runtime.run_pod_sandbox(request).await.unwrap().pod_sandbox_id
    }

    pub(crate) fn container(&self, name: &str, command: &[&str]) -> ContainerConfig {
        self.environment().container_config(name, command)
    }

    pub(crate) async fn create(&self, sandbox: &str, config: ContainerConfig) -> String {
        let request =
            CreateContainerRequest { pod_sandbox_id: sandbox.into(), config: Some(config), sandbox_config: None };
        self.runtime.create_container(request).await.unwrap().container_id
    }

    /// Creates and starts.
    pub(crate) async fn start(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        self.runtime.start_container(StartContainerRequest { container_id: id.clone() }).await.unwrap();
        id
    }

    pub(crate) async fn status(&self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.runtime.container_status(request).await.unwrap().status.unwrap()
    }

    /// Waits until the container has ended.
    pub(crate) async fn ended(&mut self, id: &str) -> ContainerStatus {
        event(&mut self.events, id, ContainerEventType::Stopped).await.unwrap();
        self.status(id).await
    }

    /// The log's lines without their times.
    pub(crate) fn log(&self, pod: &str, container: &str) -> Vec<String> {
        let path = self.logs.join(pod).join(format!("{container}.log"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) {
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.into() }).await.unwrap();
    }

    /// Folders of a cgroup below this runtime's own that exist: of all cgroups, of a pod's (`kubepods/pod-NAME`), or of a container's in that.
    pub(crate) fn cgroups(&self, below: &str) -> Vec<PathBuf> {
        let path = match driver() {
            CgroupDriver::Cgroupfs => format!("{}/{below}", self.cgroup_root),
            CgroupDriver::Systemd => self.unit_path(below),
        };
        let folders = hierarchies().into_iter().map(|mount| mount.join(path.trim_start_matches('/')));
        folders.filter(|folder| folder.exists()).collect()
    }

    fn unit_path(&self, below: &str) -> String {
        let mut parts = below.splitn(3, '/');
        let pod = [&self.cgroup_root, parts.next().unwrap_or(""), parts.next().unwrap_or("")].join("/");
        let slice = slice_path(&pod);
        match parts.next() {
            Some(id) => format!("{slice}/{}-{id}.scope/container", self.unit_root()),
            None => slice,
        }
    }

    /// What the names of all of this runtime's units begin with.
    pub(crate) fn unit_root(&self) -> String {
        slice_part(&self.cgroup_root)
    }

    /// This runtime's units that systemd knows.
    pub(crate) fn units(&self) -> Vec<String> {
        let pattern = format!("{}*", self.unit_root());
        let listed = systemctl(&["list-units", "--all", "--plain", "--no-legend", &pattern]);
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// What a file of a cgroup below this runtime's own holds, by its names on v2 and on v1.
    pub(crate) fn cgroup_value(&self, below: &str, names: &[&str]) -> String {
        let folders = self.cgroups(below);
        let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
        let found = files.into_iter().find_map(|file| fs::read_to_string(file).ok());
        found.unwrap_or_else(|| panic!("none of {names:?} is in {folders:?}")).trim().to_owned()
    }

    /// Sandboxes that the network knows.
    pub(crate) fn attached(&self) -> Vec<String> {
        self.network.attached()
    }

    /// Mount points below this runtime's folders.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        remora_sys::mount::mounts_below(self.folder.path()).unwrap().into_iter().map(|mount| mount.target).collect()
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Takes the runtime down and looks for what it has left.
    async fn finish(self) {
        self.runtime.clone().teardown().await.unwrap();
        assert!(self.mounts().is_empty(), "mounts are left: {:?}", self.mounts());
        assert!(self.cgroups("").is_empty(), "cgroups are left: {:?}", self.cgroups(""));
        if driver() == CgroupDriver::Systemd {
            assert!(self.units().is_empty(), "units are left: {:?}", self.units());
        }
        let attached = self.attached();
        assert!(attached.is_empty(), "sandboxes are left in the network: {attached:?}");
        for folder in ["run", "root/sandboxes", "root/containers"] {
            let path = self.folder.path().join(folder);
            let left: Vec<_> = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// What `systemctl` says.
pub(crate) fn systemctl(words: &[&str]) -> String {
    said(Command::new("systemctl").args(words))
}

/// What a program says that asks systemd. It asks once: the runtime is to cope with a systemd that is executed anew by the test beside this one, tools
/// of tests are not.
pub(crate) fn said(command: &mut Command) -> String {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if command.get_args().any(|word| word == "daemon-reexec") {
        // It returns when the old one has gone.
        let answers = || Command::new("systemctl").arg("show-environment").output().unwrap().status.success();
        let begun = Instant::now();
        while !answers() {
            assert!(begun.elapsed() < HANGS, "no systemd answers");
        }
    }
    String::from_utf8(output.stdout).unwrap()
}

fn new_network() -> Arc<FakeNetwork> {
    Arc::new(FakeNetwork::new("10.88.0.0/24".parse().unwrap()))
}

/// Ends a process that a test has started, by force.
pub(crate) fn kill(pid: i32) {
    const KILL: i32 = 9;
    let handle = remora_sys::process::PidFd::open(pid).unwrap().unwrap();
    assert!(handle.send_signal(KILL).unwrap());
    handle.wait_ended().unwrap();
}

/// The configuration of a runtime below a folder.
pub(crate) fn config(folder: &Path, cgroup_root: &str, network: Arc<dyn Network>) -> RuntimeConfig {
    let handler = |name: &str, path| Handler { path, args: Vec::new(), user_namespaces: name != "crun" };
    let handlers = [("", binary("remora-create")), ("runc", "/usr/sbin/runc".into()), ("crun", "/usr/bin/crun".into())];
    RuntimeConfig {
        root: folder.join("root"),
        run: folder.join("run"),
        shim: binary("remora-shim"),
        handlers: handlers.map(|(name, path)| (name.to_owned(), handler(name, path))).into(),
        network,
        images: Arc::new(PlainImage { folder: folder.join("images") }),
        cgroup_root: cgroup_root.to_owned(),
        cgroup_driver: driver(),
        replay_bytes: 64 << 10,
    }
}

/// Who makes cgroups in this run.
pub(crate) fn driver() -> CgroupDriver {
    match std::env::var("REMORA_TEST_CGROUP_DRIVER").as_deref() {
        Ok("systemd") => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    }
}

/// A binary of the same build.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not there: cargo build -p remora-shim -p remora-create", path.display());
    path
}

impl World {
    /// The output of a command in a container.
    pub(crate) async fn exec(&self, id: &str, command: &[&str]) -> String {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: id.into(), cmd, timeout: 30 };
        String::from_utf8(self.runtime.exec_sync(request).await.unwrap().stdout).unwrap()
    }

    /// Waits, by looking again and again in the container itself, until no process's command line holds the text.
    pub(crate) async fn until_gone(&self, id: &str, text: &str) {
        let gone = async { while self.exec(id, &["ps"]).await.contains(text) {} };
        tokio::time::timeout(HANGS, gone).await.unwrap_or_else(|_| panic!("{text} is still there"));
    }

    /// Waits until a log has a line.
    pub(crate) async fn until_logged(&self, pod: &str, container: &str, line: &str) {
        self.until_log(pod, container, |have| have == line).await;
    }

    /// Waits until a log has a line like this.
    pub(crate) async fn until_log(&self, pod: &str, container: &str, is_meant: impl Fn(&str) -> bool) {
        let logged = async {
            while !self.log(pod, container).iter().any(|line| is_meant(line)) {
                tokio::task::yield_now().await;
            }
        };
        let hangs = |_| panic!("what is waited for was not logged: {:?}", self.log(pod, container));
        tokio::time::timeout(HANGS, logged).await.unwrap_or_else(hangs);
    }
}
