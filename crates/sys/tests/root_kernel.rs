//! What needs root and a real kernel: mounts, namespaces, cgroups. Without root each test skips aloud, or fails under `REMORA_REQUIRE_ROOT=1`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use remora_sys::cgroup::{self, Layout};
use remora_sys::mount::{self, Overlay, UpperLayer};
use remora_sys::namespace::{self, Kind, NewNamespaces};
use remora_sys::user_namespace::{self, IdMap, NewUserNamespace};

/// Whether to go on.
fn as_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("REMORA_REQUIRE_ROOT").is_none(),
        "{test} needs root, and REMORA_REQUIRE_ROOT is set"
    );
    if !root {
        eprintln!("SKIPPED: {test} needs root");
    }
    root
}

/// Unmounts on the way out, also of a failed test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn make(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        mount::unmount_below(self.0.path()).unwrap();
    }
}

#[test]
fn an_overlay_of_150_layers_with_awkward_names_mounts_and_comes_down() {
    if !as_root("overlay") {
        return;
    }
    let folder = Folder::new();
    let lower: Vec<PathBuf> = (0..150)
        .map(|number| {
            let layer = folder.make(&format!("layer,with:odd\\name-{}-{number}", "x".repeat(100)));
            fs::write(layer.join("top"), number.to_string()).unwrap();
            layer
        })
        .collect();
    let (upper, work, target) = (folder.make("upper"), folder.make("work"), folder.make("target"));
    let layer = UpperLayer { upper: &upper, work: &work, volatile: true };
    mount::overlay(Overlay { lower: &lower, upper: Some(layer) }, &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("top")).unwrap(), "0");
    fs::write(target.join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new");

    let below = target.join("tmp");
    fs::create_dir(&below).unwrap();
    mount::tmpfs(&below, Some(1 << 20), 0o1777).unwrap();
    mount::bind(&upper, &below).unwrap();
    mount::make_read_only(&below).unwrap();
    assert!(fs::write(below.join("x"), "").is_err());
    assert_eq!(mount::mounts_below(&target).unwrap().len(), 3);
    mount::unmount_below(&target).unwrap();
    assert_eq!(mount::mounts_below(&target).unwrap(), []);
    assert!(!mount::unmount(&target).unwrap());
}

#[test]
fn pinned_namespaces_are_new_set_up_and_leave_the_caller_alone() {
    if !as_root("namespaces") {
        return;
    }
    let folder = Folder::new();
    let pin = |name: &str| folder.0.path().join("ns").join(name);
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let sysctls = [("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned())];
    let pins = vec![(Kind::Net, pin("net")), (Kind::Ipc, pin("ipc")), (Kind::Uts, pin("uts"))];
    namespace::create(&NewNamespaces { pins, hostname: Some("inside"), sysctls: &sysctls }).unwrap();

    let read = |path: &'static str| move || fs::read_to_string(path).unwrap().trim().to_owned();
    let devices =
        namespace::run_in(Kind::Net, &pin("net"), || fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
    assert_eq!(devices.lines().count(), 3, "only lo:\n{devices}");
    assert_eq!(namespace::run_in(Kind::Uts, &pin("uts"), read("/proc/sys/kernel/hostname")).unwrap(), "inside");
    let port =
        namespace::run_in(Kind::Net, &pin("net"), read("/proc/sys/net/ipv4/ip_unprivileged_port_start")).unwrap();
    assert_eq!(port, "7");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);

    for name in ["net", "ipc", "uts"] {
        namespace::unpin(&pin(name)).unwrap();
        namespace::unpin(&pin(name)).unwrap();
    }
    assert_eq!(fs::read_dir(folder.0.path().join("ns")).unwrap().count(), 0);
}

#[test]
fn a_user_namespace_owns_what_is_made_with_it_and_shows_a_folder_as_its_roots() {
    if !as_root("user namespaces") {
        return;
    }
    let folder = Folder::new();
    let pin = |name: &str| folder.0.path().join("ns").join(name);
    let sysctls = [("net.ipv4.ip_unprivileged_port_start", "7"), ("kernel.shm_rmid_forced", "1")];
    let sysctls = sysctls.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pins = vec![(Kind::Net, pin("net")), (Kind::Ipc, pin("ipc")), (Kind::Uts, pin("uts"))];
    let new = NewNamespaces { pins, hostname: Some("inside"), sysctls: &sysctls };
    let ids = IdMap { inside: 0, outside: 6000 << 16, length: 1 << 16 };
    let holder = (Path::new("/bin/sleep"), &["1000"][..]);
    let user = NewUserNamespace { pin: pin("user"), uids: ids, gids: ids, holder };
    user_namespace::create_owned(&new, &user).unwrap();
    let read = |path: &'static str| move || fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(namespace::run_in(Kind::Uts, &pin("uts"), read("/proc/sys/kernel/hostname")).unwrap(), "inside");
    assert_eq!(namespace::run_in(Kind::Ipc, &pin("ipc"), read("/proc/sys/kernel/shm_rmid_forced")).unwrap(), "1");

    let (disk, seen) = (folder.make("disk"), folder.make("seen"));
    fs::write(disk.join("file"), "").unwrap();
    let owner = |path: PathBuf| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    user_namespace::mount_mapped(&disk, &seen, &pin("user"), mount::Propagation::Private).unwrap();
    assert_eq!((owner(disk.join("file")), owner(seen.join("file"))), (0, 6000 << 16));
    let refused = user_namespace::mount_mapped(Path::new("/proc"), &seen, &pin("user"), mount::Propagation::Private);
    assert!(user_namespace::is_unmappable(&refused.unwrap_err()));

    let wrong = [("kernel.no_such".to_owned(), "1".to_owned())];
    let other = |name: &str| folder.0.path().join("other").join(name);
    let new = NewNamespaces { pins: vec![(Kind::Ipc, other("ipc"))], hostname: None, sysctls: &wrong };
    let user = NewUserNamespace { pin: other("user"), ..user };
    let error = user_namespace::create_owned(&new, &user).unwrap_err();
    assert_eq!(error.to_string(), "cannot set sysctl kernel.no_such");
    assert!(!other("user").exists() && !other("ipc").exists());
}

#[test]
fn a_namespace_that_cannot_be_set_up_leaves_no_pin() {
    if !as_root("namespaces") {
        return;
    }
    let folder = Folder::new();
    let pins = vec![(Kind::Net, folder.0.path().join("net"))];
    let sysctls = [("net.no.such".to_owned(), "1".to_owned())];
    let error = namespace::create(&NewNamespaces { pins, hostname: None, sysctls: &sysctls }).unwrap_err();
    assert_eq!(error.to_string(), "cannot set sysctl net.no.such");
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
}

/// A shell that joins the cgroup and then leaves children behind.
fn fill(folders: &[PathBuf]) -> Child {
    let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut script = String::new();
    for folder in folders {
        script += &format!("echo $$ > {}/cgroup.procs\n", folder.display());
    }
    script += "tail -f /dev/null & tail -f /dev/null & echo ready; wait\n";
    shell.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut ready).unwrap();
    shell
}

#[test]
fn everything_in_a_cgroup_is_killed_and_the_folder_can_go() {
    if !as_root("cgroups") {
        return;
    }
    let layout = Layout::detect().unwrap();
    let path = PathBuf::from(format!("/remora-sys-test-{}/pod", std::process::id()));
    layout.create(&path).unwrap();
    let folders = layout.folders(&path);
    assert!(!cgroup::has_processes(&folders).unwrap());
    let mut shell = fill(&folders);
    assert!(cgroup::has_processes(&folders).unwrap());
    assert!(cgroup::kill_all(&folders).unwrap() >= 1);
    assert!(!cgroup::has_processes(&folders).unwrap());
    shell.wait().unwrap();
    assert_eq!(cgroup::kill_all(&folders).unwrap(), 0);
    layout.remove(path.parent().unwrap()).unwrap();
    layout.remove(path.parent().unwrap()).unwrap();
    assert!(!folders[0].parent().unwrap().exists());
    assert_eq!(cgroup::processes(Path::new("/sys/fs/cgroup/none")).unwrap(), []);
}

#[test]
fn a_root_that_is_a_containers_own_and_holds_processes_is_occupied() {
    if !as_root("cgroups") {
        return;
    }
    let mount = match Layout::detect().unwrap() {
        Layout::Unified(mount) | Layout::Legacy { unified: Some(mount), .. } => mount,
        Layout::Legacy { unified: None, .. } => {
            eprintln!("SKIPPED: no hierarchy of cgroup v2 is mounted");
            return;
        }
    };
    let folder = mount.join(format!("remora-sys-test-{}-occupied", std::process::id()));
    fs::create_dir(&folder).unwrap();
    // A cgroup namespace shows its own group as the root, and that is all it does.
    let inside = Layout::Unified(folder.clone());
    assert!(!Layout::Unified(mount).is_occupied());
    assert!(!inside.is_occupied());
    let folders = [folder];
    let mut shell = fill(&folders);
    assert!(inside.is_occupied());
    cgroup::kill_all(&folders).unwrap();
    shell.wait().unwrap();
    cgroup::remove_folder(&folders[0]).unwrap();
}
