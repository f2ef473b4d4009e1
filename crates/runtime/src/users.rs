//! What a pod with a user namespace of its own needs on the host, so that its root, who is nobody there, can be root of its own files:
//!
//! | what | how |
//! |---|---|
//! | the image's layers | below its overlay they are mounted with mapped owners; the store is as it was |
//! | changes | its writable layer belongs to its root's id on the host |
//! | volumes | mounted with mapped owners in the container's own folder, from where low-level runtimes bind them |
//! | the sandbox's files and shared memory | belong to its root's id |
//! | the way there | folders above can be passed, not listed; each pod's own is for its root's group |
//!
//! Low-level runtimes bind what they are told after they have joined the user namespace, and not all of them know mapped mounts. So all of it is
//! done here, for all of them in one way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use remora_cri::{MountPropagation, PodSandboxConfig};
use remora_oci_config::{IdRange, UserNamespace, mount_is_mapped, user_namespace};
use remora_sys::mount::Propagation;
use remora_sys::namespace::NewNamespaces;
use remora_sys::user_namespace::{IdMap, NewUserNamespace, create_owned, give, is_unmappable, mount_mapped};

use crate::config::{ContainerPaths, SandboxPaths};
use crate::error::failed;
use crate::sandbox::options;
use crate::{Error, Inner, record};

/// The name of the pin.
pub(crate) const USER: &str = "user";
/// Others may pass through, and see nothing.
const PASSABLE: u32 = 0o711;
/// For the owner, and the way through for one group.
const FOR_GROUP: u32 = 0o710;
const PRIVATE: u32 = 0o700;

/// A sandbox's user namespace.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    pub(crate) ids: UserNamespace,
    pin: PathBuf,
}

impl Users {
    /// As the sandbox asks; none is the host's.
    pub(crate) fn of(config: &PodSandboxConfig, paths: &SandboxPaths) -> Result<Option<Self>, Error> {
        let ids = user_namespace(&options(config)).map_err(Error::SandboxSpec)?;
        Ok(ids.map(|ids| Users { ids, pin: paths.pin(USER) }))
    }

    /// Makes it, and the others that it owns. The shim's pause command is the process that the kernel needs for a moment.
    pub(crate) fn create(&self, new: &NewNamespaces<'_>, shim: &Path) -> Result<(), Error> {
        let map = |range: IdRange| IdMap { inside: range.inside, outside: range.outside, length: range.length };
        let (uids, gids) = (map(self.ids.uids), map(self.ids.gids));
        Ok(create_owned(new, &NewUserNamespace { pin: self.pin.clone(), uids, gids, holder: (shim, &["pause"]) })?)
    }

    /// Makes the pod's root the owner.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        Ok(give(path, self.ids.uids.outside, self.ids.gids.outside)?)
    }

    /// Lets the pod's root through a folder.
    pub(crate) fn let_through(&self, folder: &Path) -> Result<(), Error> {
        give(folder, 0, self.ids.gids.outside)?;
        set_mode(folder, FOR_GROUP)
    }

    /// Mounts a folder or file with mapped owners.
    pub(crate) fn mount(&self, source: &Path, target: &Path, propagation: Propagation) -> Result<(), Error> {
        mount_mapped(source, target, &self.pin, propagation).map_err(|error| match is_unmappable(&error) {
            true => Error::Unmappable { path: source.to_owned(), kind: file_system(source) },
            false => error.into(),
        })
    }

    /// Puts what a container is to see of the host into its own folder, with mapped owners where that is asked for.
    pub(crate) fn stage(
        &self,
        id: &str,
        mounts: &mut [remora_cri::Mount],
        paths: &ContainerPaths,
    ) -> Result<(), Error> {
        // Any other path is refused when the spec is made.
        for (number, mount) in mounts.iter_mut().filter(|mount| mount.host_path.starts_with('/')).enumerate() {
            let is_mapped = mount_is_mapped(&self.ids, mount);
            let is_mapped = is_mapped.map_err(|source| Error::Spec { id: id.to_owned(), source })?;
            let (source, target) = (PathBuf::from(&mount.host_path), paths.staged_mount(number));
            make_target(&source, &target)?;
            let propagation = match mount.propagation() {
                MountPropagation::HostToContainer => Propagation::Slave,
                MountPropagation::Private | MountPropagation::Bidirectional => Propagation::Private,
            };
            if is_mapped {
                self.mount(&source, &target, propagation)?;
            } else {
                remora_sys::mount::bind_as(&source, &target, propagation)?;
            }
            mount.host_path = target.to_string_lossy().into_owned();
            (mount.uid_mappings, mount.gid_mappings) = (Vec::new(), Vec::new());
        }
        Ok(())
    }
}

impl Inner {
    /// Refuses a handler that cannot run pods with user namespaces, here.
    pub(crate) fn require_user_namespaces(&self, handler: &str) -> Result<(), Error> {
        match self.supports_user_namespaces(handler) {
            true => Ok(()),
            false => Err(Error::UserNamespaces(handler.to_owned())),
        }
    }

    pub(crate) fn supports_user_namespaces(&self, handler: &str) -> bool {
        self.host.user_namespaces && self.handlers.get(handler).is_some_and(|handler| handler.user_namespaces)
    }

    /// Lets everybody pass through the folders above those of sandboxes and containers. What lies in them was private since they were, and is
    /// so by itself from now on.
    pub(crate) fn open_way(&self) -> Result<(), Error> {
        let low_level = self.paths.low_levels();
        fs::create_dir_all(&low_level).map_err(failed("create", &low_level))?;
        set_mode(&low_level, PRIVATE)?;
        let above = [self.paths.running_sandboxes(), self.paths.running_containers()];
        for folder in &above {
            for name in record::folders(folder)? {
                close(&folder.join(name))?;
            }
        }
        above
            .iter()
            .map(PathBuf::as_path)
            .chain([self.paths.run()])
            .try_for_each(|folder| set_mode(folder, PASSABLE))?;
        require_way(self.paths.run())
    }
}

/// Takes away what others may do. One that is gone, or that a pod's root passes through, stays as it is.
fn close(folder: &Path) -> Result<(), Error> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.mode() & 0o007 != 0 => set_mode(folder, PRIVATE),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("look at", folder)(error)),
        _ => Ok(()),
    }
}

/// Folders above our own are others' to open.
fn require_way(run: &Path) -> Result<(), Error> {
    let run = fs::canonicalize(run).map_err(failed("find", run))?;
    for folder in run.ancestors() {
        let metadata = fs::metadata(folder).map_err(failed("look at", folder))?;
        if metadata.mode() & 0o001 == 0 {
            return Err(Error::NoWay(folder.to_owned()));
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the permissions of", path))
}

/// A folder for a folder, a file for anything else.
fn make_target(source: &Path, target: &Path) -> Result<(), Error> {
    match fs::metadata(source).map_err(failed("look at", source))?.is_dir() {
        true => fs::create_dir_all(target).map_err(failed("create", target)),
        false => Ok(remora_sys::mount::make_file_target(target)?),
    }
}

/// For a sentence: the kind of file system that holds a path.
fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = remora_sys::mount::mounts().unwrap_or_default();
    let holds = mounts.into_iter().filter(|mount| path.starts_with(&mount.target));
    // Of mounts on one place, the last hides the others.
    let found = holds.max_by_key(|mount| mount.target.components().count());
    found.map_or_else(|| "unknown".to_owned(), |mount| mount.kind)
}
