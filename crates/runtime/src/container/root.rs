//! What a container stands on: the layers of its image or, where that is asked for, another container's root with the image beside it.
//!
//! | root | `rootfs` | `tools` |
//! |---|---|---|
//! | the image's | layers below a layer of its own | – |
//! | of a running container | a copy of its mount tree: the same files | the image's layers below a layer of its own |
//! | of an ended container | its writable layer and its image's below a layer of the borrower's own | likewise |
//!
//! In a pod with a user namespace of its own the image's layers are mounted with mapped owners first; an ended container's writable layer has
//! the right ones already.
//!
//! Whatever it stands on, a container may be shown the files of another one's image as they were, read-only at `/dev/remora/image`.
//!
//! **Invariant:** a container whose root another one stands on is not removed before that one has ended ([`Inner::require_unused`]), so
//! neither its writable layer nor its image's layers go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_cri::{ContainerConfig, Mount, annotations};
use remora_oci_config::{BorrowedRoot, ImageConfig, OWN_FILE_SYSTEMS, command};
use remora_sys::mount::{Overlay, Propagation, UpperLayer};
use remora_sys::process::PidFd;
use remora_sys::rootfs::look_inside;
use remora_sys::tree::Tree;

use super::asked::{RootOf, image_of, stands_on};
use super::crash::CrashReport;
use super::create::{Draft, first_process, remove_folder, write_json};
use super::{Container, State, crash, tools};
use crate::config::{ContainerPaths, OwnLayer};
use crate::error::failed;
use crate::images::LeasedImage;
use crate::users::Users;
use crate::{Error, Inner};

/// A root that is mounted, and how the container is to be asked for on it.
pub(super) struct Root {
    /// Where the image's own files are: its users are looked up there.
    pub(super) image_files: PathBuf,
    /// The request and the image's configuration, which on another container's root are not what was asked for.
    pub(super) config: ContainerConfig,
    pub(super) image: ImageConfig,
    /// The root has the sandbox's files already.
    pub(super) has_sandbox_files: bool,
}

impl Inner {
    /// Mounts what the container is to stand on, and what it is to be shown beside.
    pub(super) fn mount_root(&self, draft: &Draft, image: &LeasedImage, users: Option<&Users>) -> Result<Root, Error> {
        let mut root = self.mount_own_root(draft, image, users)?;
        if let Some(id) = image_of(&draft.config) {
            root.config.mounts.push(self.show_image(draft, id, users)?);
        }
        Ok(root)
    }

    /// The layer on top is for overlayfs, which wants one above a single layer. It is never written to: the container's mount is read-only.
    fn show_image(&self, draft: &Draft, id: &str, users: Option<&Users>) -> Result<Mount, Error> {
        let (other, paths) = (self.sibling(draft, id)?, self.paths.container(&draft.id));
        let image = &other.record().lease.lowerdirs;
        let layers = Layers { changed: None, image, users, mapped: &paths.mapped_layers() };
        layers.mount(&paths.shown_image_layer(), &paths.shown_image())?;
        Ok(Mount {
            container_path: annotations::IMAGE.to_owned(),
            host_path: paths.shown_image().to_string_lossy().into_owned(),
            readonly: true,
            ..Mount::default()
        })
    }

    fn mount_own_root(&self, draft: &Draft, image: &LeasedImage, users: Option<&Users>) -> Result<Root, Error> {
        let paths = self.paths.container(&draft.id);
        let layers = Layers { changed: None, image: &image.lease.lowerdirs, users, mapped: &paths.mapped_layers() };
        let borrowed = match RootOf::asked(&draft.config)? {
            RootOf::Image => {
                layers.mount(&paths.own_layer(), &paths.rootfs())?;
                return Ok(Root {
                    image_files: paths.rootfs(),
                    config: draft.config.clone(),
                    image: image.config.clone(),
                    has_sandbox_files: false,
                });
            }
            RootOf::Running(id) => self.borrow_running(draft, &paths, &id, users.is_some())?,
            RootOf::Ended(id) => self.borrow_ended(draft, &paths, &id, users)?,
        };
        layers.mount(&paths.tools_layer(), &paths.tools())?;
        self.on_borrowed(draft, &paths, &image.config, &borrowed)
    }

    /// The same files under a second tree of mounts. What is written goes to the other container's files: that is what it is for.
    fn borrow_running(
        &self,
        draft: &Draft,
        paths: &ContainerPaths,
        id: &str,
        own_users: bool,
    ) -> Result<BorrowedRoot, Error> {
        let other = self.sibling(draft, id)?;
        let start = other.running().ok_or_else(|| other.cannot_be_target())?;
        let process = PidFd::open_same(start.pid, start.pid_start_time)?.ok_or_else(|| other.cannot_be_target())?;
        let tree = Tree::of_process(&process, &OWN_FILE_SYSTEMS, own_users)?;
        let rootfs = paths.rootfs();
        fs::create_dir_all(&rootfs).map_err(failed("create", &rootfs))?;
        tree.attach(&rootfs)?;
        Ok(BorrowedRoot { live: true, env: environment(&other)?, tools: paths.tools(), files: Vec::new() })
    }

    fn borrow_ended(
        &self,
        draft: &Draft,
        paths: &ContainerPaths,
        id: &str,
        users: Option<&Users>,
    ) -> Result<BorrowedRoot, Error> {
        let other = self.sibling(draft, id)?;
        let State::Exited(_) = other.state() else {
            return Err(Error::Root(format!("container {id:?} is {}, not stopped", other.state().name())));
        };
        if other.record().boot != self.host.boot {
            return Err(Error::Root(format!("container {id:?} ended with the machine: its files were not kept")));
        }
        // overlayfs does not like a folder to be the upper layer of one mount and a lower one of another.
        remora_sys::mount::unmount_below(&other.paths.rootfs())?;
        let layers = Layers {
            changed: Some(other.paths.own_layer().upper),
            image: &other.record().lease.lowerdirs,
            users,
            mapped: &paths.mapped_layers(),
        };
        layers.mount(&paths.own_layer(), &paths.rootfs())?;
        let report = paths.bundle().join(crash::FILE);
        write_json(&report, &CrashReport::from(other.status()))?;
        let files = vec![(crash::FILE, report)];
        Ok(BorrowedRoot { live: false, env: environment(&other)?, tools: paths.tools(), files })
    }

    fn on_borrowed(
        &self,
        draft: &Draft,
        paths: &ContainerPaths,
        image: &ImageConfig,
        borrowed: &BorrowedRoot,
    ) -> Result<Root, Error> {
        let spec = |source| Error::Spec { id: draft.id.clone(), source };
        let words = command(&draft.config, image).map_err(spec)?;
        let roots = tools::Roots { tools: &paths.tools(), root: &paths.rootfs() };
        let program = roots.locate(&words[0], &image.env)?;
        let (mut config, image) = borrowed.adapt(&draft.config, image, program).map_err(spec)?;
        if borrowed.live && remora_sys::mount::is_read_only(&paths.rootfs())? {
            // It is mounted so already, but crun would make it writable again.
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().readonly_rootfs = true;
        }
        for place in borrowed.needed_places(&config) {
            if look_inside(&paths.rootfs(), &place)?.is_none() {
                return Err(Error::Root(format!(
                    "{} is not in the target's root, and nothing may be made there: use a place that is, or one below /dev",
                    place.display()
                )));
            }
        }
        Ok(Root { image_files: paths.tools(), config, image, has_sandbox_files: borrowed.live })
    }

    pub(super) fn sibling(&self, draft: &Draft, id: &str) -> Result<Arc<Container>, Error> {
        let found = self.table.container(id).map_err(|error| Error::Target(error.to_string()))?;
        match found.record().sandbox_id == draft.sandbox.id() {
            true => Ok(found),
            false => Err(Error::Target(format!("container {id:?} is in another sandbox"))),
        }
    }

    /// Refuses if a container that may still run stands on this one's root.
    pub(super) fn require_unused(&self, container: &Container) -> Result<(), Error> {
        let is_user = |other: &&Arc<Container>| {
            stands_on(&other.record().config).any(|id| id == container.id()) && self.may_run(other)
        };
        match self.table.containers_of(&container.record().sandbox_id).iter().find(is_user) {
            Some(user) => Err(Error::InUse { id: container.id().to_owned(), user: user.id().to_owned() }),
            None => Ok(()),
        }
    }

    /// Refuses a container whose root is being removed. Asked after it is in the table: of a removal and a creation at the same time, one
    /// sees the other.
    pub(super) fn require_root(&self, container: &Container) -> Result<(), Error> {
        for id in stands_on(&container.record().config) {
            let root = self.table.container(id).map_err(|error| Error::Target(error.to_string()))?;
            if root.is_going() {
                return Err(Error::Root(format!("container {id:?} is being removed")));
            }
        }
        Ok(())
    }

    /// One that was only created can still be started, as long as its sandbox stands.
    fn may_run(&self, container: &Container) -> bool {
        let sandbox = || self.table.sandbox(&container.record().sandbox_id);
        match container.state() {
            State::Starting | State::Running(_) => true,
            State::Created => sandbox().is_ok_and(|sandbox| sandbox.require_ready().is_ok()),
            State::Exited(_) | State::Removed => false,
        }
    }
}

/// What a container was started with.
fn environment(container: &Container) -> Result<Vec<String>, Error> {
    Ok(first_process(&container.paths.spec())?.env().clone().unwrap_or_default())
}

/// What lies below a container's own layer.
struct Layers<'a> {
    /// The writable layer of an ended container.
    changed: Option<PathBuf>,
    /// An image's, the topmost first.
    image: &'a [PathBuf],
    users: Option<&'a Users>,
    /// A folder that is there for as long as the mounting takes.
    mapped: &'a Path,
}

impl Layers<'_> {
    /// Mounts them, with one for changes on top. The changes need not survive a crash of the machine: no container does.
    fn mount(&self, own: &OwnLayer, target: &Path) -> Result<(), Error> {
        for folder in [target, &own.upper, &own.work] {
            fs::create_dir_all(folder).map_err(failed("create", folder))?;
        }
        let Some(users) = self.users else { return self.overlay(self.image, own, target) };
        users.give(&own.upper)?;
        let mapped = self.map(users)?;
        self.overlay(&mapped, own, target)?;
        // The overlay holds mounts of its own of them.
        mapped.iter().try_for_each(|layer| remora_sys::mount::unmount(layer).map(drop))?;
        remove_folder(self.mapped)
    }

    fn map(&self, users: &Users) -> Result<Vec<PathBuf>, Error> {
        let numbered = self.image.iter().enumerate();
        let mapped = numbered.map(|(number, layer)| {
            let place = self.mapped.join(number.to_string());
            fs::create_dir_all(&place).map_err(failed("create", &place))?;
            users.mount(layer, &place, Propagation::Private)?;
            Ok(place)
        });
        mapped.collect()
    }

    fn overlay(&self, image: &[PathBuf], own: &OwnLayer, target: &Path) -> Result<(), Error> {
        let lower: Vec<PathBuf> = self.changed.iter().chain(image).cloned().collect();
        let upper = UpperLayer { upper: &own.upper, work: &own.work, volatile: true };
        Ok(remora_sys::mount::overlay(Overlay { lower: &lower, upper: Some(upper) }, target)?)
    }
}
