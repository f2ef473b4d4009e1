//! A snapshot's bytes. Pure.
//!
//! ```text
//! "remora-store-snapshot 1\n"     what it is, and the version of all that follows
//! Record { header }               ┐
//! Record { entry }, …             │ protobuf, each behind its length as a varint; keys in byte order
//! Record { footer }               ┘ how many entries, and SHA-256 of all bytes before this record
//! ```
//! Later programs read version 1 for as long as there is one; fields may be added, as protobuf has it.

use std::io::{self, BufRead, Read};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::{KeyValue, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision};

const MAGIC: &[u8] = b"remora-store-snapshot 1\n";
/// What a record may be at most: an entry of the largest key and value, and its numbers.
const MAX_RECORD: u64 = (MAX_KEY_BYTES + MAX_VALUE_BYTES + 128) as u64;

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Part", tags = "1, 2, 3")]
    part: Option<Part>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Part {
    #[prost(message, tag = "1")]
    Header(HeaderRecord),
    #[prost(message, tag = "2")]
    Entry(EntryRecord),
    #[prost(message, tag = "3")]
    Footer(FooterRecord),
}

#[derive(Clone, PartialEq, Message)]
struct HeaderRecord {
    #[prost(uint64, tag = "1")]
    revision: u64,
}

#[derive(Clone, PartialEq, Message)]
struct EntryRecord {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(uint64, tag = "3")]
    create_revision: u64,
    #[prost(uint64, tag = "4")]
    mod_revision: u64,
    #[prost(uint64, tag = "5")]
    version: u64,
}

#[derive(Clone, PartialEq, Message)]
struct FooterRecord {
    #[prost(uint64, tag = "1")]
    entries: u64,
    #[prost(bytes = "bytes", tag = "2")]
    sha256: Bytes,
}

/// What a snapshot says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The revision whose keys it holds.
    pub revision: Revision,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It begins otherwise.
    #[error("it is no snapshot of a store")]
    Foreign,
    /// A later program has written it.
    #[error("it has version {0:?} of the format, and this program knows version 1 only")]
    Version(String),
    /// It is cut, or was changed.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
}

/// Writes a snapshot, piece by piece.
pub(super) struct Writer {
    sum: Sha256,
    entries: u64,
    pending: BytesMut,
}

impl Writer {
    pub(super) fn begin(revision: Revision) -> Writer {
        let mut writer = Writer { sum: Sha256::new(), entries: 0, pending: BytesMut::from(MAGIC) };
        writer.record(Part::Header(HeaderRecord { revision: revision.0 }));
        writer
    }

    pub(super) fn entry(&mut self, kv: &KeyValue) {
        self.entries += 1;
        self.record(Part::Entry(EntryRecord {
            key: kv.key.clone(),
            value: kv.value.clone(),
            create_revision: kv.create_revision.0,
            mod_revision: kv.mod_revision.0,
            version: kv.version,
        }));
    }

    /// What was written since the last call.
    pub(super) fn written(&mut self) -> Bytes {
        self.sum.update(&self.pending);
        self.pending.split().freeze()
    }

    /// The rest.
    pub(super) fn end(mut self) -> Bytes {
        let mut rest = BytesMut::from(&self.written()[..]);
        let sha256 = Bytes::copy_from_slice(&self.sum.clone().finalize());
        self.record(Part::Footer(FooterRecord { entries: self.entries, sha256 }));
        rest.put(self.pending);
        rest.freeze()
    }

    fn record(&mut self, part: Part) {
        let record = Record { part: Some(part) };
        self.pending.reserve(record.encoded_len() + 10);
        prost::encoding::encode_varint(record.encoded_len() as u64, &mut self.pending);
        // The buffer grows as needed: this cannot fail.
        record.encode_raw(&mut self.pending);
    }
}

/// Reads a snapshot and believes nothing: an entry may be used only when all of it was read, since the checksum is at its end.
pub struct Reader<R> {
    from: R,
    sum: Sha256,
    header: Header,
    entries: u64,
    last: Option<Bytes>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// If it is no snapshot, or of another version.
    pub fn begin(mut from: R) -> Result<Reader<R>, SnapshotError> {
        let mut sum = Sha256::new();
        magic(&mut from, &mut sum)?;
        match record(&mut from, &mut sum)? {
            (Part::Header(header), _) => {
                let header = Header { revision: Revision(header.revision) };
                Ok(Reader { from, sum, header, entries: 0, last: None, ended: false })
            }
            _ => Err(damaged("it does not begin with its header")),
        }
    }

    /// What it says of itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many entries were read.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads all that is left; `Ok` means that every byte is as it was written.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn verify(mut self) -> Result<(Header, u64), SnapshotError> {
        for entry in &mut self {
            entry?;
        }
        Ok((self.header, self.entries))
    }

    fn read(&mut self) -> Result<Option<KeyValue>, SnapshotError> {
        match record(&mut self.from, &mut self.sum)? {
            (Part::Entry(entry), _) => self.entry(entry).map(Some),
            (Part::Footer(footer), sum) => self.footer(&footer, &sum).map(|()| None),
            (Part::Header(_), _) => Err(damaged("it has two headers")),
        }
    }

    fn entry(&mut self, entry: EntryRecord) -> Result<KeyValue, SnapshotError> {
        let EntryRecord { key, value, create_revision, mod_revision, version } = entry;
        let ordered = self.last.as_ref().is_none_or(|last| *last < key) && !key.is_empty();
        let possible = create_revision <= mod_revision && mod_revision <= self.header.revision.0;
        let fits = key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES;
        if !ordered || !possible || !fits || create_revision == 0 || version == 0 {
            return Err(damaged(&format!("its entry of {key:?} cannot be")));
        }
        self.last = Some(key.clone());
        self.entries += 1;
        let (create_revision, mod_revision) = (Revision(create_revision), Revision(mod_revision));
        Ok(KeyValue { key, value, create_revision, mod_revision, version })
    }

    fn footer(&mut self, footer: &FooterRecord, sum: &[u8]) -> Result<(), SnapshotError> {
        if footer.sha256 != sum || footer.entries != self.entries {
            return Err(damaged("its checksum is wrong"));
        }
        match self.from.fill_buf().map_err(SnapshotError::Io)?.is_empty() {
            true => Ok(()),
            false => Err(damaged("something follows its end")),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<KeyValue, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read();
        self.ended = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

fn magic(from: &mut impl BufRead, sum: &mut Sha256) -> Result<(), SnapshotError> {
    let mut line = Vec::new();
    from.by_ref().take(64).read_until(b'\n', &mut line).map_err(SnapshotError::Io)?;
    sum.update(&line);
    if line == MAGIC {
        return Ok(());
    }
    match line.strip_prefix(b"remora-store-snapshot ") {
        Some(version) => Err(SnapshotError::Version(String::from_utf8_lossy(version).trim_end().to_owned())),
        None => Err(SnapshotError::Foreign),
    }
}

/// The next record, and the checksum of all that was before it.
fn record(from: &mut impl BufRead, sum: &mut Sha256) -> Result<(Part, Vec<u8>), SnapshotError> {
    let (length, prefix) = length(from)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged("a record is too long"))?];
    from.read_exact(&mut bytes).map_err(cut)?;
    let bytes = Bytes::from(bytes);
    let record = Record::decode(bytes.clone()).map_err(|error| damaged(&error.to_string()))?;
    let part = record.part.ok_or_else(|| damaged("a record is of no kind that is known"))?;
    // Only a footer looks at it: copying the state for each entry would cost more than reading it.
    let before = if matches!(part, Part::Footer(_)) { sum.clone().finalize().to_vec() } else { Vec::new() };
    sum.update(&prefix);
    sum.update(&bytes);
    Ok((part, before))
}

/// A varint, and its bytes.
fn length(from: &mut impl Read) -> Result<(u64, Vec<u8>), SnapshotError> {
    let (mut value, mut prefix) = (0_u64, Vec::new());
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte).map_err(cut)?;
        value |= u64::from(byte[0] & 0x7f) << (7 * prefix.len());
        prefix.push(byte[0]);
        if value > MAX_RECORD || prefix.len() > 4 {
            return Err(damaged("a record is too long"));
        }
        if byte[0] & 0x80 == 0 {
            return Ok((value, prefix));
        }
    }
}

fn cut(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => SnapshotError::Io(error),
    }
}

fn damaged(detail: &str) -> SnapshotError {
    SnapshotError::Damaged(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written, with a few bytes changed or cut off, and anything at all behind a good beginning.
    #[test]
    fn whatever_is_read_is_as_it_was_written_or_refused() {
        bolero::check!().with_type::<(Vec<(u8, Vec<u8>)>, Vec<(u16, u8)>, Vec<u8>)>().for_each(
            |(pairs, changes, any)| {
                let mut writer = Writer::begin(Revision(9));
                let pairs: std::collections::BTreeMap<u8, &Vec<u8>> =
                    pairs.iter().map(|(key, value)| (*key, value)).collect();
                let kv = |(key, value): (&u8, &&Vec<u8>)| KeyValue {
                    key: vec![*key].into(),
                    value: Bytes::copy_from_slice(value),
                    create_revision: Revision(2),
                    mod_revision: Revision(3),
                    version: 2,
                };
                let written: Vec<KeyValue> = pairs.iter().map(kv).collect();
                written.iter().for_each(|kv| writer.entry(kv));
                let whole = writer.end().to_vec();
                let read = |bytes: &[u8]| Reader::begin(bytes)?.collect::<Result<Vec<_>, _>>();
                assert_eq!(read(&whole).unwrap(), written);

                let mut changed = whole.clone();
                for (at, byte) in changes {
                    let at = usize::from(*at) % changed.len();
                    changed[at] = *byte;
                }
                assert!(changed == whole || read(&changed).is_err());
                assert!(read(&[MAGIC, any].concat()).is_err() || any[..] == whole[MAGIC.len()..]);
            },
        );
    }
}
