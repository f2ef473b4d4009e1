//! A runtime on real parts for root tests: folders of its own, a busybox root file system as the only image, a network in memory.
//!
//! The binaries are those beside the test program: `cargo build -p remora-shim -p remora-create` comes first.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use remora_cri::{
    ContainerConfig, ContainerEventType, ContainerEvents, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, Error, ExecSyncRequest, ImageFsInfoResponse, ImageService, ImageStatusRequest,
    ImageStatusResponse, ListImagesRequest, ListImagesResponse, PodSandboxConfig, PullImageRequest, PullImageResponse,
    RemoveImageRequest, RemovePodSandboxRequest, RunPodSandboxRequest, RuntimeService, StartContainerRequest,
};
use remora_images::LayerLease;
use remora_network::FakeNetwork;
use remora_oci_config::ImageConfig;
use remora_runtime::contract::{Environment, event};
use remora_runtime::{Handler, Images, LeasedImage, Runtime, RuntimeConfig};
use remora_streaming::{Reader, Stdio, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A test that waits longer than this for an answer has failed: it is no measure of anything.
pub(crate) const HANGS: Duration = Duration::from_secs(30);
/// The handlers that every test runs on.
pub(crate) const HANDLERS: [&str; 2] = ["", "runc"];

/// Runs a test on both low-level runtimes, each on a runtime of its own that is torn down and looked through afterwards. Without
/// root it skips aloud, or fails under `REMORA_REQUIRE_ROOT=1`.
pub(crate) fn on_both<F: Future<Output = World>>(name: &str, test: impl Fn(World) -> F) {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{name} needs root, and REMORA_REQUIRE_ROOT is set");
        eprintln!("SKIPPED: {name} needs root");
        return;
    }
    static LEFTOVERS: Once = Once::new();
    LEFTOVERS.call_once(remove_leftovers);
    for handler in HANDLERS {
        eprintln!("== {name} on {}", if handler.is_empty() { "remora-create" } else { handler });
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        tokio.block_on(async {
            let world = test(World::open(handler).await).await;
            world.finish().await;
        });
    }
}

const PREFIX: &str = "remora-runtime-test-";

/// What test programs that failed or were killed have left; those that still run are left alone.
fn remove_leftovers() {
    let is_left = |name: &str| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
    };
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
        for cgroup in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            if is_left(&cgroup.file_name().to_string_lossy()) {
                remora_sys::cgroup::kill_all(&[cgroup.path()]).unwrap();
            }
        }
    }
    let layout = remora_sys::cgroup::Layout::detect().unwrap();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
        for cgroup in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            if is_left(&cgroup.file_name().to_string_lossy()) {
                layout.remove(&Path::new("/").join(cgroup.file_name())).unwrap();
            }
        }
    }
    for folder in fs::read_dir("/var/tmp").unwrap().flatten() {
        if is_left(&folder.file_name().to_string_lossy()) {
            remora_sys::mount::unmount_below(&folder.path()).unwrap();
            fs::remove_dir_all(folder.path()).unwrap();
        }
    }
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
        make_rootfs(&folder.path().join("image"));
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

    /// Folders of a cgroup below this runtime's own that exist.
    pub(crate) fn cgroups(&self, below: &str) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap();
        let folders = hierarchies.map(|entry| entry.unwrap().path().join(&self.cgroup_root).join(below));
        folders
            .chain([Path::new("/sys/fs/cgroup").join(&self.cgroup_root).join(below)])
            .filter(|f| f.exists())
            .collect()
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
        assert_eq!(self.mounts(), [PathBuf::new(); 0], "mounts are left");
        assert_eq!(self.cgroups(""), [PathBuf::new(); 0], "cgroups are left");
        assert_eq!(self.network.attached(), [String::new(); 0], "sandboxes are left in the network");
        for folder in ["run", "root/sandboxes", "root/containers"] {
            let path = self.folder.path().join(folder);
            let left: Vec<_> = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
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
pub(crate) fn config(folder: &Path, cgroup_root: &str, network: Arc<FakeNetwork>) -> RuntimeConfig {
    let handler = |path: PathBuf| Handler { path, args: Vec::new() };
    let handlers = [("", binary("remora-create")), ("runc", "/usr/sbin/runc".into())];
    RuntimeConfig {
        root: folder.join("root"),
        run: folder.join("run"),
        shim: binary("remora-shim"),
        handlers: handlers.map(|(name, path)| (name.to_owned(), handler(path))).into(),
        network,
        images: Arc::new(PlainImage { rootfs: folder.join("image") }),
        cgroup_root: cgroup_root.to_owned(),
        replay_bytes: 64 << 10,
    }
}

/// A binary of the same build.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not there: cargo build -p remora-shim -p remora-create", path.display());
    path
}

/// Debian's static busybox with all its names, and a user database.
fn make_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "cat", "echo", "ps", "ls", "id", "true", "stty", "hostname", "tail", "wc", "mount"] {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:34:\nlogs:x:50:web\n").unwrap();
}

/// One image under every name, unpacked in a folder.
struct PlainImage {
    rootfs: PathBuf,
}

#[async_trait]
impl Images for PlainImage {
    fn lease(&self, image: &str, holder: &str) -> Result<LeasedImage, Error> {
        if image != "busybox" {
            return Err(Error::not_found("image", image));
        }
        let id: remora_images::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let lease = LayerLease {
            holder: holder.to_owned(),
            image: id.clone(),
            layers: Vec::new(),
            lowerdirs: vec![self.rootfs.clone()],
        };
        let config = ImageConfig { env: vec!["PATH=/bin".into()], cmd: vec!["sh".into()], ..Default::default() };
        Ok(LeasedImage { lease, id: id.to_string(), image_ref: id.to_string(), config })
    }

    async fn release(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait]
impl ImageService for PlainImage {
    async fn list_images(&self, _: ListImagesRequest) -> Result<ListImagesResponse, Error> {
        Ok(ListImagesResponse::default())
    }
    async fn image_status(&self, _: ImageStatusRequest) -> Result<ImageStatusResponse, Error> {
        Ok(ImageStatusResponse { image: None, info: BTreeMap::new() })
    }
    async fn pull_image(&self, _: PullImageRequest) -> Result<PullImageResponse, Error> {
        Ok(PullImageResponse::default())
    }
    async fn remove_image(&self, _: RemoveImageRequest) -> Result<(), Error> {
        Ok(())
    }
    async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, Error> {
        Ok(ImageFsInfoResponse::default())
    }
}

/// The other ends of a session's streams.
pub(crate) struct Client {
    pub(crate) stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    seen: String,
}

impl Client {
    /// With or without input; with a terminal there is no standard error.
    pub(crate) fn new(stdin: bool, tty: bool) -> (Self, Stdio) {
        let pipe = || tokio::io::duplex(64 << 10);
        let ((input, its_input), (output, its_output), (errors, its_errors)) = (pipe(), pipe(), pipe());
        let stdio = Stdio {
            stdin: stdin.then(|| Box::new(its_input) as Reader),
            stdout: Some(Box::new(its_output) as Writer),
            stderr: (!tty).then(|| Box::new(its_errors) as Writer),
            resize: None,
        };
        (Client { stdin: input, stdout: output, stderr: errors, seen: String::new() }, stdio)
    }

    pub(crate) async fn end_input(&mut self) {
        self.stdin.shutdown().await.unwrap();
    }

    pub(crate) async fn stdout(&mut self) -> String {
        let mut text = String::new();
        tokio::time::timeout(HANGS, self.stdout.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    pub(crate) async fn stderr(&mut self) -> String {
        let mut text = String::new();
        tokio::time::timeout(HANGS, self.stderr.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    /// Reads output until it holds this text, which is then taken off.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            let read = tokio::time::timeout(HANGS, self.stdout.read(&mut buffer)).await;
            let length = read.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen)).unwrap();
            assert!(length > 0, "no {text:?} in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at);
    }
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
        let logged = async {
            while !self.log(pod, container).iter().any(|have| have == line) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANGS, logged).await.unwrap_or_else(|_| panic!("{line:?} was not logged"));
    }
}
