//! Finds out how a stream is compressed, by its first bytes (media types lie), and decompresses it.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// 2^27 bytes: what `zstd` itself refuses to exceed without `--long`. It bounds the decoder's memory.
const ZSTD_WINDOW: u32 = 27;

/// The plain content of a stream that is gzip, zstd or neither.
pub(crate) fn decompress<'a>(mut reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::new();
    reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start)?;
    let (is_gzip, is_zstd) = (start.starts_with(GZIP), start.starts_with(ZSTD));
    let whole = Cursor::new(start).chain(reader);
    if is_gzip {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(bytes: &[u8], expected: &[u8]) {
        let mut plain = Vec::new();
        decompress(bytes).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!(plain, expected);
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_compression_is_known_by_its_first_bytes() {
        check(b"", b"");
        check(b"x", b"x");
        check(b"plain text", b"plain text");
        check(&gzip(b"text"), b"text");
        check(&[gzip(b"two "), gzip(b"members")].concat(), b"two members");
        check(&zstd::encode_all(&b"text"[..], 1).unwrap(), b"text");
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let whole = gzip(&[7; 1000]);
        let mut plain = Vec::new();
        assert!(decompress(&whole[..whole.len() - 4]).unwrap().read_to_end(&mut plain).is_err());
    }
}
