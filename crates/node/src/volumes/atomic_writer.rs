//! Files that change all at once: a container sees either all old or all new ones.
//!
//! ```text
//!   token        → ..data/token
//!   ..data       → ..2026_01_01_00_00_00.0
//!   ..2026_01_01_00_00_00.0/token
//! ```
//! Source: kubernetes `pkg/volume/util/atomic_writer.go`; programs look for `..data`, so the names are an interface.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::VolumeError;
use super::payload::{File, Files};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the folder hold these files and no others. Nothing is touched if it does already.
pub(super) fn write(folder: &Path, files: &Files, group: Option<u32>) -> Result<(), VolumeError> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |source| VolumeError::Write { path, source }
    };
    if is_current(folder, files) {
        return Ok(());
    }
    let old = fs::read_link(folder.join(DATA)).ok();
    let new = new_folder(folder).map_err(at(folder))?;
    for (path, file) in files {
        write_one(&new.join(path), file, group).map_err(at(&new.join(path)))?;
    }
    let name = new.file_name().map(PathBuf::from).unwrap_or_default();
    remove_if_there(&folder.join(NEXT)).map_err(at(folder))?;
    symlink(&name, folder.join(NEXT)).map_err(at(folder))?;
    fs::rename(folder.join(NEXT), folder.join(DATA)).map_err(at(folder))?;
    link_visible(folder, files).map_err(at(folder))?;
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).map_err(at(folder))?;
    }
    Ok(())
}

fn is_current(folder: &Path, files: &Files) -> bool {
    let data = folder.join(DATA);
    let same = |path: &String, file: &File| fs::read(data.join(path)).is_ok_and(|content| content == file.content);
    data.exists() && count(&data) == files.len() && files.iter().all(|(path, file)| same(path, file))
}

fn count(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
}

/// A fresh folder with a name as upstream's: the time, and a number that is free.
fn new_folder(folder: &Path) -> io::Result<PathBuf> {
    for number in 0..u32::MAX {
        let new = folder.join(format!("..data_{number}"));
        match fs::create_dir(&new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
                return Ok(new);
            }
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn write_one(path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, &file.content)?;
    // A group that owns the volume may read what the owner may.
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if file.user.is_some() || group.is_some() {
        chown(path, file.user, group)?;
    }
    Ok(())
}

/// The first part of every path is a link into `..data`; links of files that are gone are removed.
fn link_visible(folder: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: std::collections::BTreeSet<String> = files.keys().map(first).collect();
    for name in &wanted {
        match symlink(Path::new(DATA).join(name), folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            remove_if_there(&folder.join(name))?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o640, user: None };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        let first = fs::read_link(folder.path().join(DATA)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);

        write(folder.path(), &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(folder.path().join(DATA)).unwrap(), first, "nothing changed, nothing is touched");

        write(folder.path(), &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "3");
        assert!(!folder.path().join("d").exists() && !folder.path().join(first).exists());
    }
}
