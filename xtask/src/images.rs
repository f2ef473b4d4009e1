//! The demo's images: built from Debian's busybox and two small static programs, pushed to a node's registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::binaries::{self, Profile};
use crate::host;
use crate::netns::NetworkNamespace;
use crate::registry;

/// Compiles the programs, builds the images and pushes them to the registry in the namespace.
pub(crate) fn push(netns: &NetworkNamespace<'_>, profile: Profile, dir: &Path) -> Result<()> {
    let pusher = binaries::build_image_pusher(profile)?;
    let programs = dir.join("programs");
    std::fs::create_dir_all(&programs)?;
    let pause = compile("pause", &programs)?;
    let httpd = compile("httpd", &programs)?;
    let mut push = netns.enter(pusher);
    push.arg("--pause").arg(pause).arg("--httpd").arg(httpd).args(["--busybox", "/bin/busybox"]);
    push.args(["--push", registry::URL]).arg("--dir").arg(dir.join("images"));
    host::run(&mut push)
}

/// A static binary from one file of ours.
fn compile(name: &str, dir: &Path) -> Result<PathBuf> {
    let source = host::root().join("xtask/demo-images").join(name).with_extension("rs");
    let binary = dir.join(name);
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "panic=abort",
        "-C",
        "strip=symbols",
    ]);
    rustc.arg("-o").arg(&binary).arg(source);
    host::run(&mut rustc)?;
    Ok(binary)
}
