//! The runtime on nothing but real parts: the image store with an imported image, and the bridge in a network namespace that plays
//! the node.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod world;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use remora_cri::{
    ContainerStatusRequest, CreateContainerRequest, ExecSyncRequest, ImageService, ImageSpec, ImageStatusRequest,
    PodSandboxStatusRequest, RemoveContainerRequest, RemoveImageRequest, RunPodSandboxRequest, RuntimeService,
    StartContainerRequest, StatusRequest,
};
use remora_images::{FileEntry, FileKind, ImageStore, ImportSource, StoreConfig, build_image};
use remora_network::{Bridge, BridgeConfig};
use remora_runtime::contract::Environment;
use remora_runtime::{Runtime, RuntimeConfig};
use remora_sys::namespace::{self, Kind, NewNamespaces};
use tokio::sync::watch;

const IMAGE: &str = "docker.io/library/tool:latest";

#[test]
fn an_imported_image_runs_in_a_pod_with_an_address() {
    if !world::ready("real parts") {
        return;
    }
    for handler in world::handlers("real parts") {
        in_a_node(|folder| async move {
            let env = open(&folder, handler).await;
            pod_with_an_address(&env, &folder).await;
        });
    }
}

struct Real {
    env: Environment,
    runtime: Runtime,
}

async fn open(folder: &Path, handler: &str) -> Real {
    let leases = remora_runtime::leases(&folder.join("root"), &folder.join("run")).await.unwrap();
    let store = StoreConfig { root: folder.join("images"), registries: Default::default(), limits: Default::default() };
    let images = ImageStore::open(store, leases).await.unwrap();
    let archive = folder.join("tool.tar");
    fs::write(&archive, tool_image()).unwrap();
    let (progress, _) = watch::channel(Default::default());
    images.import(ImportSource::Path(archive), progress).await.unwrap();
    let node = format!("t{}", std::process::id());
    let bridge = BridgeConfig { node, state: folder.join("network"), subnet: None, api: None, nft: "nft".into() };
    let network = Arc::new(Bridge::open(bridge).await.unwrap());
    let cgroup_root = format!("{}{}-real", world::PREFIX, std::process::id());
    let config = world::config(folder, &cgroup_root, network);
    let runtime = Runtime::open(RuntimeConfig { images: Arc::new(images), ..config }).await.unwrap();
    let env = Environment {
        runtime: Arc::new(runtime.clone()),
        handler: handler.to_owned(),
        image: IMAGE.to_owned(),
        log_directory: folder.join("logs"),
    };
    Real { env, runtime }
}

async fn pod_with_an_address(real: &Real, folder: &Path) {
    let Real { env, runtime } = real;
    let sandbox = Some(env.sandbox_config("web", 0));
    let request = RunPodSandboxRequest { config: sandbox, runtime_handler: env.handler.clone() };
    let sandbox = runtime.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: false };
    let address = runtime.pod_sandbox_status(request).await.unwrap().status.unwrap().network.unwrap().ip;

    let config = Some(env.container_config("c", &[]));
    let request = CreateContainerRequest { pod_sandbox_id: sandbox, config, sandbox_config: None };
    let id = runtime.create_container(request).await.unwrap().container_id;
    runtime.start_container(StartContainerRequest { container_id: id.clone() }).await.unwrap();
    let cmd = ["sh", "-c", "id -u; pwd; echo $COLOUR; ip addr show dev eth0"].map(str::to_owned).to_vec();
    let done = runtime.exec_sync(ExecSyncRequest { container_id: id.clone(), cmd, timeout: 30 }).await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.starts_with("65532\n/srv\nblue\n"), "{said}");
    assert!(said.contains(&format!("inet {address}/")), "{address} is not in {said}");

    let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
    let status = runtime.container_status(request).await.unwrap().status.unwrap();
    assert!(status.image_ref.starts_with("sha256:") || status.image_ref.contains("@sha256:"), "{status:?}");
    let image = || Some(ImageSpec { image: IMAGE.into(), ..Default::default() });
    runtime.remove_image(RemoveImageRequest { image: image() }).await.unwrap();
    let gone = runtime.image_status(ImageStatusRequest { image: image(), verbose: false }).await.unwrap();
    assert!(gone.image.is_none());
    let cmd = vec!["ls".to_owned(), "/bin/busybox".to_owned()];
    let done = runtime.exec_sync(ExecSyncRequest { container_id: id.clone(), cmd, timeout: 30 }).await.unwrap();
    assert_eq!(done.exit_code, 0, "the layers stay while a container stands on them");
    assert!(runtime.status(StatusRequest { verbose: false }).await.unwrap().status.unwrap().conditions[1].status);

    runtime.remove_container(RemoveContainerRequest { container_id: id }).await.unwrap();
    runtime.clone().teardown().await.unwrap();
    assert!(remora_sys::mount::mounts_below(&folder.join("run")).unwrap().is_empty());
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    assert_eq!(links.lines().count(), 1, "only the loopback is left: {links}");
}

/// Debian's busybox, an ordinary user, a working folder.
fn tool_image() -> Vec<u8> {
    let busybox = FileEntry::new("bin/busybox", 0o755, FileKind::File(fs::read("/bin/busybox").unwrap()));
    let names = ["sh", "sleep", "id", "pwd", "ip", "ls"];
    let links = names.map(|name| FileEntry::new(format!("bin/{name}"), 0o777, FileKind::Symlink("busybox".into())));
    let srv = FileEntry::new("srv", 0o755, FileKind::Directory);
    let files: Vec<FileEntry> = [busybox, srv].into_iter().chain(links).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {
            "User": "65532", "WorkingDir": "/srv", "Env": ["PATH=/bin", "COLOUR=blue"],
            "Entrypoint": ["sleep"], "Cmd": ["1000"],
        },
    });
    let config = serde_json::from_value(config).unwrap();
    build_image(&files, &config).unwrap().docker_archive(&[IMAGE]).unwrap()
}

/// On a thread whose network namespace plays the node; everything that the test starts is in it.
fn in_a_node<F: Future<Output = ()>>(test: impl FnOnce(std::path::PathBuf) -> F + Send) {
    let prefix = format!("{}{}-", world::PREFIX, std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in("/var/tmp").unwrap();
    let node = folder.path().join("node");
    namespace::create(&NewNamespaces { pins: vec![(Kind::Net, node.clone())], hostname: None, sysctls: &[] }).unwrap();
    let path = folder.path().to_owned();
    namespace::run_in(Kind::Net, &node, || {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(test(path));
    })
    .unwrap();
    namespace::unpin(&node).unwrap();
}
