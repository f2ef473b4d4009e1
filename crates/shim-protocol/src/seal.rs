//! Records as they are on disk: JSON with a checksum, so that a record that the disk has spoiled is never taken for true; and where the copy
//! of one lies. No IO.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A file's content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sealed {
    /// CRC-32 (IEEE 802.3) of the record's bytes as they stand here.
    crc32: u32,
    record: Box<RawValue>,
}

/// Bytes that are no record, or not the one that was written.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It does not parse.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It parses, and is another than was written.
    #[error("the checksum is {computed:08x}, not {written:08x} as was written")]
    Checksum {
        /// Of what is there.
        computed: u32,
        /// In the file.
        written: u32,
    },
}

/// A record's file content.
///
/// # Errors
/// A record that JSON has no words for.
pub fn seal(record: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let record = serde_json::value::to_raw_value(record)?;
    let mut bytes = serde_json::to_vec(&Sealed { crc32: crc32(record.get().as_bytes()), record })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The record in a file's content.
///
/// # Errors
/// [`SealError`]: it is damaged.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SealError> {
    let sealed: Sealed = serde_json::from_slice(bytes)?;
    let computed = crc32(sealed.record.get().as_bytes());
    if computed != sealed.crc32 {
        return Err(SealError::Checksum { computed, written: sealed.crc32 });
    }
    Ok(serde_json::from_str(sealed.record.get())?)
}

/// Where the copy of a durable record lies: among a bundle's volatile files, on another file system. It tells what the record said when the
/// disk was full or has spoiled it. After a reboot it is gone, as is what it speaks of.
pub fn copy_of(record: &Path, bundle: &Path) -> PathBuf {
    let name = record.file_name().unwrap_or_default().to_string_lossy();
    bundle.join(format!("copy-{name}"))
}

/// Bit by bit: records are small, and a table would weigh more than it saves.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExitRecord;

    fn record() -> ExitRecord {
        ExitRecord {
            exit_code: 3,
            signal: None,
            oom_killed: false,
            started_at: Some(1),
            finished_at: 2,
            expired: None,
            failure: None,
        }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_record_comes_back_as_it_was_sealed() {
        assert_eq!(unseal::<ExitRecord>(&seal(&record()).unwrap()).unwrap(), record());
    }

    #[test]
    fn no_damage_to_a_record_goes_unseen() {
        let whole = seal(&record()).unwrap();
        for at in 0..whole.len() - 1 {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(unseal::<ExitRecord>(&damaged).is_err(), "{}", String::from_utf8_lossy(&damaged));
            }
            assert!(unseal::<ExitRecord>(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
