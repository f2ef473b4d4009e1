//! The end of a log, without reading its beginning.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::line::parse;

const BLOCK: usize = 64 * 1024;

/// Where the last `lines` lines of a file begin.
pub(super) fn offset_of_last(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (size, mut seen) = (end, 0);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let length = end.min(BLOCK as u64);
        let begin = end - length;
        let part = &mut block[..usize::try_from(length).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = begin + at as u64 + 1;
            // The break at the very end closes the last line, it begins none.
            if after < size {
                seen += 1;
            }
            if seen == lines {
                return Ok(after);
            }
        }
        end = begin;
    }
    Ok(0)
}

/// The texts of the last lines, cut from the front to so many bytes.
pub(crate) fn last_lines(path: &Path, lines: u64, bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let offset = offset_of_last(&mut file, lines)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut raw = Vec::new();
    // Prefixes are part of what is read; a line is at most 16 KiB by CRI.
    file.take(lines * 17 * 1024).read_to_end(&mut raw)?;
    let mut text = Vec::new();
    for line in raw.split(|b| *b == b'\n').filter_map(parse) {
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
    }
    let cut = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(String::from_utf8_lossy(&text[cut..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (content, lines, expected) in [
            ("a\nb\nc\n", 1, "c\n"),
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            std::fs::write(&path, content).unwrap();
            let offset = offset_of_last(&mut File::open(&path).unwrap(), lines).unwrap();
            assert_eq!(&content[usize::try_from(offset).unwrap()..], expected, "{content:?} {lines}");
        }
    }

    #[test]
    fn last_words_are_texts_without_prefixes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "t stdout F one\nt stderr P tw\nt stderr F o\n").unwrap();
        assert_eq!(last_lines(&path, 80, 2048).unwrap(), "one\ntwo\n");
        assert_eq!(last_lines(&path, 80, 4).unwrap(), "two\n");
        std::fs::write(&path, "t stdout P no line feed\n").unwrap();
        assert_eq!(last_lines(&path, 80, 2048).unwrap(), "no line feed");
    }

    #[test]
    fn the_tail_of_any_file_is_its_last_lines() {
        bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(lines, content)| {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, content).unwrap();
            let offset = usize::try_from(offset_of_last(&mut file, (*lines).into()).unwrap()).unwrap();
            let breaks: Vec<usize> = (0..content.len())
                .filter(|at| content[*at] == b'\n' && at + 1 < content.len())
                .map(|at| at + 1)
                .collect();
            let expected = match usize::from(*lines) {
                0 => content.len(),
                lines => breaks.len().checked_sub(lines).map_or(0, |at| breaks[at]),
            };
            assert_eq!(offset, expected);
        });
    }
}
