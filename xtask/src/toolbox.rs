//! `cargo xtask image`: the toolbox image, made of Debian's packages by whoever wants it. apt finds and checks them, without what is installed here;
//! nothing of them is installed or run.
//!
//! The same packages make the same image, byte for byte: its digest changes when Debian has newer ones.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::clients::CANNOT_BE_HAD;
use crate::{binaries, host};

/// What it is for. What they need comes with them.
const PACKAGES: [&str; 11] = [
    "busybox-static", // a shell and everything small
    "ca-certificates",
    "curl",
    "gdb-minimal", // remora dump
    "iproute2",
    "jattach", // remora dump, for Java
    "lsof",
    "socat",
    "strace",
    "tar",     // with holes, which busybox' has not
    "tcpdump", // remora capture
];

/// What packages need to be installed, and programs do not need to run.
const LEFT_OUT: [&str; 14] = [
    "adduser",
    "debconf",
    "dpkg",
    "gcc-12-base",
    "libaudit-common",
    "libpam",
    "libsemanage",
    "libsepol",
    "openssl_",
    "passwd",
    "perl-base",
    "readline-common",
    "sensible-utils",
    "ucf",
];

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// Where it goes: `toolbox`, an OCI layout, and `toolbox.tar`.
    #[arg(long, default_value = "target/toolbox")]
    dir: PathBuf,
    /// Its name, as a registry or a node shall know it.
    #[arg(long, default_value = "localhost/remora-toolbox:1")]
    name: String,
}

pub(crate) fn run(args: &ImageArgs) -> Result<ExitCode> {
    let dir = host::root().join(&args.dir);
    let debs = dir.join("packages");
    std::fs::create_dir_all(&debs).with_context(|| format!("making {}", debs.display()))?;
    if let Err(error) = download(&debs) {
        host::say(format_args!("Debian's packages cannot be had: {error:#}"));
        return Ok(ExitCode::from(CANNOT_BE_HAD));
    }
    let mut maker = Command::new(binaries::build_toolbox_maker()?);
    maker.arg("--debs").arg(&debs).arg("--dir").arg(&dir).args(["--name", &args.name]);
    let digest = host::read(&mut maker)?;
    host::say(format_args!("{} {}", args.name, digest.trim()));
    host::say(format_args!("on a node of Remora's: sudo remora image import {}/toolbox.tar", dir.display()));
    host::say(format_args!(
        "into a registry:       skopeo copy oci:{}/toolbox docker://REGISTRY/NAME:TAG",
        dir.display()
    ));
    host::say("then: export REMORA_DEBUG_IMAGE=NAME, and remora debug, capture and dump take it");
    host::print(dir.join("toolbox.tar").display());
    Ok(ExitCode::SUCCESS)
}

/// All packages, and nothing else, are in the folder then.
fn download(debs: &Path) -> Result<()> {
    for old in std::fs::read_dir(debs)? {
        let old = old?.path();
        if old.is_file() {
            std::fs::remove_file(old)?;
        }
    }
    std::fs::create_dir_all(debs.join("partial"))?;
    let nothing_installed = debs.join("partial/status");
    std::fs::write(&nothing_installed, "")?;
    let mut apt = Command::new("apt-get");
    for (name, path) in [("Dir::State::status", nothing_installed.as_path()), ("Dir::Cache::archives", debs)] {
        apt.arg("-o").arg(format!("{name}={}", path.display()));
    }
    // Whoever is not root may not give the download to apt's own user.
    apt.args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-q", "-y", "--no-install-recommends"]);
    apt.args(["--download-only", "install"]).args(PACKAGES).env("DEBIAN_FRONTEND", "noninteractive");
    host::read(&mut apt)?;
    for package in std::fs::read_dir(debs)? {
        let package = package?;
        let name = package.file_name();
        if LEFT_OUT.iter().any(|left_out| name.to_string_lossy().starts_with(left_out)) {
            std::fs::remove_file(package.path())?;
        }
    }
    Ok(())
}
