//! What the network has made, on disk: `network.json` and one `sandboxes/<id>.json` each.
//!
//! A record that cannot be read is as good as none: it is set aside, in `damaged`, and the runtime, which keeps every attachment too, says what it
//! said ([`Network::gc`](crate::Network::gc)).

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use remora_sys::file;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::allocation::Allocations;
use crate::{Error, Subnet};

/// Where records go that cannot be read.
const DAMAGED: &str = "damaged";

/// The network as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetworkRecord {
    pub(crate) subnet: Subnet,
    /// Whether `ip_forward` was on before we came.
    pub(crate) forwarded_before: bool,
    /// Whether our nftables table may exist.
    pub(crate) nat: bool,
}

/// One sandbox. Written before its interfaces are made, removed after they are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SandboxRecord {
    pub(crate) sandbox: String,
    pub(crate) netns: PathBuf,
    pub(crate) address: Ipv4Addr,
    /// Counts attaches, so that after a restart addresses go on where they were.
    pub(crate) serial: u64,
}

/// The state folder.
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let sandboxes = folder.join("sandboxes");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&sandboxes);
        made.map_err(at(&sandboxes))?;
        Ok(Records { folder: folder.to_owned() })
    }

    pub(crate) fn network(&self) -> Result<Option<NetworkRecord>, Error> {
        self.read(&self.network_path())
    }

    pub(crate) fn set_network(&self, record: &NetworkRecord) -> Result<(), Error> {
        write(&self.network_path(), record)
    }

    /// Removes the files; the folder itself belongs to the caller.
    pub(crate) fn remove_network(&self) -> Result<(), Error> {
        remove(&self.network_path())?;
        let damaged = self.folder.join(DAMAGED);
        match fs::remove_dir_all(&damaged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&damaged)(error)),
            _ => {}
        }
        let sandboxes = self.folder.join("sandboxes");
        remove_unfinished(&sandboxes)?;
        match fs::remove_dir(&sandboxes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&sandboxes)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn sandbox(&self, id: &str) -> Result<Option<SandboxRecord>, Error> {
        self.read(&self.sandbox_path(id))
    }

    pub(crate) fn set_sandbox(&self, record: &SandboxRecord) -> Result<(), Error> {
        write(&self.sandbox_path(&record.sandbox), record)
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), Error> {
        remove(&self.sandbox_path(id))
    }

    /// Who has which address, as the files say. None before a subnet was chosen.
    pub(crate) fn allocations(&self) -> Result<Option<Allocations>, Error> {
        let Some(network) = self.network()? else { return Ok(None) };
        let mut records = self.sandboxes()?;
        records.sort_by_key(|record| record.serial);
        let owners = records.into_iter().map(|record| (record.sandbox, record.address, record.serial));
        Ok(Some(Allocations::restore(network.subnet, owners)))
    }

    /// Those of all sandboxes, in no order.
    pub(crate) fn sandboxes(&self) -> Result<Vec<SandboxRecord>, Error> {
        let folder = self.folder.join("sandboxes");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // After a teardown.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&folder)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(&folder))?.path();
            // Files that are being written are hidden and have another ending; a crash may leave one.
            if path.extension().is_some_and(|extension| extension == "json") {
                records.extend(self.read::<SandboxRecord>(&path)?);
            }
        }
        Ok(records)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(path)(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(problem) => self.set_aside(path, &problem).map(|()| None),
        }
    }

    /// Keeps it as evidence, out of the way of what is done next.
    fn set_aside(&self, path: &Path, problem: &serde_json::Error) -> Result<(), Error> {
        let evidence = self.folder.join(DAMAGED).join(path.file_name().unwrap_or_default());
        tracing::error!(record = %path.display(), %problem, kept = %evidence.display(), "a damaged record was set aside");
        let moved = fs::create_dir_all(self.folder.join(DAMAGED)).and_then(|()| fs::rename(path, &evidence));
        moved.map_err(at(path))
    }

    fn network_path(&self) -> PathBuf {
        self.folder.join("network.json")
    }

    fn sandbox_path(&self, id: &str) -> PathBuf {
        // A leading dot would hide the file and make ".." a name; 256 bytes and an ending would be too long.
        let name: String = id.chars().take(200).collect();
        self.folder.join("sandboxes").join(format!("s-{name}.json"))
    }
}

fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(record).map_err(|error| at(path)(error.into()))?;
    file::write_durably(path, &bytes, 0o600).map_err(|error| at(path)(error.source))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Removes what writers that were killed have left of themselves.
fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut unfinished = paths.filter(|path| path.extension().is_some_and(|extension| extension == "tmp"));
    unfinished.try_for_each(|path| remove(&path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_has_left_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        fs::write(folder.path().join("sandboxes/.s-1.json.42.tmp"), "{").unwrap();
        records.remove_network().unwrap();
        assert!(!folder.path().join("sandboxes").exists());
        // What is not ours to remove is an error, as before.
        let records = Records::open(folder.path()).unwrap();
        fs::write(folder.path().join("sandboxes/s-1.json"), "{}").unwrap();
        assert!(records.remove_network().is_err());
    }
}
