//! The admin's kubeconfig: written for the node, and merged into a user's own when asked.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remora_cli::kubeconfig::{NodeAccess, merge, render};
use remora_sys::file::write_durably;

/// The context's name, in the node's own file and in a user's.
pub(crate) const CONTEXT: &str = "remora";

/// Writes the node's own kubeconfig, readable by root alone.
pub(crate) fn write(path: &Path, access: &NodeAccess) -> Result<()> {
    let text = render(access, |pem| STANDARD.encode(pem));
    write_durably(path, text.as_bytes(), 0o600).with_context(|| format!("writing {}", path.display()))
}

/// Adds the context to `~/.kube/config` of the user behind sudo, or of root; the file keeps its owner. Returns its path.
pub(crate) fn merge_into_home(access: &NodeAccess) -> Result<PathBuf> {
    let user = Invoker::find()?;
    let folder = user.home.join(".kube");
    let path = folder.join("config");
    if !folder.exists() {
        std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        user.own(&folder)?;
    }
    let existing = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let merged = merge(&existing, access, |pem| STANDARD.encode(pem))
        .with_context(|| format!("{} was left as it is", path.display()))?;
    write_durably(&path, merged.as_bytes(), 0o600).with_context(|| format!("writing {}", path.display()))?;
    user.own(&path)?;
    Ok(path)
}

/// Who typed the command.
struct Invoker {
    home: PathBuf,
    uid: u32,
    gid: u32,
}

impl Invoker {
    fn find() -> Result<Invoker> {
        let home = match std::env::var("SUDO_USER") {
            Ok(user) if user != "root" => home_of(&user)?,
            _ => PathBuf::from(std::env::var_os("HOME").context("$HOME is not set: whose ~/.kube/config is meant?")?),
        };
        let owner = std::fs::metadata(&home).with_context(|| format!("looking at {}", home.display()))?;
        Ok(Invoker { uid: owner.uid(), gid: owner.gid(), home })
    }

    fn own(&self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to its user", path.display()))
    }
}

/// The sixth field of the user's line in /etc/passwd.
fn home_of(user: &str) -> Result<PathBuf> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
    let home = line.and_then(|line| line.split(':').nth(5));
    home.map(PathBuf::from).with_context(|| format!("user {user} (from $SUDO_USER) is not in /etc/passwd"))
}
