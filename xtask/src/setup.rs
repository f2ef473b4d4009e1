//! Installs the Debian packages that building, trying and testing need.

use std::process::Command;

use anyhow::{Result, bail};

use crate::host;

/// What each is for.
const PACKAGES: [(&str, &str); 10] = [
    ("gcc", "links, and compiles SQLite and zstd"),
    ("libc6-dev", "links static binaries"),
    ("pkg-config", "finds libseccomp"),
    ("libseccomp-dev", "libcontainer's seccomp filters"),
    ("busybox-static", "the demo's tool image"),
    ("docker-registry", "the registry that the demo and the tests pull from"),
    ("iproute2", "makes network namespaces"),
    ("nftables", "the pods' NAT"),
    ("runc", "the second low-level runtime of the root tests"),
    ("util-linux", "nsenter"),
];

/// Installs what is missing; says so, and what to type where we may not.
pub(crate) fn install_missing() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).filter(|name| !installed(name)).collect();
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
    // A registry of ours is started when needed, on a port of its own; the package's own service is not wanted.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    host::read(&mut install).map(drop)
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
