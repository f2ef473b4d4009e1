//! RunPodSandbox: namespaces, network, files, cgroup, and a pause process where one is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_cri::{NamespaceMode, PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest};
use remora_network::{AttachRequest, Attachment};
use remora_oci_config::{PauseRequest, pause_spec, sandbox_sysctls};
use remora_shim_protocol::{CgroupPaths, ShimConfig, StartRecord, StdioConfig};
use remora_sys::namespace::{Kind, NewNamespaces};

use super::{Sandbox, SandboxState, files, linux, namespaces, options};
use crate::cgroup;
use crate::config::{ContainerPaths, SandboxPaths};
use crate::container::{pin_pid_namespace, write_json};
use crate::error::failed;
use crate::identity;
use crate::record::SandboxRecord;
use crate::recovery::make_private_folder;
use crate::shim::{self, ShimFiles};
use crate::task::blocking;
use crate::users::Users;
use crate::{Error, Inner};

/// As containerd's.
const SHM_SIZE: u64 = 64 << 20;

impl Inner {
    /// Sets a sandbox up and writes it down. On an error nothing of it stays.
    pub(crate) async fn run_sandbox(self: Arc<Self>, request: RunPodSandboxRequest) -> Result<Arc<Sandbox>, Error> {
        let config = request.config.ok_or(Error::Missing("a sandbox config"))?;
        let metadata = config.metadata.clone().ok_or(Error::Missing("sandbox metadata"))?;
        self.low_level(&request.runtime_handler)?;
        let id = identity::new_id()?;
        let users = Users::of(&config, &self.paths.sandbox(&id))?;
        if users.is_some() {
            self.require_user_namespaces(&request.runtime_handler)?;
        }
        let guard = self.table.reserve("sandbox", &identity::sandbox_name(&metadata), &id)?;
        let draft = Arc::new(Draft {
            paths: self.paths.sandbox(&id),
            pins: Pins::wanted(&config, &self.paths.sandbox(&id), users.as_ref())?,
            users,
            cgroup_parent: cgroup::pod(self.cgroup_driver, &self.cgroup_root, &linux(&config).cgroup_parent, &id),
            hostname: files::hostname(&config)?,
            handler: request.runtime_handler,
            id: id.clone(),
            metadata,
            config,
        });
        match self.clone().set_up(draft.clone()).await {
            Ok(sandbox) => {
                self.table.add_sandbox(sandbox.clone());
                guard.keep();
                self.watch_pause(&sandbox);
                self.weigh_class_of(sandbox.record().cgroup_parent.as_ref()).await;
                Ok(sandbox)
            }
            Err(error) => {
                self.undo(&draft).await;
                Err(error)
            }
        }
    }

    async fn set_up(self: Arc<Self>, draft: Arc<Draft>) -> Result<Arc<Sandbox>, Error> {
        self.clone().make_folders(draft.clone()).await?;
        // The network takes longest: everything that does not depend on it goes beside it.
        let (network, ()) = tokio::try_join!(self.connect(&draft), self.clone().make_place(draft.clone()))?;
        if draft.shares_processes() {
            let pause = self.start_pause(&draft).await?;
            let pin = draft.paths.pin("pid");
            blocking(move || pin_pid_namespace(pause.pid, &pin)).await?;
        }
        // The record comes last: a sandbox with one is whole.
        let runtime = self.clone();
        let made = draft.clone();
        let record = blocking(move || runtime.write_down(&made, network)).await?;
        Ok(Arc::new(Sandbox::new(record, draft.paths.clone(), SandboxState::Ready)))
    }

    async fn make_folders(self: Arc<Self>, draft: Arc<Draft>) -> Result<(), Error> {
        blocking(move || {
            for folder in [&draft.paths.durable, &draft.paths.volatile] {
                make_private_folder(folder)?;
            }
            let Some(users) = &draft.users else { return Ok(()) };
            self.open_way()?;
            users.let_through(&draft.paths.volatile)
        })
        .await
    }

    /// Namespaces, and the network in them.
    async fn connect(&self, draft: &Arc<Draft>) -> Result<Option<Attachment>, Error> {
        let made = draft.clone();
        let shim = self.shim.clone();
        blocking(move || made.pins.make(&made.hostname, made.users.as_ref(), &shim)).await?;
        let Some(netns) = draft.pins.network() else { return Ok(None) };
        let request = AttachRequest {
            sandbox: draft.id.clone(),
            netns,
            pod_name: draft.metadata.name.clone(),
            pod_namespace: draft.metadata.namespace.clone(),
        };
        let attached = self.network.attach(request).await;
        attached.map(Some).map_err(|source| Error::Network { id: draft.id.clone(), source })
    }

    /// The pod's cgroup and its shared memory.
    async fn make_place(self: Arc<Self>, draft: Arc<Draft>) -> Result<(), Error> {
        let (metadata, resources) = (&draft.metadata, linux(&draft.config).resources);
        let about = format!("Pod {}/{}", metadata.namespace, metadata.name);
        self.make_pod_cgroup(&draft.cgroup_parent, &about, resources.as_ref()).await?;
        blocking(move || {
            if options(&draft.config).ipc() != NamespaceMode::Node {
                let shm = draft.paths.shm();
                fs::create_dir_all(&shm).map_err(failed("create", &shm))?;
                remora_sys::mount::tmpfs(&shm, Some(SHM_SIZE), 0o1777)?;
                draft.users.iter().try_for_each(|users| users.give(&shm))?;
            }
            Ok(())
        })
        .await
    }

    fn write_down(&self, draft: &Draft, network: Option<Attachment>) -> Result<SandboxRecord, Error> {
        let address = network.as_ref().and_then(Attachment::ip);
        let dns = network.as_ref().map(|network| network.dns.clone()).unwrap_or_default();
        files::write(&draft.config, &draft.hostname, &draft.paths, address, &dns)?;
        if let Some(users) = &draft.users {
            files::ALL.iter().try_for_each(|name| users.give(&draft.paths.file(name)))?;
        }
        let record = SandboxRecord {
            id: draft.id.clone(),
            boot: self.host.boot.clone(),
            created_at: identity::now(),
            handler: draft.handler.clone(),
            hostname: draft.hostname.clone(),
            cgroup_parent: draft.cgroup_parent.to_string_lossy().into_owned(),
            network,
            stopped: false,
            config: draft.config.clone(),
        };
        draft.paths.record().write(&record)?;
        Ok(record)
    }

    /// A container like any other, whose program is `remora-shim pause` in an otherwise empty root.
    async fn start_pause(&self, draft: &Draft) -> Result<StartRecord, Error> {
        let paths = draft.paths.pause();
        let cgroup = cgroup::container(&draft.cgroup_parent, &draft.id);
        let spec = pause_spec(&PauseRequest {
            rootfs: paths.rootfs(),
            program: draft.pause_program(&self.shim),
            libraries: libraries(),
            args: vec!["pause".to_owned()],
            cgroups_path: cgroup.clone(),
            cgroup_version: self.host.cgroup_version(),
            namespaces: namespaces(&draft.config, &draft.paths),
            user_namespace: draft.users.as_ref().map(|users| users.ids),
        });
        let shim_config = ShimConfig {
            container_id: draft.id.clone(),
            bundle: paths.bundle().to_owned(),
            socket: paths.socket(),
            start_record: paths.start_record().durable,
            exit_record: paths.exit_record().durable,
            runtime: self.low_level(&draft.handler)?,
            stdio: StdioConfig::default(),
            log_path: None,
            log_limit: None,
            cgroups: CgroupPaths(self.host.cgroup_folders(&cgroup)),
            replay_bytes: 0,
            limits: None,
        };
        let files = ShimFiles {
            program: self.shim.clone(),
            config: paths.shim_config(),
            log: paths.shim_log(),
            id: draft.id.clone(),
        };
        let (users, shim) = (draft.users.clone(), self.shim.clone());
        blocking(move || {
            for folder in [paths.rootfs(), paths.durable.clone()] {
                fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
            }
            if let Some(users) = users {
                users.give(&paths.rootfs())?;
                let program = pause_program(&paths);
                remora_sys::mount::make_file_target(&program)?;
                remora_sys::mount::bind(&shim, &program)?;
            }
            write_json(&paths.spec(), &spec)?;
            write_json(&paths.shim_config(), &shim_config)
        })
        .await?;
        self.make_room_for(&cgroup, &format!("Sandbox {}", draft.id)).await?;
        shim::spawn(files, None).await
    }

    /// Takes back what a failed set-up has made.
    async fn undo(self: &Arc<Self>, draft: &Draft) {
        let undone = self.take_down(&draft.id, &draft.handler, &draft.paths, &draft.cgroup_parent).await;
        let undone = match undone {
            Ok(()) => self.clear_sandbox(&draft.paths, &draft.cgroup_parent, &draft.id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = undone {
            let error = crate::error::chain(&error);
            tracing::warn!(sandbox = draft.id, error, "leftovers of a failed sandbox stay until the next start");
        }
    }
}

/// A sandbox that is being set up.
struct Draft {
    id: String,
    handler: String,
    hostname: String,
    cgroup_parent: PathBuf,
    metadata: PodSandboxMetadata,
    config: PodSandboxConfig,
    paths: SandboxPaths,
    pins: Pins,
    users: Option<Users>,
}

impl Draft {
    fn shares_processes(&self) -> bool {
        options(&self.config).pid() == NamespaceMode::Pod
    }

    /// Our programs may lie where a pod's root cannot come to.
    fn pause_program(&self, shim: &Path) -> PathBuf {
        match self.users {
            Some(_) => pause_program(&self.paths.pause()),
            None => shim.to_owned(),
        }
    }
}

fn pause_program(paths: &ContainerPaths) -> PathBuf {
    paths.volatile.join("program")
}

/// Where the loader and the C library of this host are.
fn libraries() -> Vec<PathBuf> {
    ["/lib", "/lib64"].map(PathBuf::from).into_iter().filter(|folder| folder.is_dir()).collect()
}

/// The namespaces that a sandbox has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    pins: Vec<(Kind, PathBuf)>,
    sysctls: Vec<(String, String)>,
}

impl Pins {
    fn wanted(config: &PodSandboxConfig, paths: &SandboxPaths, users: Option<&Users>) -> Result<Self, Error> {
        let options = options(config);
        let own_network = options.network() != NamespaceMode::Node;
        let own_ipc = options.ipc() != NamespaceMode::Node;
        let kinds = [(Kind::Net, own_network), (Kind::Uts, own_network), (Kind::Ipc, own_ipc)];
        let wanted = kinds.into_iter().filter(|(_, own)| *own);
        let gids = users.map(|users| &users.ids.gids);
        Ok(Pins {
            pins: wanted.map(|(kind, _)| (kind, paths.pin(kind.name()))).collect(),
            sysctls: sandbox_sysctls(config, own_network, own_ipc, gids).map_err(Error::SandboxSpec)?,
        })
    }

    fn make(&self, hostname: &str, users: Option<&Users>, shim: &Path) -> Result<(), Error> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let own_name = self.pins.iter().any(|(kind, _)| *kind == Kind::Uts);
        let hostname = own_name.then_some(hostname);
        let new = NewNamespaces { pins: self.pins.clone(), hostname, sysctls: &self.sysctls };
        match users {
            Some(users) => users.create(&new, shim),
            None => Ok(remora_sys::namespace::create(&new)?),
        }
    }

    fn network(&self) -> Option<PathBuf> {
        self.pins.iter().find(|(kind, _)| *kind == Kind::Net).map(|(_, path)| path.clone())
    }
}
