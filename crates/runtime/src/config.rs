//! How a runtime is set up, and where it keeps what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_cri::CgroupDriver;
use remora_network::Network;

use crate::Images;
use crate::record::{Places, SandboxRecord};

/// Everything that a runtime is made of. Two runtimes on one machine need different folders, cgroups and networks.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Durable: records of sandboxes and containers, their exit records, their writable layers. On a file system that overlayfs
    /// can use as an upper layer.
    pub root: PathBuf,
    /// Volatile: bundles, sockets, pinned namespaces, mounts. Best below `/run`: what is here is worth nothing after a reboot.
    pub run: PathBuf,
    /// The `remora-shim` binary.
    pub shim: PathBuf,
    /// Low-level runtimes by CRI's runtime handler. `""` is the default one and must be there.
    pub handlers: BTreeMap<String, Handler>,
    /// What sandboxes are attached to.
    pub network: Arc<dyn Network>,
    /// Where images come from.
    pub images: Arc<dyn Images>,
    /// One name below which all cgroups of this runtime lie, such as `remora-node1`. Pods' `cgroup_parent` is taken from there.
    pub cgroup_root: String,
    /// Who makes cgroups from now on. What was made by the other is known by its path, and taken away all the same.
    pub cgroup_driver: CgroupDriver,
    /// How many bytes of a container's latest output are kept for those who attach later.
    pub replay_bytes: usize,
}

/// A low-level OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its binary.
    pub path: PathBuf,
    /// Arguments that go before the command.
    pub args: Vec<String>,
    /// It has been seen to run pods with user namespaces of their own.
    pub user_namespaces: bool,
}

/// The folders and files of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
    run: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path, run: &Path) -> Self {
        Paths { root: root.to_owned(), run: run.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// Durable folders of all sandboxes.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Durable folders of all containers.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Volatile folders of all sandboxes.
    pub(crate) fn running_sandboxes(&self) -> PathBuf {
        self.run.join("sandboxes")
    }

    /// Volatile folders of all containers.
    pub(crate) fn running_containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Where a low-level runtime keeps its own state.
    pub(crate) fn low_level(&self, handler: &str) -> PathBuf {
        self.low_levels().join(if handler.is_empty() { "default" } else { handler })
    }

    /// Of all low-level runtimes.
    pub(crate) fn low_levels(&self) -> PathBuf {
        self.run.join("runtimes")
    }

    pub(crate) fn sandbox(&self, id: &str) -> SandboxPaths {
        SandboxPaths { durable: self.sandboxes().join(id), volatile: self.running_sandboxes().join(id) }
    }

    pub(crate) fn container(&self, id: &str) -> ContainerPaths {
        ContainerPaths { durable: self.containers().join(id), volatile: self.running_containers().join(id) }
    }
}

/// Of one sandbox.
#[derive(Clone, Debug)]
pub(crate) struct SandboxPaths {
    pub(crate) durable: PathBuf,
    pub(crate) volatile: PathBuf,
}

impl SandboxPaths {
    pub(crate) fn record(&self) -> Places {
        Places::new(&self.durable, "sandbox.json", &self.volatile)
    }

    pub(crate) fn pin(&self, namespace: &str) -> PathBuf {
        self.volatile.join("ns").join(namespace)
    }

    /// Whether the namespaces of its own are there; one in the host's network may have none.
    pub(crate) fn is_pinned(&self, record: &SandboxRecord) -> bool {
        record.network.is_none() || self.pin("net").exists()
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.volatile.join("shm")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.volatile.join(name)
    }

    /// The pause process's folders, as if it were a container.
    pub(crate) fn pause(&self) -> ContainerPaths {
        ContainerPaths { durable: self.durable.join("pause"), volatile: self.volatile.join("pause") }
    }
}

/// A writable layer, and the kernel's folder beside it.
#[derive(Clone, Debug)]
pub(crate) struct OwnLayer {
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

/// Of one container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPaths {
    pub(crate) durable: PathBuf,
    pub(crate) volatile: PathBuf,
}

impl ContainerPaths {
    pub(crate) fn record(&self) -> Places {
        Places::new(&self.durable, "container.json", &self.volatile)
    }

    /// The shim's.
    pub(crate) fn start_record(&self) -> Places {
        Places::new(&self.durable, "start.json", &self.volatile)
    }

    /// The shim's.
    pub(crate) fn exit_record(&self) -> Places {
        Places::new(&self.durable, "exit.json", &self.volatile)
    }

    /// What has changed in its root, if that has a layer for changes.
    pub(crate) fn own_layer(&self) -> OwnLayer {
        OwnLayer { upper: self.durable.join("upper"), work: self.durable.join("work") }
    }

    /// Of a container on another one's root: what has changed among its image's files.
    pub(crate) fn tools_layer(&self) -> OwnLayer {
        OwnLayer { upper: self.durable.join("tools-upper"), work: self.durable.join("tools-work") }
    }

    /// The OCI bundle is the volatile folder itself.
    pub(crate) fn bundle(&self) -> &Path {
        &self.volatile
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.volatile.join("rootfs")
    }

    /// Of a container on another one's root: its image's files.
    pub(crate) fn tools(&self) -> PathBuf {
        self.volatile.join("tools")
    }

    /// Of a container that is shown the files of another one's image: those.
    pub(crate) fn shown_image(&self) -> PathBuf {
        self.volatile.join("image")
    }

    /// Of a container that is shown the files of another one's image: changes, of which there are none.
    pub(crate) fn shown_image_layer(&self) -> OwnLayer {
        OwnLayer { upper: self.durable.join("image-upper"), work: self.durable.join("image-work") }
    }

    /// With a user namespace: where the image's layers are mounted with mapped owners, while the root is being mounted.
    pub(crate) fn mapped_layers(&self) -> PathBuf {
        self.volatile.join("layers")
    }

    /// With a user namespace: the source of a mount, in a place that the container's root can come to.
    pub(crate) fn staged_mount(&self, number: usize) -> PathBuf {
        self.volatile.join("mounts").join(number.to_string())
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.volatile.join("config.json")
    }

    pub(crate) fn shim_config(&self) -> PathBuf {
        self.volatile.join("shim.json")
    }

    pub(crate) fn shim_log(&self) -> PathBuf {
        self.volatile.join("shim.log")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.volatile.join("shim.sock")
    }

    /// The target's PID namespace, pinned: a pid could come to mean another process before it is joined.
    pub(crate) fn pid_pin(&self) -> PathBuf {
        self.volatile.join("pid")
    }
}
