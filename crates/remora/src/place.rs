//! Where a node's things are on disk, and the name by which cgroups, interfaces and rules of this node are told from others'.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use remora_cli::NodeDirs;

/// The folders of one node. What is below `data` outlives a reboot; what is below `run` does not.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

impl Place {
    /// The folders as absolute paths; nothing is made.
    pub(crate) fn of(dirs: &NodeDirs) -> Result<Place> {
        let absolute =
            |path: &Path| std::path::absolute(path).with_context(|| format!("{} is no path", path.display()));
        Ok(Place { data: absolute(&dirs.data_dir)?, run: absolute(&dirs.run_dir)? })
    }

    /// Makes both folders, for root alone. Through that of what runs others may pass, without seeing what is in it: the root of a pod with a
    /// user namespace is one of them, and comes to its files there.
    pub(crate) fn create(&self) -> Result<()> {
        for (folder, mode) in [(&self.data, 0o700), (&self.run, 0o711)] {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(folder).with_context(|| format!("making {}", folder.display()))?;
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder, permissions).with_context(|| format!("closing {}", folder.display()))?;
        }
        Ok(())
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("remora.log")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The node agent's folder: volumes are tmpfs and bind mounts, and worth nothing after a reboot.
    pub(crate) fn node(&self) -> PathBuf {
        self.data.join("node")
    }

    /// What claims keep. It outlives pods, and `remora down`.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    pub(crate) fn running(&self) -> PathBuf {
        self.run.join("containers")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.run.join("network")
    }

    /// Eight random characters, drawn once per data folder: nodes that share a machine have different ones.
    pub(crate) fn id(&self) -> Result<String> {
        let path = self.data.join("node-id");
        match std::fs::read_to_string(&path) {
            Ok(id) if is_id(id.trim()) => Ok(id.trim().to_owned()),
            Ok(_) => anyhow::bail!("{} does not hold a node's id: eight hexadecimal digits", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
                let id: String = random.chars().take(8).collect();
                remora_sys::file::write_durably(&path, id.as_bytes(), 0o600)
                    .with_context(|| format!("writing {}", path.display()))?;
                Ok(id)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit())
}
