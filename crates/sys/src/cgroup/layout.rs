//! Which hierarchies are mounted, and folders in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::failed;
use crate::mount::{Mount, mounts};

/// Where everybody mounts it.
const USUAL_PLACE: &str = "/sys/fs/cgroup";
/// `statfs`' type of a cgroup v2 file system (`linux/magic.h`).
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Whether cgroup v2 is what is mounted at the usual place; that is how runtimes decide, libcontainer too.
#[must_use]
pub fn is_unified() -> bool {
    rustix::fs::statfs(USUAL_PLACE).is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC)
}

/// Whether a controller belongs to a hierarchy of cgroup v1, without a look at the mounts.
///
/// # Errors
/// `/proc/self/cgroup` cannot be read.
pub fn is_legacy_controller(name: &str) -> Result<bool> {
    const OWN: &str = "/proc/self/cgroup";
    let text = fs::read_to_string(OWN).map_err(failed("read", OWN))?;
    Ok(names_controller(&text, name))
}

/// Lines are `number:controllers:path`; v2's names none.
fn names_controller(text: &str, name: &str) -> bool {
    let mut controllers = text.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|list| list.split(','));
    controllers.any(|controller| controller == name)
}

/// What this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy with all controllers (cgroup v2).
    Unified(PathBuf),
    /// One hierarchy per controller (cgroup v1), maybe beside a v2 hierarchy without controllers (hybrid).
    Legacy {
        /// The v1 hierarchies, in the order of mounting.
        hierarchies: Vec<Hierarchy>,
        /// The v2 hierarchy of a hybrid system.
        unified: Option<PathBuf>,
    },
}

/// One hierarchy of cgroup v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, as in `cpu,cpuacct`; `name=systemd` for one without.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Layout {
    /// Looks at what is mounted. With cgroup v2 at its usual place, at nothing else: the table of mounts grows with every pod, and reading it
    /// is what starting a container would mostly be about.
    ///
    /// # Errors
    /// The mounts cannot be read, or no cgroup file system is among them (`NotFound`).
    pub fn detect() -> Result<Self> {
        if is_unified() {
            return Ok(Self::Unified(USUAL_PLACE.into()));
        }
        Self::from_mounts(&mounts()?)
            .ok_or_else(|| failed("find", "a cgroup file system")(io::Error::from(io::ErrorKind::NotFound)))
    }

    /// The pure part of [`Layout::detect`].
    #[must_use]
    pub fn from_mounts(mounts: &[Mount]) -> Option<Self> {
        let unified = mounts.iter().find(|mount| mount.kind == "cgroup2").map(|mount| mount.target.clone());
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for hierarchy in mounts.iter().filter(|mount| mount.kind == "cgroup").map(hierarchy) {
            // The same hierarchy may be mounted twice; the first counts.
            if !hierarchies.iter().any(|known| known.controllers == hierarchy.controllers) {
                hierarchies.push(hierarchy);
            }
        }
        match (hierarchies.is_empty(), unified) {
            (true, unified) => unified.map(Self::Unified),
            (false, unified) => Some(Self::Legacy { hierarchies, unified }),
        }
    }

    /// The folders of a cgroup, one per hierarchy that runtimes put containers into. `path` is as in the OCI spec's `cgroupsPath`: absolute
    /// from the root of the hierarchy.
    #[must_use]
    pub fn folders(&self, path: &Path) -> Vec<PathBuf> {
        let path = path.strip_prefix("/").unwrap_or(path);
        match self {
            Self::Unified(mount) => vec![mount.join(path)],
            Self::Legacy { hierarchies, .. } => {
                hierarchies.iter().map(|hierarchy| hierarchy.mount.join(path)).collect()
            }
        }
    }

    /// Whether the root of a unified hierarchy holds processes although it is not the machine's: the group of a container with a cgroup
    /// namespace of its own. Such a group hands down no controllers.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        let Self::Unified(mount) = self else { return false };
        // Only the machine's own root, which is exempt, has no type.
        let exempt = !mount.join("cgroup.type").exists();
        !exempt && fs::read_to_string(mount.join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
    }

    /// Makes a cgroup (and those above it) in every hierarchy, ready to hold processes: on v1 with its parent's `cpuset.cpus` and
    /// `cpuset.mems`, on v2 with the parent's controllers handed down to it.
    ///
    /// # Errors
    /// A folder cannot be made or set up.
    pub fn create(&self, path: &Path) -> Result<()> {
        for folder in self.folders(path) {
            let mount = self.mount_of(&folder);
            create_below(&mount, &folder)?;
        }
        Ok(())
    }

    /// Removes a cgroup and those below it in every hierarchy. One that is gone is no error; one with processes is (`ResourceBusy`).
    ///
    /// # Errors
    /// See above.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.folders(path).iter().try_for_each(|folder| remove_folder(folder))
    }

    /// The folders of the cgroups that a process is in, from the text of its `/proc/PID/cgroup`: on v2 one; on v1 one per mounted hierarchy.
    #[must_use]
    pub fn members(&self, text: &str) -> Vec<PathBuf> {
        let lines = text.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, Path::new(fields.next()?)))
        });
        let below = |mount: &Path, path: &Path| mount.join(path.strip_prefix("/").unwrap_or(path));
        lines
            .filter_map(|(controllers, path)| match self {
                Self::Unified(mount) => controllers.is_empty().then(|| below(mount, path)),
                Self::Legacy { hierarchies, .. } => {
                    let known = hierarchies.iter().find(|hierarchy| hierarchy.controllers.join(",") == controllers)?;
                    Some(below(&known.mount, path))
                }
            })
            .collect()
    }

    fn mount_of(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Unified(mount) => mount.clone(),
            Self::Legacy { hierarchies, .. } => hierarchies
                .iter()
                .find(|hierarchy| folder.starts_with(&hierarchy.mount))
                .map_or_else(|| folder.to_owned(), |hierarchy| hierarchy.mount.clone()),
        }
    }
}

fn hierarchy(mount: &Mount) -> Hierarchy {
    const NO_CONTROLLERS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
    let controllers = mount
        .super_options
        .split(',')
        .filter(|option| !NO_CONTROLLERS.contains(option) && !option.starts_with("release_agent="))
        .map(ToOwned::to_owned)
        .collect();
    Hierarchy { controllers, mount: mount.target.clone() }
}

fn create_below(mount: &Path, folder: &Path) -> Result<()> {
    let mut current = mount.to_owned();
    for part in folder.strip_prefix(mount).unwrap_or(Path::new("")) {
        hand_down_controllers(&current)?;
        let parent = current.clone();
        current.push(part);
        match fs::create_dir(&current) {
            Ok(()) => inherit_cpuset(&parent, &current)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create cgroup", current.display())(error)),
        }
    }
    Ok(())
}

/// v2: a child has the controllers that its parent's `cgroup.subtree_control` names.
fn hand_down_controllers(parent: &Path) -> Result<()> {
    let Ok(available) = fs::read_to_string(parent.join("cgroup.controllers")) else { return Ok(()) };
    let file = parent.join("cgroup.subtree_control");
    let all: String = available.split_ascii_whitespace().map(|name| format!("+{name} ")).collect();
    fs::write(&file, all.trim_end()).map_err(failed("write", file.display()))
}

/// v1: a new cpuset is empty, and no process may join an empty one.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = child.join(name);
        let Ok(value) = fs::read_to_string(&own) else { continue };
        // v2's files of the same names are empty by design and inherit by themselves: they also have a cgroup.controllers beside them.
        if value.trim().is_empty() && !child.join("cgroup.controllers").exists() {
            let inherited = fs::read_to_string(parent.join(name)).map_err(failed("read", name))?;
            fs::write(&own, inherited).map_err(failed("write", own.display()))?;
        }
    }
    Ok(())
}

/// Removes one folder of a cgroup and those below it. One that is gone is no error; one with processes is (`ResourceBusy`).
///
/// # Errors
/// See above.
pub fn remove_folder(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("list cgroup", folder.display())(error)),
    };
    for entry in entries.filter_map(io::Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folder(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove cgroup", folder.display())(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &str, kind: &str, super_options: &str) -> Mount {
        Mount {
            id: 1,
            root: "/".into(),
            target: target.into(),
            options: "rw".into(),
            kind: kind.into(),
            source: kind.into(),
            super_options: super_options.into(),
        }
    }

    #[test]
    fn controllers_of_v1_are_found_without_mounts() {
        let hybrid = "4:cpu,cpuacct:/a\n2:devices:/\n1:name=systemd:/devices\n0::/\n";
        let check = |text, name, expected| assert_eq!(names_controller(text, name), expected, "{name} in {text}");
        check(hybrid, "devices", true);
        check(hybrid, "cpuacct", true);
        check(hybrid, "memory", false);
        check("0::/user.slice/devices\n", "devices", false);
    }

    #[test]
    fn layouts_are_told_apart_by_what_is_mounted() {
        let unified = [mount("/", "ext4", "rw"), mount("/sys/fs/cgroup", "cgroup2", "rw,nsdelegate")];
        let layout = Layout::from_mounts(&unified).unwrap();
        assert_eq!(layout.folders(Path::new("/a/b")), [PathBuf::from("/sys/fs/cgroup/a/b")]);

        let hybrid = [
            mount("/c/cpu", "cgroup", "rw,cpu,cpuacct"),
            mount("/c/systemd", "cgroup", "rw,xattr,release_agent=/x,name=systemd"),
            mount("/c/again", "cgroup", "rw,cpu,cpuacct"),
            mount("/c/unified", "cgroup2", "rw"),
        ];
        let Some(Layout::Legacy { hierarchies, unified }) = Layout::from_mounts(&hybrid) else { panic!("not v1") };
        assert_eq!(unified, Some("/c/unified".into()));
        let controllers: Vec<_> = hierarchies.iter().map(|hierarchy| hierarchy.controllers.join("+")).collect();
        assert_eq!(controllers, ["cpu+cpuacct", "name=systemd"]);

        assert_eq!(Layout::from_mounts(&[mount("/", "ext4", "rw")]), None);
    }

    #[test]
    fn a_process_is_in_one_cgroup_of_every_hierarchy() {
        let check = |layout: &Layout, text: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(layout.members(text), expected, "{text}");
        };
        let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: mount.into(),
        };
        let legacy = Layout::Legacy {
            hierarchies: vec![hierarchy(&["cpu", "cpuacct"], "/c/cpu"), hierarchy(&["name=systemd"], "/c/systemd")],
            unified: Some("/c/unified".into()),
        };
        let text = "3:cpu,cpuacct:/pod/a:b\n2:pids:/elsewhere\n1:name=systemd:/\n0::/x\n";
        check(&legacy, text, &["/c/cpu/pod/a:b", "/c/systemd/"]);
        check(&Layout::Unified("/c".into()), "0::/pod/a\n", &["/c/pod/a"]);
        check(&Layout::Unified("/c".into()), "", &[]);
    }
}
