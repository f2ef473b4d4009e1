//! Makes an archive of files here, for a container's `tar`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::Copied;
use super::receive::bar;
use crate::CommandError;

/// Writes `from`, and all below it, under this name.
pub(super) fn send(to: impl Write, from: &Path, name: &str) -> Result<Copied, CommandError> {
    let mut archive = tar::Builder::new(to);
    let mut copied = Copied::default();
    let bar = bar();
    // Folders before what is in them. What is found later is on top, so that a large tree costs one path of it.
    let mut open = vec![(from.to_owned(), PathBuf::from(name))];
    while let Some((from, path)) = open.pop() {
        let failed = |error: std::io::Error| CommandError::caused(format_args!("sending {}", from.display()), &error);
        // The named file may be a link; links below it stay links.
        let metadata = if path == Path::new(name) { from.metadata() } else { from.symlink_metadata() };
        let metadata = metadata.map_err(failed)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Complete);
        if metadata.is_dir() {
            archive.append_data(&mut header, &path, std::io::empty()).map_err(failed)?;
            let mut inside =
                std::fs::read_dir(&from).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            inside.sort_by_key(std::fs::DirEntry::file_name);
            open.extend(inside.into_iter().rev().map(|entry| (entry.path(), path.join(entry.file_name()))));
        } else if metadata.is_symlink() {
            let link = std::fs::read_link(&from).map_err(failed)?;
            archive.append_link(&mut header, &path, link).map_err(failed)?;
            copied.files += 1;
        } else if metadata.is_file() {
            let file = std::fs::File::open(&from).map_err(failed)?;
            // A file that grows meanwhile is sent as long as it was; one that shrinks would shift all that follows.
            let exact = Exact { file: file.take(metadata.len()), left: metadata.len() };
            archive.append_data(&mut header, &path, bar.wrap_read(exact)).map_err(failed)?;
            copied.files += 1;
            copied.bytes += metadata.len();
        } else {
            copied.leave_out(&from.display().to_string(), "no file, folder or link");
        }
    }
    bar.finish_and_clear();
    let end = |error: std::io::Error| CommandError::caused("sending the archive's end", &error);
    archive.into_inner().map_err(end)?.flush().map_err(end)?;
    Ok(copied)
}

/// Ends with an error where a file has become shorter.
struct Exact<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("it became shorter while it was sent"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cp::receive::{Limits, Received, receive};

    #[test]
    fn what_is_sent_is_received() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        let long = "n".repeat(150);
        std::fs::create_dir_all(from.join("sub").join(&long)).unwrap();
        std::fs::write(from.join("sub").join(&long).join("a"), "hello").unwrap();
        std::fs::write(from.join("tool"), "#!").unwrap();
        std::fs::set_permissions(from.join("tool"), std::fs::Permissions::from_mode(0o750)).unwrap();
        symlink("tool", from.join("link")).unwrap();
        let mut bytes = Vec::new();
        let sent = send(&mut bytes, &from, "d").unwrap();
        assert_eq!((sent.files, sent.bytes), (3, 7));
        let to = folder.path().join("to");
        assert_eq!(receive(bytes.as_slice(), "d", "d", &to, &Limits::default()), Ok(Received::Files(sent)));
        assert_eq!(std::fs::read_to_string(to.join("sub").join(&long).join("a")).unwrap(), "hello");
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("tool"));
        assert_eq!(std::fs::metadata(to.join("tool")).unwrap().permissions().mode() & 0o777, 0o750);
    }
}
