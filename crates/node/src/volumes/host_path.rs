//! Folders, files and devices of the machine: checked, or made if the type asks for it.
//!
//! Source: kubernetes `pkg/volume/hostpath/host_path.go`, `checkTypeInternal`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::VolumeError;

/// Holds the path against its type.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" => make(path, |p| fs::create_dir_all(p).and_then(|()| set_mode(p, 0o755)))?,
        "FileOrCreate" => make(path, |p| fs::File::create_new(p).and_then(|_| set_mode(p, 0o644)))?,
        _ => {}
    }
    let no =
        |what: &str| Err(VolumeError::HostPath(format!("hostPath type check failed: {} is not {what}", source.path)));
    let Ok(found) = fs::metadata(path).map(|m| m.file_type()) else {
        return no(word(kind));
    };
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        other => return Err(VolumeError::HostPath(format!("{other} is an invalid volume type"))),
    };
    if fits { Ok(()) } else { no(word(kind)) }
}

fn word(kind: &str) -> &'static str {
    match kind {
        "Directory" | "DirectoryOrCreate" => "a directory",
        "File" | "FileOrCreate" => "a file",
        "Socket" => "a socket file",
        "CharDevice" => "a character device",
        _ => "a block device",
    }
}

fn make(path: &Path, create: impl Fn(&Path) -> std::io::Result<()>) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    match create(path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            Err(VolumeError::Write { path: path.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_held_against_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let text = |p: &Path| p.display().to_string();
        for (path, kind, expected) in [
            (text(folder.path()), "Directory", None),
            (
                text(&file),
                "Directory",
                Some(format!("hostPath type check failed: {} is not a directory", file.display())),
            ),
            (text(&file), "File", None),
            ("/nowhere".into(), "", None),
            ("/nowhere".into(), "Socket", Some("hostPath type check failed: /nowhere is not a socket file".into())),
            (text(&folder.path().join("new")), "DirectoryOrCreate", None),
            (text(&folder.path().join("new-file")), "FileOrCreate", None),
            ("/dev/null".into(), "CharDevice", None),
        ] {
            let source = HostPathVolumeSource { path, type_: Some(kind.to_owned()) };
            assert_eq!(check(&source).err().map(|e| e.to_string()), expected, "{source:?}");
        }
    }
}
