//! Files that change all at once: a container sees either all old or all new ones.
//!
//! ```text
//!   token        → ..data/token
//!   ..data       → ..2026_01_01_00_00_00.0
//!   ..2026_01_01_00_00_00.0/token
//! ```
//! Source: kubernetes `pkg/volume/util/atomic_writer.go`; programs look for `..data`, so the names are an interface.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Component, Path, PathBuf};

use remora_sys::rootfs::open_inside;

use super::VolumeError;
use super::payload::{File, Files};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";
/// How the names of the folders begin that the files are in.
const FOLDER: &str = "..data_";
/// Only the agent writes in the volume.
const FOLDER_MODE: u32 = 0o755;

/// Makes the folder hold these files and no others. Nothing is touched if it does already.
///
/// **Invariant:** whatever the volume holds, nothing outside it is written or removed, and no look at it blocks. Containers see it read-only, but
/// earlier versions let them write there, and one that began then may still run.
pub(super) fn write(folder: &Path, files: &Files, group: Option<u32>) -> Result<(), VolumeError> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |source| VolumeError::Write { path, source }
    };
    close(folder).map_err(at(folder))?;
    let old = current(folder);
    if old.as_ref().is_some_and(|old| is_current(folder, old, files)) {
        return Ok(());
    }
    let (name, new) = new_folder(folder).map_err(at(folder))?;
    for (path, file) in files {
        write_one(&new, Path::new(path), file, group).map_err(at(&folder.join(&name).join(path)))?;
    }
    remove_if_there(&folder.join(NEXT)).map_err(at(folder))?;
    symlink(&name, folder.join(NEXT)).map_err(at(folder))?;
    fs::rename(folder.join(NEXT), folder.join(DATA)).map_err(at(folder))?;
    link_visible(folder, files).map_err(at(folder))?;
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).map_err(at(folder))?;
    }
    Ok(())
}

/// Takes the right to write from all but the owner, in volumes of earlier versions too.
fn close(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder)?.permissions().mode() & 0o7777 == FOLDER_MODE {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
}

/// The folder that `..data` leads to, if it is one of ours: a link that a container has put there may lead anywhere on the machine.
fn current(folder: &Path) -> Option<PathBuf> {
    let target = fs::read_link(folder.join(DATA)).ok()?;
    let mut parts = target.components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else { return None };
    let name = name.to_str().filter(|name| name.starts_with(FOLDER) && *name != NEXT)?;
    Some(PathBuf::from(name))
}

fn is_current(folder: &Path, data: &Path, files: &Files) -> bool {
    let Ok(Some(opened)) = open_inside(folder, data) else { return false };
    let root = path_of(&opened);
    let parts = files.keys().map(|path| Path::new(path).components().count()).sum();
    count(&root, parts) == Some(files.len()) && files.iter().all(|(path, file)| holds(&root, path, file))
}

/// No more is read than a file may have.
fn holds(root: &Path, path: &str, file: &File) -> bool {
    let Ok(Some(opened)) = open_inside(root, Path::new(path)) else { return false };
    let mut content = Vec::new();
    let read = opened.take(file.content.len() as u64 + 1).read_to_end(&mut content);
    read.is_ok() && content == file.content
}

/// The number of files below a folder; none if it has more files and folders than `most`. Links are not followed.
fn count(folder: &Path, most: usize) -> Option<usize> {
    let (mut files, mut seen, mut folders) = (0, 0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            seen += 1;
            if seen > most {
                return None;
            }
            if entry.file_type().ok()?.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    Some(files)
}

/// A fresh folder with a number that is free: its name, and itself.
fn new_folder(folder: &Path) -> io::Result<(String, fs::File)> {
    for number in 0..u32::MAX {
        let name = format!("{FOLDER}{number}");
        match fs::create_dir(folder.join(&name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok((name.clone(), open_folder(folder, Path::new(&name))?)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// A folder that was just made, with the mode that the umask has cut. If it was replaced meanwhile, this still is one inside its parent.
fn open_folder(parent: &Path, name: &Path) -> io::Result<fs::File> {
    let opened = open_inside(parent, name).map_err(io::Error::other)?.ok_or(ErrorKind::NotFound)?;
    if !opened.metadata()?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    opened.set_permissions(fs::Permissions::from_mode(FOLDER_MODE))?;
    Ok(opened)
}

/// Each folder is opened inside its opened parent, and the file is made there, so that no link leads the writing elsewhere.
fn write_one(root: &fs::File, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let mut parent = root.try_clone()?;
    for part in path.parent().unwrap_or(Path::new("")) {
        match fs::create_dir(path_of(&parent).join(part)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => parent = open_folder(&path_of(&parent), Path::new(part))?,
        }
    }
    let place = path_of(&parent).join(path.file_name().ok_or(ErrorKind::InvalidInput)?);
    // `create_new`: neither a link nor a pipe that has the name is opened.
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    made.write_all(&file.content)?;
    if file.user.is_some() || group.is_some() {
        fchown(&made, file.user, group)?;
    }
    // A group that owns the volume may read what the owner may.
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    made.set_permissions(fs::Permissions::from_mode(mode))
}

/// A way to what is opened, whatever has its name by now.
fn path_of(opened: &fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()))
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
    use remora_sys::inode::{Node, make_node};

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

    /// A volume as an earlier version left it to a container, which has put its own things there.
    fn tampered_with(tamper: impl Fn(&Path, &Path)) {
        let all = tempfile::tempdir().unwrap();
        let (volume, host) = (all.path().join("volume"), all.path().join("host"));
        fs::create_dir(&volume).unwrap();
        fs::create_dir(&host).unwrap();
        fs::write(host.join("a"), "1").unwrap();
        write(&volume, &files(&[("a", "1")]), None).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        tamper(&volume, &host);
        for text in ["1", "2"] {
            write(&volume, &files(&[("a", text)]), None).unwrap();
            assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), text);
            assert_eq!(fs::read_to_string(host.join("a")).unwrap(), "1", "the host's files stay as they are");
            assert!(current(&volume).is_some(), "the agent's own files are shown");
        }
        assert_eq!(fs::metadata(&volume).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    /// `..data` leads there.
    fn lead(volume: &Path, target: impl AsRef<Path>) {
        fs::remove_file(volume.join(DATA)).unwrap();
        symlink(target, volume.join(DATA)).unwrap();
    }

    #[test]
    fn cve_2017_1002102_a_link_of_a_container_does_not_lead_the_agent_out_of_the_volume() {
        tampered_with(|volume, host| lead(volume, host));
        tampered_with(|volume, _| lead(volume, "../host"));
        tampered_with(|volume, _| lead(volume, "..data_7/../../host"));
        tampered_with(|volume, _| lead(volume, ".."));
        tampered_with(|volume, host| {
            let data = volume.join(current(volume).unwrap());
            fs::remove_dir_all(&data).unwrap();
            symlink(host, &data).unwrap();
        });
        tampered_with(|volume, host| {
            let file = volume.join(current(volume).unwrap()).join("a");
            fs::remove_file(&file).unwrap();
            symlink(host.join("a"), &file).unwrap();
        });
    }

    #[test]
    fn a_pipe_of_a_container_does_not_hold_the_agent_up() {
        tampered_with(|volume, _| {
            let file = volume.join(current(volume).unwrap()).join("a");
            fs::remove_file(&file).unwrap();
            make_node(&file, Node::Fifo, 0o666).unwrap();
        });
    }

    #[test]
    fn what_already_has_a_files_name_is_not_written_to() {
        let all = tempfile::tempdir().unwrap();
        let (root, host) = (all.path().join("root"), all.path().join("host"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&host).unwrap();
        symlink(host.join("new"), root.join("a")).unwrap();
        symlink(&host, root.join("d")).unwrap();
        let (opened, wanted) = (fs::File::open(&root).unwrap(), files(&[("a", "1")]));
        for path in ["a", "d/new"] {
            write_one(&opened, Path::new(path), &wanted["a"], None).unwrap_err();
        }
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
    }
}
