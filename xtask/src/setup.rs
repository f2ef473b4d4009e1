//! Installs the Debian packages that building, trying and testing need.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::host;

/// What each is for.
const PACKAGES: [(&str, &str); 13] = [
    ("gcc", "links, and compiles SQLite and zstd"),
    ("libc6-dev", "links static binaries"),
    ("pkg-config", "finds libseccomp"),
    ("libseccomp-dev", "libcontainer's seccomp filters"),
    ("busybox-static", "the demo's tool image"),
    ("docker-registry", "the registry that the demo and the tests pull from"),
    ("e2fsprogs", "the small disk of the chaos run"),
    ("etcd-client", "etcdctl, with which tests set etcd up"),
    ("etcd-server", "the second engine of the store"),
    ("iproute2", "makes network namespaces"),
    ("nftables", "the pods' NAT"),
    ("runc", "the second low-level runtime of the root tests"),
    ("util-linux", "nsenter"),
];

/// Installs what is missing of what every task needs.
pub(crate) fn install_missing() -> Result<()> {
    // crun refuses machines whose controllers are in hierarchies of cgroup v1.
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let crun = unified.then_some(("crun", "the third low-level runtime of the root tests"));
    install(&PACKAGES.into_iter().chain(crun).collect::<Vec<_>>())
}

/// Installs what is missing of some packages; says so, and what to type where we may not.
pub(crate) fn install(packages: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().map(|(name, _)| *name).filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !host::is_root() {
        bail!("Debian packages are missing; install them with: sudo apt-get install --no-install-recommends {list}");
    }
    host::say(format_args!("installing {list}"));
    host::read(Command::new("apt-get").args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-yq", "--no-install-recommends"]).args(missing);
    // A registry and an etcd of ours are started when needed, on ports of their own; the packages' own services are not wanted.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    host::read(&mut install).map(drop)
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
