//! CreateContainer: image, root file system, spec, record. Nothing of the container runs yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::Process;
use remora_cri::{ContainerConfig, CreateContainerRequest, Mount, NamespaceMode, PodSandboxConfig};
use remora_oci_config::{
    AskedAppArmor, Facts, Join, NamespacePaths, ResolvedUser, SandboxFiles, SpecRequest, container_spec, stop_signal,
};
use remora_shim_protocol::{CgroupPaths, ShimConfig, StdioConfig};
use remora_sys::process::PidFd;
use serde::Deserialize;

use super::asked::RootOf;
use super::root::Root;
use super::{Container, State, asked, facts, namespace_options, working_dir};
use crate::cgroup;
use crate::config::ContainerPaths;
use crate::error::failed;
use crate::identity;
use crate::images::LeasedImage;
use crate::record::{ContainerRecord, RecordedUser};
use crate::recovery::make_private_folder;
use crate::sandbox::Sandbox;
use crate::shim::Ahead;
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// Prepares a container and writes it down; returns its id.
    pub(crate) async fn create_container(
        self: Arc<Self>,
        request: CreateContainerRequest,
    ) -> Result<Arc<Container>, Error> {
        let config = request.config.ok_or(Error::Missing("a container config"))?;
        let sandbox = self.table.sandbox(&request.pod_sandbox_id)?;
        sandbox.require_ready()?;
        let pod = request.sandbox_config.unwrap_or_else(|| sandbox.record().config.clone());
        let id = identity::new_id()?;
        let metadata = config.metadata.as_ref().ok_or(Error::Missing("container metadata"))?;
        let of_pod = sandbox.record().config.metadata.clone().unwrap_or_default();
        let name = identity::container_name(metadata, &of_pod);
        let guard = self.table.reserve("container", &name, &id)?;

        let draft = Draft { id: id.clone(), sandbox: sandbox.clone(), pod, config };
        let (runtime, cgroup, about) = (self.clone(), draft.cgroup(), draft.about());
        let handler = sandbox.record().handler.clone();
        let prepared = blocking(move || runtime.prepare(draft));
        let room = self.make_room_for(&cgroup, &about);
        let (room, prepared, ahead) = tokio::join!(room, prepared, self.shim_ahead(&id, &handler));
        let record = match room.and(prepared) {
            Ok(record) => record,
            Err(error) => {
                self.discard(&id, &cgroup).await;
                return Err(error);
            }
        };
        let container = Container::new(record, self.paths.container(&id), State::Created).with_ahead(ahead);
        let container = Arc::new(container);
        self.table.add_container(container.clone());
        guard.keep();
        // Looked at again: a sandbox that was removed meanwhile may have been looked through before the container was in the table, and
        // a container whose root it stands on likewise.
        if let Err(error) = sandbox.require_ready().and_then(|()| self.require_root(&container)) {
            self.remove_container(container).await?;
            return Err(error);
        }
        Ok(container)
    }

    /// A container that is created is about to be started: what will start it is loaded meanwhile.
    async fn shim_ahead(&self, id: &str, handler: &str) -> Option<Ahead> {
        let paths = self.paths.container(id);
        let runtime = self.low_level(handler).ok()?.path;
        let started = Ahead::start(self.shim_files(&paths, id), runtime, paths.bundle().to_owned()).await;
        let unsaid = |error| tracing::debug!(container = id, error = crate::error::chain(&error), "no shim ahead");
        started.map_err(unsaid).ok()
    }

    /// All that touches the disk and the kernel, in one go on one thread.
    fn prepare(&self, draft: Draft) -> Result<ContainerRecord, Error> {
        let paths = self.paths.container(&draft.id);
        let asked = draft.config.image.as_ref().ok_or(Error::Missing("an image"))?;
        let image = self.images.lease(&asked.image, &draft.id).map_err(Error::Image)?;
        make_private_folder(&paths.volatile)?;
        let users = draft.sandbox.users()?;
        users.iter().try_for_each(|users| users.let_through(&paths.volatile))?;
        let mut root = self.mount_root(&draft, &image, users.as_ref())?;
        let pid = self.join_pid(&draft, &paths);
        let pid = pid.map_err(|error| Error::Processes { id: draft.id.clone(), source: Box::new(error) })?;
        let user = facts::user(&draft.id, &root.image_files, &draft.config, &image.config)?;
        make_mount_sources(&root.config.mounts)?;
        users.iter().try_for_each(|users| users.stage(&draft.id, &mut root.config.mounts, &paths))?;
        if let Some(folder) = draft.log_path().as_deref().and_then(Path::parent) {
            fs::create_dir_all(folder).map_err(failed("create", folder))?;
        }
        self.write_bundle(&draft, &paths, &root, &user, pid)?;
        let record = self.record(draft, image, user);
        paths.record().write(&record)?;
        Ok(record)
    }

    fn record(&self, draft: Draft, image: LeasedImage, user: ResolvedUser) -> ContainerRecord {
        ContainerRecord {
            cgroup: draft.cgroup().to_string_lossy().into_owned(),
            log_path: draft.log_path().map(|path| path.to_string_lossy().into_owned()),
            sandbox_id: draft.sandbox.id().to_owned(),
            boot: self.host.boot.clone(),
            created_at: identity::now(),
            handler: draft.sandbox.record().handler.clone(),
            image_id: image.id,
            image_ref: image.image_ref,
            lease: image.lease,
            user: RecordedUser { uid: user.uid, gid: user.gid, groups: user.additional_gids },
            stop_signal: stop_signal(&draft.config, &image.config.stop_signal),
            verdict: None,
            id: draft.id,
            config: draft.config,
        }
    }

    /// `config.json` and `shim.json`. They are worth nothing after a crash of the machine, so they are not synced.
    fn write_bundle(
        &self,
        draft: &Draft,
        paths: &ContainerPaths,
        root: &Root,
        user: &ResolvedUser,
        pid: Join,
    ) -> Result<(), Error> {
        let mut facts = self.facts(draft, paths, user, pid)?;
        if root.has_sandbox_files {
            facts.files = SandboxFiles { etc: None, ..facts.files };
        }
        let request = SpecRequest { sandbox: &draft.pod, container: &root.config, image: &root.image, facts: &facts };
        let spec = container_spec(&request).map_err(|source| Error::Spec { id: draft.id.clone(), source })?;
        if let (RootOf::Image, Some(process)) = (RootOf::asked(&draft.config)?, spec.process()) {
            let users = draft.sandbox.users()?;
            working_dir::make(process.cwd(), &root.config.mounts, &paths.rootfs(), users.as_ref())?;
        }
        write_json(&paths.spec(), &spec)?;
        write_json(
            &paths.shim_config(),
            &self.shim_config(draft, paths, stop_signal(&draft.config, &root.image.stop_signal))?,
        )
    }

    fn facts(&self, draft: &Draft, paths: &ContainerPaths, user: &ResolvedUser, pid: Join) -> Result<Facts, Error> {
        let wrong = |source| Error::Spec { id: draft.id.clone(), source };
        let security = draft.config.linux.clone().unwrap_or_default().security_context.unwrap_or_default();
        let localhost = remora_oci_config::localhost_seccomp_path(&security).map_err(wrong)?;
        let profile = localhost.map(|path| fs::read_to_string(path).map_err(failed("read", path))).transpose()?;
        Ok(Facts {
            container_id: draft.id.clone(),
            sandbox_id: draft.sandbox.id().to_owned(),
            rootfs: paths.rootfs(),
            user: user.clone(),
            cgroups_path: draft.cgroup(),
            cgroup_version: self.host.cgroup_version(),
            namespaces: NamespacePaths { pid, ..draft.sandbox.namespaces() },
            user_namespace: draft.sandbox.users()?.map(|users| users.ids),
            files: draft.sandbox.files(),
            hostname: draft.sandbox.record().hostname.clone(),
            held_capabilities: self.host.held_capabilities.clone(),
            apparmor: facts::apparmor(&AskedAppArmor::of(&security))?,
            oom_score_adj_floor: self.host.oom_score_adj_floor,
            swap_controller: self.host.swap_controller,
            hugetlb_controller: self.host.hugetlb_controller,
            devices: facts::devices(&draft.config.devices, security.privileged)?,
            localhost_seccomp: profile,
        })
    }

    fn shim_config(&self, draft: &Draft, paths: &ContainerPaths, stop_signal: i32) -> Result<ShimConfig, Error> {
        let config = &draft.config;
        Ok(ShimConfig {
            container_id: draft.id.clone(),
            bundle: paths.bundle().to_owned(),
            socket: paths.socket(),
            start_record: paths.start_record().durable,
            exit_record: paths.exit_record().durable,
            runtime: self.low_level(&draft.sandbox.record().handler)?,
            stdio: StdioConfig { tty: config.tty, stdin: config.stdin, stdin_once: config.stdin_once },
            log_path: draft.log_path(),
            log_limit: asked::log_limit(config)?,
            cgroups: CgroupPaths(self.host.cgroup_folders(&draft.cgroup())),
            replay_bytes: self.replay_bytes,
            limits: asked::time_limits(config, stop_signal)?,
        })
    }

    /// The PID namespace: its own, the host's, the sandbox's, or the target's, which is pinned here and now.
    fn join_pid(&self, draft: &Draft, paths: &ContainerPaths) -> Result<Join, Error> {
        let options = namespace_options(&draft.config);
        match options.pid() {
            NamespaceMode::Container => Ok(Join::New),
            NamespaceMode::Node => Ok(Join::Host),
            NamespaceMode::Pod => Ok(draft.sandbox.namespaces().pid),
            NamespaceMode::Target => {
                let pin = paths.pid_pin();
                self.pin_target(draft, &options.target_id, &pin)?;
                Ok(Join::Path(pin))
            }
        }
    }

    fn pin_target(&self, draft: &Draft, target: &str, pin: &Path) -> Result<(), Error> {
        let found = self.sibling(draft, target)?;
        let start = found.running().ok_or_else(|| found.cannot_be_target())?;
        pin_pid_namespace(start.pid, pin)?;
        // Looked at after pinning: only if it is still the same process, it was its namespace that was pinned.
        match PidFd::open_same(start.pid, start.pid_start_time)? {
            Some(_) => Ok(()),
            None => Err(found.cannot_be_target()),
        }
    }

    /// Takes back what a failed create has made. What cannot be taken back is found when the runtime opens again.
    async fn discard(self: &Arc<Self>, id: &str, cgroup: &Path) {
        let paths = self.paths.container(id);
        let removed = self.remove_cgroup(cgroup).await;
        let cleared = blocking(move || clear(&paths)).await.and(removed);
        if let Err(error) = cleared {
            tracing::warn!(container = id, error = crate::error::chain(&error), "leftovers of a failed create stay");
        }
        if let Err(error) = self.images.release(id).await {
            tracing::warn!(container = id, %error, "layers of a failed create stay");
        }
    }
}

/// A container that is being made.
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) pod: PodSandboxConfig,
    pub(super) config: ContainerConfig,
}

impl Draft {
    fn cgroup(&self) -> PathBuf {
        cgroup::container(self.sandbox.record().cgroup_parent.as_ref(), &self.id)
    }

    /// In words, for who looks at a list of units.
    fn about(&self) -> String {
        let pod = self.pod.metadata.clone().unwrap_or_default();
        let name = self.config.metadata.clone().unwrap_or_default().name;
        format!("Container {name} of pod {}/{}", pod.namespace, pod.name)
    }

    fn log_path(&self) -> Option<PathBuf> {
        let folder = &self.sandbox.record().config.log_directory;
        let both = !folder.is_empty() && !self.config.log_path.is_empty();
        both.then(|| Path::new(folder).join(&self.config.log_path))
    }
}

/// Pins the PID namespace of a process on a file.
pub(crate) fn pin_pid_namespace(pid: i32, pin: &Path) -> Result<(), Error> {
    remora_sys::mount::make_file_target(pin)?;
    Ok(remora_sys::mount::bind(Path::new(&format!("/proc/{pid}/ns/pid")), pin)?)
}

/// Takes down everything that a container has on this machine but its log.
pub(crate) fn clear(paths: &ContainerPaths) -> Result<(), Error> {
    remora_sys::mount::unmount_below(&paths.volatile)?;
    // First of all files, so that half a removal is never taken for a container that has lost its exit record.
    paths.record().remove()?;
    [&paths.volatile, &paths.durable].into_iter().try_for_each(|folder| remove_folder(folder))
}

/// With all that is in it. One that is gone is no error.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// The first process of a bundle's `config.json`, with the environment that others inherit.
pub(crate) fn first_process(spec: &Path) -> Result<Process, Error> {
    #[derive(Deserialize)]
    struct Bundle {
        process: Process,
    }
    let bytes = fs::read(spec).map_err(failed("read", spec))?;
    let bundle = serde_json::from_slice::<Bundle>(&bytes);
    bundle
        .map(|bundle| bundle.process)
        .map_err(|error| Error::Record { path: spec.to_owned(), problem: error.to_string() })
}

pub(crate) fn write_json(path: &Path, content: &impl serde::Serialize) -> Result<(), Error> {
    let json = serde_json::to_vec(content).map_err(|error| failed("write", path)(error.into()))?;
    fs::write(path, json).map_err(failed("write", path))
}

/// As other runtimes: a bind mount's source that is not there becomes a folder.
fn make_mount_sources(mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts.iter().filter(|mount| mount.host_path.starts_with('/')) {
        let path = Path::new(&mount.host_path);
        if !fs::exists(path).map_err(failed("look at", path))? {
            fs::create_dir_all(path).map_err(failed("create", path))?;
        }
    }
    Ok(())
}

/// Device nodes by the path that asks for them; see [`Facts::devices`].
pub(super) type Devices = BTreeMap<String, Vec<remora_oci_config::HostDevice>>;
