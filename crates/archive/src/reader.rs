//! Reads tar archives as they stream by: ustar, GNU long names and sparse files, PAX.
//!
//! The `tar` crate decodes header fields; the walk over entries is ours, because the crate's reads extension headers into
//! memory at whatever size they claim. Format: POSIX.1-2001 `pax`, GNU tar manual "Basic Tar Format".

use std::io::{self, Read};

use crate::pax;

const BLOCK: usize = 512;
/// Names, links and attributes of one entry. PAX headers are far smaller; extended attributes are at most 64 KiB each.
const MAX_EXTENSION: u64 = 1 << 20;
const MAX_SPARSE: usize = 64 * 1024;

/// What stands before an entry's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its path, as the archive has it.
    pub path: Vec<u8>,
    /// For links: what to.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Type,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was changed: seconds since 1970, nanoseconds.
    pub modified: (i64, u32),
    /// Major, minor.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// Bytes of data in the archive.
    pub stored: u64,
    /// For a sparse file: its size, and where the stored bytes belong (offset, length).
    pub sparse: Option<(u64, Vec<(u64, u64)>)>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Bytes.
    #[default]
    File,
    /// A folder.
    Directory,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream broke, or its compression is damaged.
    #[error("archive/tar: cannot read")]
    Read(#[from] io::Error),
    /// The bytes are no tar.
    #[error("archive/tar: invalid tar header: {0}")]
    Header(String),
    /// Not understood here.
    #[error("archive/tar: {0} is not supported")]
    Unsupported(String),
}

/// Walks over the entries of an archive. Data that is not read is skipped.
pub struct EntryReader<R> {
    stream: R,
    /// Data of the current entry that was not read yet.
    left: u64,
    /// Bytes from its end to the next block.
    padding: u64,
}

/// What extension headers say about the entry that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(String, Vec<u8>)>,
}

impl<R: Read> EntryReader<R> {
    /// Over this stream.
    pub fn new(stream: R) -> Self {
        EntryReader { stream, left: 0, padding: 0 }
    }

    /// The next entry, or none at the archive's end.
    ///
    /// # Errors
    /// The stream breaks off, or is no archive that is understood.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its entries' data")]
    pub fn next(&mut self) -> Result<Option<Header>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(raw) = self.block()? else { return Ok(None) };
            let stored = raw.entry_size().map_err(field)?;
            self.expect(stored);
            match raw.entry_type().as_byte() {
                b'x' => extensions.pax = pax::parse(&self.extension(stored)?)?,
                b'g' => {}
                b'L' => extensions.path = Some(trim(self.extension(stored)?)),
                b'K' => extensions.link = Some(trim(self.extension(stored)?)),
                _ => return self.header(&raw, stored, extensions).map(Some),
            }
        }
    }

    /// The data of the current entry as it is stored: a sparse file's without its holes.
    pub fn data(&mut self) -> &mut Self {
        self
    }

    /// Gives the stream back, for what follows the archive.
    pub fn into_stream(self) -> R {
        self.stream
    }

    fn header(&mut self, raw: &::tar::Header, stored: u64, extensions: Extensions) -> Result<Header, TarError> {
        let kind = kind_of(raw)?;
        let mut header = Header {
            path: extensions.path.unwrap_or_else(|| raw.path_bytes().into_owned()),
            link: extensions.link.or_else(|| raw.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default(),
            kind,
            mode: number(&raw.as_old().mode, raw.mode())?,
            uid: id(number(&raw.as_old().uid, raw.uid())?)?,
            gid: id(number(&raw.as_old().gid, raw.gid())?)?,
            modified: (i64::try_from(number(&raw.as_old().mtime, raw.mtime())?).unwrap_or(0), 0),
            device: device(raw, kind)?,
            stored,
            ..Header::default()
        };
        pax::apply(&mut header, extensions.pax)?;
        if raw.entry_type().is_gnu_sparse() {
            header.sparse = Some(self.sparse_map(raw)?);
        }
        // Only files carry data, whatever the size field of another kind says (POSIX: links may have one).
        self.expect(if kind == Type::File { header.stored } else { 0 });
        header.stored = self.left;
        Ok(header)
    }

    /// GNU's old sparse format: a few segments in the header, more in blocks that follow it.
    fn sparse_map(&mut self, raw: &::tar::Header) -> Result<(u64, Vec<(u64, u64)>), TarError> {
        let wrong = || TarError::Header("sparse file without a map".into());
        let gnu = raw.as_gnu().ok_or_else(wrong)?;
        let size = gnu.real_size().map_err(field)?;
        let mut map = Vec::new();
        add_segments(&gnu.sparse, &mut map)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut more = ::tar::GnuExtSparseHeader::new();
            self.stream.read_exact(more.as_mut_bytes())?;
            add_segments(more.sparse(), &mut map)?;
            is_extended = more.is_extended();
            if map.len() > MAX_SPARSE {
                return Err(TarError::Unsupported("a sparse file of more than 65536 pieces".into()));
            }
        }
        check_segments(size, &map)?;
        Ok((size, map))
    }

    /// The next header block; none after the archive's end, which is a block of zeros or the stream's end.
    fn block(&mut self) -> Result<Option<::tar::Header>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.stream.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => filled += count,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = ::tar::Header::from_byte_slice(&block).clone();
        match header.cksum().map_err(field)? == checksum(&block) {
            true => Ok(Some(header)),
            false => Err(TarError::Header("wrong checksum".into())),
        }
    }

    fn expect(&mut self, stored: u64) {
        self.left = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(TarError::Unsupported(format!("an extension header of {size} bytes")));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        match io::copy(&mut self.stream.by_ref().take(rest), &mut io::sink())? == rest {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

impl<R: Read> Read for EntryReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn kind_of(raw: &::tar::Header) -> Result<Type, TarError> {
    Ok(match raw.entry_type().as_byte() {
        b'1' => Type::HardLink,
        b'2' => Type::Symlink,
        b'3' => Type::Character,
        b'4' => Type::Block,
        b'5' => Type::Directory,
        b'6' => Type::Fifo,
        // Before POSIX, a folder was a file whose name ends with a slash.
        0 | b'0' if raw.path_bytes().ends_with(b"/") => Type::Directory,
        0 | b'0' | b'7' | b'S' => Type::File,
        other => return Err(TarError::Unsupported(format!("entry type {:?}", char::from(other)))),
    })
}

/// Some writers leave fields empty; Go reads that as zero.
fn number<T: Default>(bytes: &[u8], parsed: io::Result<T>) -> Result<T, TarError> {
    match bytes.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(T::default()),
        false => parsed.map_err(field),
    }
}

/// The decoder's error repeats what may be any bytes; which field it was is enough.
fn field(error: io::Error) -> TarError {
    let text = error.to_string();
    let name = text.split("when getting ").nth(1).and_then(|rest| rest.split(' ').next());
    TarError::Header(name.map_or_else(|| "field".to_owned(), |name| format!("field {name}")))
}

fn device(raw: &::tar::Header, kind: Type) -> Result<(u32, u32), TarError> {
    match kind {
        Type::Character | Type::Block => {
            let (major, minor) = (raw.device_major().map_err(field)?, raw.device_minor().map_err(field)?);
            Ok((major.unwrap_or_default(), minor.unwrap_or_default()))
        }
        _ => Ok((0, 0)),
    }
}

fn checksum(block: &[u8; BLOCK]) -> u32 {
    let field = 148..156;
    block.iter().enumerate().map(|(at, byte)| if field.contains(&at) { 32 } else { u32::from(*byte) }).sum()
}

pub(crate) fn id(id: u64) -> Result<u32, TarError> {
    u32::try_from(id).map_err(|_| TarError::Header(format!("owner {id}")))
}

/// GNU ends long names with a zero byte.
fn trim(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

fn add_segments(segments: &[::tar::GnuSparseHeader], map: &mut Vec<(u64, u64)>) -> Result<(), TarError> {
    for segment in segments.iter().filter(|segment| !segment.is_empty()) {
        map.push((segment.offset().map_err(field)?, segment.length().map_err(field)?));
    }
    Ok(())
}

/// Segments come in order, do not overlap and end within the file.
fn check_segments(size: u64, map: &[(u64, u64)]) -> Result<(), TarError> {
    let mut end = 0;
    for (offset, length) in map {
        let next = offset.checked_add(*length);
        match next {
            Some(next) if *offset >= end && next <= size => end = next,
            _ => return Err(TarError::Header("sparse map".into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of one entry, with a header that may lie.
    fn entry(kind: u8, name: &str, data: &[u8], size: u64) -> Vec<u8> {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(::tar::EntryType::new(kind));
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let mut data = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..4).map(|digits| rest + digits).find(|all| all.to_string().len() + rest == *all).unwrap();
            data.push_str(&format!("{length} {key}={value}\n"));
        }
        entry(b'x', "pax", data.as_bytes(), data.len() as u64)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, TarError> {
        let mut reader = EntryReader::new(bytes);
        let mut all = Vec::new();
        while let Some(header) = reader.next()? {
            let mut data = Vec::new();
            reader.data().read_to_end(&mut data)?;
            all.push((header, data));
        }
        Ok(all)
    }

    #[test]
    fn entries_follow_each_other_with_their_data() {
        let archive =
            [entry(b'0', "a", b"hello", 5), entry(b'5', "d", b"", 0), entry(b'0', "b", &[1; 600], 600)].concat();
        let all = read(&archive).unwrap();
        let names: Vec<_> = all.iter().map(|(header, data)| (header.path.as_slice(), data.len())).collect();
        assert_eq!(names, [(&b"a"[..], 5), (b"d", 0), (b"b", 600)]);
    }

    #[test]
    fn extension_headers_speak_for_the_next_entry_only() {
        let long = "n".repeat(300);
        let archive = [
            pax(&[("path", "from/pax"), ("mtime", "-1.25"), ("uid", "70000"), ("SCHILY.xattr.user.k", "v")]),
            entry(b'0', "a", b"", 0),
            entry(b'L', "././@LongLink", format!("{long}\0").as_bytes(), 301),
            entry(b'0', "b", b"", 0),
            entry(b'0', "c", b"", 0),
        ]
        .concat();
        let all = read(&archive).unwrap();
        assert_eq!(all[0].0.path, b"from/pax");
        assert_eq!((all[0].0.modified, all[0].0.uid), ((-2, 750_000_000), 70000));
        assert_eq!(all[0].0.xattrs, [("user.k".to_owned(), b"v".to_vec())]);
        assert_eq!(all[1].0.path, long.as_bytes());
        assert_eq!((all[2].0.path.as_slice(), all[2].0.xattrs.len()), (&b"c"[..], 0));
    }

    #[test]
    fn a_pax_size_counts_and_a_links_size_does_not() {
        let all =
            read(&[pax(&[("size", "5")]), entry(b'0', "a", b"hello", 0), entry(b'0', "b", b"", 0)].concat()).unwrap();
        assert_eq!((all.len(), all[0].1.as_slice()), (2, &b"hello"[..]));
        let all = read(&[entry(b'1', "l", b"", 700), entry(b'0', "b", b"", 0)].concat()).unwrap();
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn damaged_and_hostile_archives_are_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let error = read(bytes).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        let mut flipped = entry(b'0', "a", b"", 0);
        flipped[0] ^= 1;
        check(&flipped, "wrong checksum");
        check(&entry(b'0', "a", b"x", 1)[..700], "cannot read");
        check(&entry(b'0', "a", b"", 0)[..100], "cannot read");
        check(&entry(b'x', "p", b"", 2 << 20), "extension header of 2097152 bytes");
        check(&entry(b'x', "p", b"9 a=b\n", 6), "PAX record");
        check(&entry(b'x', "p", b"6 a=b\n7", 7), "PAX record");
        check(&[pax(&[("GNU.sparse.major", "1")]), entry(b'0', "a", b"", 0)].concat(), "not supported");
        check(&entry(b'V', "label", b"", 0), "not supported");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, pax: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[entry(b'x', "p", &pax, pax.len() as u64), entry(b'0', "a", b"", 0)].concat());
        }
    }
}
