//! What is written down about sandboxes and containers: enough to know them again after the daemon has ended.
//!
//! A record is one JSON file, replaced as a whole. The request itself is kept as CRI's protobuf in base64, so that no field of it
//! can get lost. What a shim writes (start and exit) is not here: see `remora_shim_protocol`.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remora_cri::{ContainerConfig, PodSandboxConfig};
use remora_images::LayerLease;
use remora_network::Attachment;
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

/// Writes a record durably.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_vec_pretty(record)
        .map_err(|error| Error::Record { path: path.to_owned(), problem: error.to_string() })?;
    Ok(remora_sys::file::write_durably(path, &json, 0o600)?)
}

/// Reads a record; none if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| Error::Record { path: path.to_owned(), problem: error.to_string() })
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

/// The records of all containers below a durable folder; those without one are leftovers of a crash.
pub(crate) fn containers(folder: &Path) -> Result<Vec<ContainerRecord>, Error> {
    let names = folders(folder)?;
    names.iter().filter_map(|name| read(&folder.join(name).join("container.json")).transpose()).collect()
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

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.json");
        let record = SandboxRecord {
            id: "s1".into(),
            boot: "b".into(),
            created_at: 5,
            handler: "runc".into(),
            hostname: "web".into(),
            cgroup_parent: "/remora/pod".into(),
            network: None,
            stopped: true,
            config: PodSandboxConfig { hostname: "web".into(), ..Default::default() },
        };
        assert_eq!(read::<SandboxRecord>(&path).unwrap(), None);
        write(&path, &record).unwrap();
        assert_eq!(read::<SandboxRecord>(&path).unwrap(), Some(record));
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.json");
        fs::write(&path, "{").unwrap();
        let error = read::<SandboxRecord>(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("record {} is damaged: ", path.display())), "{error}");
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
