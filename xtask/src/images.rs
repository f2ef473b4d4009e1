//! The demo's images: built from Debian's busybox and two small static programs, pushed to a node's registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::binaries::{self, Profile};
use crate::host;
use crate::netns::NetworkNamespace;
use crate::registry;

/// What the images are made with and of.
pub(crate) struct Programs {
    /// Builds the images and pushes them.
    pub(crate) pusher: PathBuf,
    /// The two static programs.
    pub(crate) pause: PathBuf,
    pub(crate) httpd: PathBuf,
}

impl Programs {
    /// Those of the folder that [`binaries::BUILT`] names, else built now.
    fn find(profile: Profile, dir: &Path) -> Result<Self> {
        if let Some(folder) = binaries::built_folder() {
            let [pusher, pause, httpd] = ["demo_images", "pause", "httpd"].map(|name| folder.join(name));
            return Ok(Self { pusher, pause, httpd });
        }
        Self::build(profile, dir)
    }

    /// Built now; the static ones go below a folder.
    pub(crate) fn build(profile: Profile, dir: &Path) -> Result<Self> {
        let programs = dir.join("programs");
        std::fs::create_dir_all(&programs)?;
        Ok(Self {
            pusher: binaries::build_image_pusher(profile)?,
            pause: compile("pause", &programs)?,
            httpd: compile("httpd", &programs)?,
        })
    }
}

/// Builds the images and pushes them to the registry in the namespace.
pub(crate) fn push(netns: &NetworkNamespace<'_>, profile: Profile, dir: &Path) -> Result<()> {
    let Programs { pusher, pause, httpd } = Programs::find(profile, dir)?;
    let mut push = netns.enter(pusher);
    push.arg("--pause").arg(pause).arg("--httpd").arg(httpd).args(["--busybox", "/bin/busybox"]);
    push.args(["--push", registry::URL]).arg("--dir").arg(dir.join("images"));
    host::run(&mut push)
}

/// Makes the images of upstream's suite and pushes them to the registry in the namespace.
pub(crate) fn push_upstream(netns: &NetworkNamespace<'_>, programs: &Path, dir: &Path) -> Result<()> {
    let mut push = netns.enter(binaries::build_image_pusher(Profile::Dev)?);
    push.args(["--push", registry::URL]);
    make_upstream(&mut push, programs, dir).map(drop)
}

/// Makes the images of upstream's suite, and says in which folder their archives are.
pub(crate) fn write_upstream(programs: &Path, dir: &Path) -> Result<PathBuf> {
    make_upstream(&mut Command::new(binaries::build_image_pusher(Profile::Dev)?), programs, dir)
}

fn make_upstream(pusher: &mut Command, programs: &Path, dir: &Path) -> Result<PathBuf> {
    let (images, of_ours) = (dir.join("images"), dir.join("programs"));
    std::fs::create_dir_all(&of_ours)?;
    pusher.arg("--sh").arg(compile("sh", &of_ours)?).args(["--busybox", "/bin/busybox"]);
    pusher.arg("--upstream").arg(programs).arg("--dir").arg(&images);
    host::run(pusher)?;
    Ok(images)
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
