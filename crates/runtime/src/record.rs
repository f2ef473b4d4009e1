//! What is written down about sandboxes and containers: enough to know them again after the daemon has ended.
//!
//! A record is one sealed JSON file, replaced as a whole, and a copy among the volatile files: see [`Places`]. The request itself is kept as
//! CRI's protobuf in base64, so that no field of it can get lost. What a shim writes (start and exit) lies in the same places: see
//! `remora_shim_protocol`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remora_cri::{ContainerConfig, PodSandboxConfig};
use remora_images::LayerLease;
use remora_network::Attachment;
use remora_shim_protocol::{copy_of, seal, unseal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::failed;

/// A sandbox that has been set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SandboxRecord {
    pub(crate) id: String,
    /// The boot in which it was set up: in another one nothing of it is left.
    pub(crate) boot: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) created_at: i64,
    pub(crate) handler: String,
    /// What its processes see.
    pub(crate) hostname: String,
    /// From the root of the hierarchies.
    pub(crate) cgroup_parent: String,
    /// None in the host's network.
    pub(crate) network: Option<Attachment>,
    /// It was stopped; its network is given back.
    #[serde(default)]
    pub(crate) stopped: bool,
    #[serde(with = "protobuf")]
    pub(crate) config: PodSandboxConfig,
}

/// A container that has been created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    /// As in [`SandboxRecord::boot`].
    pub(crate) boot: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) created_at: i64,
    pub(crate) handler: String,
    pub(crate) lease: LayerLease,
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    pub(crate) user: RecordedUser,
    pub(crate) stop_signal: i32,
    pub(crate) log_path: Option<String>,
    /// Its own, from the root of the hierarchies.
    pub(crate) cgroup: String,
    /// How it ended, where no shim could say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Verdict>,
    #[serde(with = "protobuf")]
    pub(crate) config: ContainerConfig,
}

/// Who the first process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordedUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// The runtime's own word on how a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Nanoseconds since the Unix epoch; none if it never started.
    pub(crate) started_at: Option<i64>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) finished_at: i64,
}

/// Where a record lies: on the disk, and once more among the volatile files, for when the disk is full or has spoiled it.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) durable: PathBuf,
    copy: PathBuf,
}

impl Places {
    pub(crate) fn new(durable: &Path, name: &str, bundle: &Path) -> Self {
        let durable = durable.join(name);
        Places { copy: copy_of(&durable, bundle), durable }
    }

    /// Writes it durably, then the copy, also when the disk is full.
    pub(crate) fn write(&self, record: &impl Serialize) -> Result<(), Error> {
        let bytes = seal(record).map_err(|error| damaged(&self.durable, &error))?;
        let written = remora_sys::file::write_durably(&self.durable, &bytes, 0o600);
        // Not synced: after a crash of the machine it is gone anyway. One that is torn by a crash of the daemon has its original.
        match fs::write(&self.copy, bytes) {
            // Of what ran before a reboot there is no bundle any more.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("write", &self.copy)(error)),
            _ => Ok(written?),
        }
    }

    /// Reads it, or its copy; none if there is neither. Nothing is changed.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        match read(&self.durable) {
            Ok(Some(record)) => Ok(Some(record)),
            Ok(None) => read(&self.copy),
            Err(error @ Error::Record { .. }) => read(&self.copy).ok().flatten().map(Some).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Reads it, and puts it right: what the disk has spoiled is set aside, and the copy takes its place. None if there is none, or if the copy is
    /// spoiled too: then nothing is known.
    pub(crate) fn recover<T: DeserializeOwned + Serialize>(&self) -> Result<Option<T>, Error> {
        match read::<T>(&self.durable) {
            Ok(Some(record)) => return Ok(Some(record)),
            Ok(None) => {}
            Err(error @ Error::Record { .. }) => self.set_aside(&error),
            Err(error) => return Err(error),
        }
        let Ok(Some(record)) = read::<T>(&self.copy) else { return Ok(None) };
        if let Err(error) = self.write(&record) {
            // The copy stays, and is as good until the machine is started anew.
            let (path, error) = (self.durable.display(), crate::error::chain(&error));
            tracing::warn!(record = %path, error, "a record lives on in its copy only");
        }
        Ok(Some(record))
    }

    /// Whether there is anything, whole or not.
    pub(crate) fn exists(&self) -> bool {
        self.durable.exists() || self.copy.exists()
    }

    /// The copy first: what has no record is a leftover, and must not come back.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        [&self.copy, &self.durable].into_iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
            _ => Ok(()),
        })
    }

    /// Keeps a spoiled file as evidence, out of the way of what is done next.
    fn set_aside(&self, error: &Error) {
        let evidence = self.evidence();
        let folder = evidence.parent().unwrap_or(Path::new("/"));
        let moved = fs::create_dir_all(folder).and_then(|()| fs::rename(&self.durable, &evidence));
        let error = crate::error::chain(error);
        match moved {
            Ok(()) => tracing::error!(error, kept = %evidence.display(), "a damaged record was set aside"),
            Err(cause) => tracing::error!(error, %cause, "a damaged record could not be set aside"),
        }
    }

    /// `containers/ID/exit.json` → `damaged/ID.exit.json`
    fn evidence(&self) -> PathBuf {
        let part =
            |path: Option<&Path>| path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let owner = self.durable.parent();
        let root = owner.and_then(Path::parent).and_then(Path::parent).unwrap_or(Path::new("/"));
        root.join("damaged").join(format!("{}.{}", part(owner), part(Some(&self.durable))))
    }
}

/// Reads a sealed record; none if there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = bytes_of(path)? else { return Ok(None) };
    unseal(&bytes).map(Some).map_err(|error| damaged(path, &error))
}

/// Reads what is written without a seal, such as a shim's configuration; none if there is none.
pub(crate) fn read_plain<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = bytes_of(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, &error))
}

fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn damaged(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Record { path: path.to_owned(), problem: error.to_string() }
}

/// The names of the folders in a folder that may not be there.
pub(crate) fn folders(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

mod protobuf {
    use super::{Engine, STANDARD};
    use prost::Message;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<M: Message, S: Serializer>(message: &M, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(message.encode_to_vec()))
    }

    pub(super) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(deserializer: D) -> Result<M, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        M::decode(bytes.as_slice()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> SandboxRecord {
        SandboxRecord {
            id: "s1".into(),
            boot: "b".into(),
            created_at: 5,
            handler: "runc".into(),
            hostname: "web".into(),
            cgroup_parent: "/remora/pod".into(),
            network: None,
            stopped: true,
            config: PodSandboxConfig { hostname: "web".into(), ..Default::default() },
        }
    }

    /// A record in two folders, as below a runtime's `root` and `run`.
    fn written(folder: &Path) -> Places {
        let (durable, bundle) = (folder.join("root/sandboxes/s1"), folder.join("run/s1"));
        fs::create_dir_all(&durable).unwrap();
        fs::create_dir_all(&bundle).unwrap();
        let places = Places::new(&durable, "sandbox.json", &bundle);
        assert_eq!(places.recover::<SandboxRecord>().unwrap(), None);
        places.write(&record()).unwrap();
        places
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let places = written(folder.path());
        assert_eq!(places.read::<SandboxRecord>().unwrap(), Some(record()));
        assert_eq!(places.recover::<SandboxRecord>().unwrap(), Some(record()));
        assert!(!folder.path().join("root/damaged").exists());
    }

    #[test]
    fn a_damaged_record_is_set_aside_and_its_copy_takes_its_place() {
        for damage in ["", "{", "{\"crc32\":1,\"record\":{}}"] {
            let folder = tempfile::tempdir().unwrap();
            let places = written(folder.path());
            fs::write(&places.durable, damage).unwrap();
            assert_eq!(places.read::<SandboxRecord>().unwrap(), Some(record()), "{damage:?}");
            assert_eq!(fs::read_to_string(&places.durable).unwrap(), damage, "reading changes nothing");
            assert_eq!(places.recover::<SandboxRecord>().unwrap(), Some(record()), "{damage:?}");
            let evidence = folder.path().join("root/damaged/s1.sandbox.json");
            assert_eq!(fs::read_to_string(evidence).unwrap(), damage);
            assert_eq!(read::<SandboxRecord>(&places.durable).unwrap(), Some(record()));
        }
    }

    #[test]
    fn of_a_record_that_is_damaged_with_its_copy_nothing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let places = written(folder.path());
        fs::write(&places.durable, "{").unwrap();
        fs::write(&places.copy, "{").unwrap();
        let error = places.read::<SandboxRecord>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("record {} is damaged: ", places.durable.display())), "{error}");
        assert_eq!(places.recover::<SandboxRecord>().unwrap(), None);
    }

    #[test]
    fn a_copy_that_the_full_disk_has_left_alone_counts() {
        let folder = tempfile::tempdir().unwrap();
        let places = written(folder.path());
        fs::remove_file(&places.durable).unwrap();
        assert_eq!(places.recover::<SandboxRecord>().unwrap(), Some(record()));
        assert!(places.durable.exists());
    }

    #[test]
    fn no_bytes_in_a_record_make_reading_it_panic() {
        let record = serde_json::json!({
            "id": "c1", "sandboxId": "s1", "boot": "b", "createdAt": 1, "handler": "", "imageId": "i", "imageRef": "r",
            "lease": {"id": "c1", "chain": [], "lowerdirs": []}, "user": {"uid": 0, "gid": 0, "groups": []}, "stopSignal": 15,
            "logPath": null, "cgroup": "/c", "verdict": null, "config": "CgQIARAC",
        });
        let text = record.to_string().into_bytes();
        bolero::check!().with_type::<(Vec<u8>, Vec<(u16, u8)>)>().for_each(|(config, changes)| {
            let mut text = text.clone();
            for (at, byte) in changes {
                let at = usize::from(*at) % text.len();
                text[at] = *byte;
            }
            let _ = serde_json::from_slice::<ContainerRecord>(&text);
            let _ = serde_json::from_slice::<SandboxRecord>(&text);
            let wrapped = serde_json::json!({ "config": STANDARD.encode(config) });
            let _ = serde_json::from_value::<OnlyConfig>(wrapped);
        });
    }

    #[derive(Deserialize)]
    struct OnlyConfig {
        #[serde(with = "protobuf", rename = "config")]
        _config: ContainerConfig,
    }
}
