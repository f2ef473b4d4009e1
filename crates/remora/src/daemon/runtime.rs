//! The machine's part of a daemon: images, network and runtime. Also opened alone by `remora down`, to end what runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use remora_cli::{CgroupDriverArg, MirrorArg, UpArgs};
use remora_cri::{CgroupDriver, ImageService, RuntimeService};
use remora_images::{ImageStore, Mirror, Registries, RegistryHost, StoreConfig};
use remora_network::{ApiRoute, Bridge, BridgeConfig, Network, Subnet};
use remora_runtime::{Handler, Runtime, RuntimeConfig};
use remora_streaming::ContainerStreams;

use crate::place::Place;

/// How many bytes of a container's latest output are kept for those who attach later.
const REPLAY_BYTES: usize = 64 << 10;

/// Images, network and runtime.
pub(crate) struct Machine {
    images: Arc<ImageStore>,
    network: Arc<dyn Network>,
    runtime: Runtime,
    handlers: Vec<String>,
    cgroup_root: String,
}

/// What differs between a node that starts and one that is taken down.
pub(crate) struct MachineOptions<'a> {
    pub(crate) mirrors: &'a [MirrorArg],
    pub(crate) pod_cidr: Option<&'a str>,
    pub(crate) api: Option<ApiRoute>,
    pub(crate) oci_runtime: Option<&'a Path>,
    /// For what is made from now on.
    pub(crate) cgroup_driver: CgroupDriver,
}

impl Machine {
    /// As `remora up` was told.
    pub(crate) async fn open(args: &UpArgs, place: &Place, libexec: &Path, api: Option<ApiRoute>) -> Result<Machine> {
        let options = MachineOptions {
            mirrors: &args.mirrors,
            pod_cidr: args.pod_cidr.as_deref(),
            api,
            oci_runtime: args.oci_runtime.as_deref(),
            cgroup_driver: cgroup_driver(args.cgroup_driver).await?,
        };
        Machine::open_with(&options, place, libexec).await
    }

    /// Reads what is on disk, and adopts what runs.
    pub(crate) async fn open_with(options: &MachineOptions<'_>, place: &Place, libexec: &Path) -> Result<Machine> {
        let id = place.id()?;
        let leases = remora_runtime::leases(&place.containers(), &place.running())
            .await
            .context("reading the containers' records")?;
        let config =
            StoreConfig { root: place.images(), registries: registries(options.mirrors), limits: Default::default() };
        let images = Arc::new(ImageStore::open(config, leases).await.context("opening the image store")?);
        let subnet = options.pod_cidr.map(|cidr| cidr.parse::<Subnet>()).transpose().context("--pod-cidr")?;
        let bridge =
            BridgeConfig { node: id.clone(), state: place.network(), subnet, api: options.api, nft: "nft".into() };
        let network: Arc<dyn Network> = Arc::new(Bridge::open(bridge).await.context("opening the pod network")?);
        let cgroup_root = format!("remora-{id}");
        let handlers = handlers(options.oci_runtime, libexec);
        let names = handlers.keys().cloned().collect();
        let config = RuntimeConfig {
            root: place.containers(),
            run: place.running(),
            shim: libexec.join("remora-shim"),
            handlers,
            network: Arc::clone(&network),
            images: images.clone(),
            cgroup_root: cgroup_root.clone(),
            cgroup_driver: options.cgroup_driver,
            replay_bytes: REPLAY_BYTES,
        };
        let runtime = Runtime::open(config).await.context("opening the container runtime")?;
        Ok(Machine { images, network, runtime, handlers: names, cgroup_root })
    }

    pub(crate) fn images(&self) -> Arc<ImageStore> {
        Arc::clone(&self.images)
    }

    pub(crate) fn image_service(&self) -> Arc<dyn ImageService> {
        self.images()
    }

    pub(crate) fn runtime(&self) -> Arc<dyn RuntimeService> {
        Arc::new(self.runtime.clone())
    }

    pub(crate) fn streams(&self) -> Arc<dyn ContainerStreams> {
        Arc::new(self.runtime.clone())
    }

    /// The names of its low-level runtimes; empty is the default one.
    pub(crate) fn handlers(&self) -> Vec<String> {
        self.handlers.clone()
    }

    pub(crate) fn cgroup_root(&self) -> &str {
        &self.cgroup_root
    }

    /// Lets go; everything runs on.
    pub(crate) async fn close(self) {
        self.runtime.close().await;
    }

    /// Ends every sandbox and container and removes what the machine was given: mounts, namespaces, cgroups, interfaces, rules.
    pub(crate) async fn tear_down(self) -> Result<()> {
        self.runtime.teardown().await.context("ending containers")?;
        self.network.teardown().await.context("removing the pod network")
    }
}

/// As asked for, if that can be.
async fn cgroup_driver(asked: CgroupDriverArg) -> Result<CgroupDriver> {
    match asked {
        CgroupDriverArg::Auto => Ok(remora_runtime::detect_cgroup_driver().await),
        CgroupDriverArg::Cgroupfs => Ok(CgroupDriver::Cgroupfs),
        CgroupDriverArg::Systemd => {
            remora_runtime::require_systemd().await?;
            Ok(CgroupDriver::Systemd)
        }
    }
}

/// Runtimes by handler: the default one, and those that RuntimeClasses may name.
fn handlers(default: Option<&Path>, libexec: &Path) -> BTreeMap<String, Handler> {
    let own = libexec.join("remora-create");
    let handler =
        |path: &Path| Handler { path: path.to_owned(), args: Vec::new(), user_namespaces: knows_user_namespaces(path) };
    let mut handlers =
        BTreeMap::from([(String::new(), handler(default.unwrap_or(&own))), ("libcontainer".to_owned(), handler(&own))]);
    let installed = [("runc", "/usr/sbin/runc"), ("runc", "/usr/bin/runc"), ("crun", "/usr/bin/crun")];
    for (name, path) in installed.into_iter().filter(|(_, path)| Path::new(path).is_file()) {
        handlers.entry(name.to_owned()).or_insert_with(|| handler(Path::new(path)));
    }
    handlers
}

/// Those that have been seen to run pods with user namespaces of their own, by the program's name.
fn knows_user_namespaces(path: &Path) -> bool {
    ["remora-create", "runc"].iter().any(|name| path.file_name().is_some_and(|file| file == *name))
}

/// A mirror of one registry is asked first, the registry itself last; a mirror of all (`*`) stands in for every registry.
fn registries(mirrors: &[MirrorArg]) -> Registries {
    let mut hosts: BTreeMap<String, RegistryHost> = BTreeMap::new();
    for mirror in mirrors {
        let host = hosts.entry(mirror.registry.clone()).or_default();
        if mirror.registry == "*" {
            host.server = Some(mirror.url.clone());
        } else {
            host.mirrors.push(Mirror { url: mirror.url.clone() });
        }
    }
    Registries { hosts }
}
