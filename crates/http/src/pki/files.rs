//! Files with keys in them: made with the right mode from the first byte on, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::PkiError;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// No file of ours has more than a few KiB.
const LONGEST: u64 = 64 * 1024;

/// Makes the folder, or takes others' rights to it away.
pub(super) fn prepare_folder(path: &Path) -> Result<(), PkiError> {
    let made =
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).and_then(|()| keep_private(path, FOLDER_MODE));
    made.map_err(|source| PkiError::Folder { path: path.to_owned(), source })
}

/// The text of a file, or none if there is no such file. Others' rights to it are taken away.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match read_private(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { path: path.to_owned(), source }),
    }
}

/// Puts `text` at `path`, so that after a crash the old or the new is there, never a mixture.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), PkiError> {
    replace_private(path, text).map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

fn read_private(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    keep_private(path, FILE_MODE)?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "far longer than any key or certificate"));
    }
    Ok(text)
}

fn replace_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("pem.new");
    // What a crash left behind. `create_new` below makes sure that the mode is ours and that no link is followed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The rename itself must be on disk, too: a new authority that a power cut takes back would orphan what it signed.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn keep_private(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}
