//! Header blocks: names and values, compressed with zlib over one history per direction and the dictionary of SPDY/3. Pure.
//! Source of the rules: SPDY/3 draft, section 2.6.10.
//!
//! A small block may stand for a huge one: what it unfolds to is bounded while it unfolds.

use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Of SPDY/3, section 2.6.10.1.
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// The longest block, in bytes when unfolded. Kubernetes' are below 200.
const LONGEST: usize = 16 * 1024;
/// The most names of a block.
const MOST: usize = 64;
/// The most values of a block, of all names together.
const MOST_VALUES: usize = 2 * MOST;
/// How much more room is made at a time.
const STEP: usize = 1024;
/// Between the values of one name.
const SEPARATOR: u8 = 0;

/// Why a block cannot be read. The history is then lost, and with it all blocks to come.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It is no zlib, or of another dictionary.
    #[error("a header block cannot be unfolded")]
    Zlib(#[source] flate2::DecompressError),
    /// It says that no other block will come, or goes on after its end.
    #[error("a header block ends its compression")]
    Ended,
    /// It unfolds to too much.
    #[error("a header block unfolds to more than {LONGEST} bytes")]
    TooLong,
    /// It has too many names.
    #[error("a header block has {0} names, more than {MOST}")]
    TooMany(u32),
    /// It has too many values.
    #[error("a header block has more than {MOST_VALUES} values")]
    TooManyValues,
    /// Lengths that lead out of the block, or not to its end.
    #[error("a header block is cut or has a rest")]
    Length,
    /// Not a name in lower case.
    #[error("a header block has an invalid name")]
    Name,
    /// A name twice; several values belong to one name.
    #[error("a header block has {0} twice")]
    Twice(HeaderName),
    /// A value that no header can have.
    #[error("a header block has an invalid value of {0}")]
    Value(HeaderName),
}

/// Unfolds the blocks of one direction, in their order.
#[derive(Debug)]
pub(super) struct Inflater {
    zlib: Decompress,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<HeaderMap, HeaderError> {
        parse(self.unfold(block)?.into())
    }

    fn unfold(&mut self, mut block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut unfolded = Vec::with_capacity(STEP);
        loop {
            let before = (self.zlib.total_in(), unfolded.len());
            let status = self.zlib.decompress_vec(block, &mut unfolded, FlushDecompress::Sync);
            let read = self.zlib.total_in() - before.0;
            block.advance(usize::try_from(read).unwrap_or(block.len()).min(block.len()));
            match status {
                Ok(Status::StreamEnd) => return Err(HeaderError::Ended),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(DICTIONARY).map_err(HeaderError::Zlib)?;
                    continue;
                }
                Err(error) => return Err(HeaderError::Zlib(error)),
            }
            if unfolded.len() > LONGEST {
                return Err(HeaderError::TooLong);
            }
            if unfolded.len() < unfolded.capacity() {
                // There was room left: all that the block holds is out.
                return if block.is_empty() { Ok(unfolded) } else { Err(HeaderError::Length) };
            }
            unfolded.reserve(STEP);
        }
    }
}

/// Folds the blocks of one direction, in their order.
#[derive(Debug)]
pub(super) struct Deflater {
    zlib: Compress,
    is_new: bool,
}

impl Deflater {
    pub(super) fn new() -> Self {
        Self { zlib: Compress::new(Compression::fast(), true), is_new: true }
    }

    pub(super) fn write(&mut self, headers: &HeaderMap) -> Result<Vec<u8>, flate2::CompressError> {
        self.fold(&encode(headers))
    }

    pub(super) fn fold(&mut self, mut rest: &[u8]) -> Result<Vec<u8>, flate2::CompressError> {
        if std::mem::take(&mut self.is_new) {
            self.zlib.set_dictionary(DICTIONARY)?;
        }
        let mut folded = Vec::with_capacity(STEP);
        loop {
            let before = self.zlib.total_in();
            self.zlib.compress_vec(rest, &mut folded, FlushCompress::Sync)?;
            let read = self.zlib.total_in() - before;
            rest.advance(usize::try_from(read).unwrap_or(rest.len()).min(rest.len()));
            if rest.is_empty() && folded.len() < folded.capacity() {
                return Ok(folded);
            }
            folded.reserve(STEP);
        }
    }
}

fn encode(headers: &HeaderMap) -> Vec<u8> {
    let mut plain = Vec::new();
    let put = |plain: &mut Vec<u8>, bytes: &[u8]| {
        plain.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        plain.put_slice(bytes);
    };
    plain.put_u32(u32::try_from(headers.keys_len()).unwrap_or(u32::MAX));
    for name in headers.keys() {
        let values: Vec<&[u8]> = headers.get_all(name).into_iter().map(HeaderValue::as_bytes).collect();
        put(&mut plain, name.as_str().as_bytes());
        put(&mut plain, &values.join(&SEPARATOR));
    }
    plain
}

fn parse(mut plain: Bytes) -> Result<HeaderMap, HeaderError> {
    let count = plain.try_get_u32().map_err(|_| HeaderError::Length)?;
    if usize::try_from(count).is_ok_and(|count| count > MOST) {
        return Err(HeaderError::TooMany(count));
    }
    let mut headers = HeaderMap::new();
    let mut values = 0;
    for _ in 0..count {
        let name = HeaderName::from_lowercase(&piece(&mut plain)?).map_err(|_| HeaderError::Name)?;
        if headers.contains_key(&name) {
            return Err(HeaderError::Twice(name));
        }
        for value in piece(&mut plain)?.split(|byte| *byte == SEPARATOR) {
            // Each costs some seventy bytes, however short it is.
            values += 1;
            if values > MOST_VALUES {
                return Err(HeaderError::TooManyValues);
            }
            let value = HeaderValue::from_bytes(value).map_err(|_| HeaderError::Value(name.clone()))?;
            headers.append(&name, value);
        }
    }
    if plain.is_empty() { Ok(headers) } else { Err(HeaderError::Length) }
}

/// A length and so many bytes.
fn piece(plain: &mut Bytes) -> Result<Bytes, HeaderError> {
    let length = plain.try_get_u32().map_err(|_| HeaderError::Length)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= plain.len()).ok_or(HeaderError::Length)?;
    Ok(plain.split_to(length))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_name_with_many_values_is_refused() {
        let block = |values: usize| {
            let mut plain = Vec::new();
            plain.put_u32(1);
            plain.put_u32(1);
            plain.put_slice(b"a");
            plain.put_u32(u32::try_from(values - 1).unwrap());
            plain.put_slice(&vec![SEPARATOR; values - 1]);
            parse(plain.into())
        };
        assert_eq!(block(MOST_VALUES).unwrap().len(), MOST_VALUES);
        assert!(matches!(block(MOST_VALUES + 1), Err(HeaderError::TooManyValues)));
    }

    /// A block as an attacker makes it.
    fn folded(plain: &[u8]) -> Vec<u8> {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(DICTIONARY).unwrap();
        let mut folded = Vec::with_capacity(plain.len() + 1024);
        zlib.compress_vec(plain, &mut folded, FlushCompress::Sync).unwrap();
        folded
    }

    #[test]
    fn blocks_are_read_as_written_over_one_history() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for headers in [
            map(&[("streamtype", "error"), ("port", "8080"), ("requestid", "0")]),
            map(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")]),
            map(&[]),
            map(&[("many", "a"), ("many", "b"), ("empty", "")]),
        ] {
            let block = deflater.write(&headers).unwrap();
            assert_eq!(inflater.read(&block).unwrap(), headers);
        }
    }

    #[test]
    fn blocks_of_another_zlib_are_read() {
        let mut inflater = Inflater::new();
        let first = b"\x78\xf9\xe3\xc6\xa7\xc2\x02\xe5\x0e\x70\x3a\x2b\x29\x4a\x4d\xcc\x85\x16\x25\xac\xa9\xa0\x80\x86\x14\xcb\x45\xa0\x24\xcc\x64\x61\x00\x00\x00\x00\xff\xff";
        assert_eq!(inflater.read(first).unwrap(), map(&[("streamtype", "error"), ("port", "80")]));
        let second = b"\xc2\xaa\x10\x54\xe6\x24\xa2\xaa\x03\x00\x00\x00\xff\xff";
        assert_eq!(inflater.read(second).unwrap(), map(&[("streamtype", "data"), ("port", "80")]));
    }

    #[test]
    fn what_is_no_block_is_refused_with_a_reason() {
        let check = |plain: &[u8], expected: &str| {
            let refused = Inflater::new().read(&folded(plain)).unwrap_err();
            assert_eq!(refused.to_string(), expected);
        };
        check(b"", "a header block is cut or has a rest");
        check(b"\0\0\0\x01", "a header block is cut or has a rest");
        check(b"\0\0\0\0x", "a header block is cut or has a rest");
        check(b"\0\0\0\x01\xff\xff\xff\xffa", "a header block is cut or has a rest");
        check(b"\0\x01\0\0", "a header block has 65536 names, more than 64");
        check(b"\0\0\0\x01\0\0\0\x01A\0\0\0\0", "a header block has an invalid name");
        check(b"\0\0\0\x01\0\0\0\0\0\0\0\0", "a header block has an invalid name");
        check(b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01\n", "a header block has an invalid value of a");
        check(b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01a\0\0\0\0", "a header block has a twice");
        let refused = Inflater::new().read(b"no zlib at all").unwrap_err();
        assert_eq!(refused.to_string(), "a header block cannot be unfolded");
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_unfolded() {
        let bomb = folded(&vec![0; 64 << 20]);
        assert!(bomb.len() < 128 << 10);
        let mut inflater = Inflater::new();
        assert!(matches!(inflater.read(&bomb), Err(HeaderError::TooLong)));
        assert!(inflater.zlib.total_out() < 4 * LONGEST as u64);
    }

    #[test]
    fn a_block_that_ends_its_compression_is_refused() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&encode(&map(&[("a", "b")]))).unwrap();
        assert!(matches!(Inflater::new().read(&zlib.finish().unwrap()), Err(HeaderError::Ended)));
    }
}
