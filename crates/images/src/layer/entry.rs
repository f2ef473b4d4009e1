//! What one entry of a layer means: checked paths, whiteouts, kinds. Pure, and fed with hostile bytes.
//!
//! Source: OCI image spec, "Image Layer Filesystem Changeset" (whiteouts, opaque whiteouts); aufs' names for the rest.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use remora_archive::{Header, Type};

use super::LayerError;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own bookkeeping begins with this; it means nothing here.
const AUFS: &[u8] = b".wh..wh.";
/// The kernel's limits on a name and on a path.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4096;

/// A change to the layers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative, without `.` and `..`. Empty for the layer's own root folder.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// Another name of the file at this path.
    HardLink(PathBuf),
    /// Whatever it says: containers resolve it inside their own root.
    Symlink(OsString),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    /// The path is gone.
    Whiteout,
    /// What the layers below have in the folder is gone.
    Opaque,
    /// Nothing for us.
    Ignored,
}

/// What all kinds have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970, nanoseconds.
    pub(crate) modified: (i64, u32),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// Checks a header.
    pub(crate) fn new(header: Header) -> Result<Self, LayerError> {
        let path = relative(&header.path)?;
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let (path, kind) = match name {
            OPAQUE => (parent(&path), Kind::Opaque),
            aufs if aufs.starts_with(AUFS) => (path, Kind::Ignored),
            hidden if hidden.starts_with(WHITEOUT) => {
                let hidden = OsStr::from_bytes(&hidden[WHITEOUT.len()..]);
                if hidden.is_empty() || hidden == "." || hidden == ".." {
                    return Err(LayerError::entry(&path, "a whiteout of nothing"));
                }
                (path.with_file_name(hidden), Kind::Whiteout)
            }
            _ => {
                let kind = kind(&header, &path)?;
                (path, kind)
            }
        };
        if path.as_os_str().is_empty() && !matches!(kind, Kind::Directory | Kind::Opaque | Kind::Ignored) {
            return Err(LayerError::entry(&path, "the root can only be a folder"));
        }
        Ok(Entry { path, kind, attributes: attributes(header) })
    }
}

fn kind(header: &Header, path: &Path) -> Result<Kind, LayerError> {
    Ok(match header.kind {
        Type::Directory => Kind::Directory,
        Type::File => Kind::File,
        Type::HardLink => Kind::HardLink(relative(&header.link)?),
        Type::Symlink if header.link.is_empty() => return Err(LayerError::entry(path, "a symbolic link to nothing")),
        Type::Symlink if header.link.len() > MAX_PATH - 1 => {
            return Err(LayerError::entry(path, "the link is longer than 4095 bytes"));
        }
        Type::Symlink if header.link.contains(&0) => return Err(LayerError::entry(path, "a link with a zero byte")),
        Type::Symlink => Kind::Symlink(OsString::from_vec(header.link.clone())),
        Type::Character if header.device == (0, 0) => {
            return Err(LayerError::entry(path, "device 0/0 hides files, and is no device"));
        }
        Type::Character => Kind::Character(header.device.0, header.device.1),
        Type::Block => Kind::Block(header.device.0, header.device.1),
        Type::Fifo => Kind::Fifo,
    })
}

fn attributes(header: Header) -> Attributes {
    let xattrs = header.xattrs.into_iter().filter(|(name, _)| is_kept(name)).collect();
    Attributes { mode: header.mode & 0o7777, uid: header.uid, gid: header.gid, modified: header.modified, xattrs }
}

/// Which extended attributes a layer may set: those of programs, and file capabilities. Overlayfs' own would let a layer
/// reach into others; labels of security modules are given by the node.
fn is_kept(name: &str) -> bool {
    name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
}

/// A path of an archive below the layer's root: `./a//b/` is `a/b`, `/a` is `a`. What would lead out is refused.
pub(crate) fn relative(bytes: &[u8]) -> Result<PathBuf, LayerError> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let refuse = |problem| Err(LayerError::entry(path, problem));
    if bytes.len() >= MAX_PATH {
        return refuse("the path is longer than 4095 bytes");
    }
    if bytes.contains(&0) {
        return refuse("a path with a zero byte");
    }
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME => return refuse("a name is longer than 255 bytes"),
            Component::Normal(name) => relative.push(name),
            Component::ParentDir => return refuse("leads out of the layer"),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(relative)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(path: &str, kind: Type) -> Header {
        Header { path: path.into(), kind, ..Header::default() }
    }

    fn check(path: &str, expected_path: &str, expected: Kind) {
        let entry = Entry::new(header(path, Type::File)).unwrap();
        assert_eq!((entry.path.to_str().unwrap(), entry.kind), (expected_path, expected), "{path}");
    }

    fn refuse(header: Header, expected: &str) {
        let error = Entry::new(header.clone()).expect_err(&format!("{header:?}")).to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn paths_are_relative_to_the_layer() {
        check("a/b", "a/b", Kind::File);
        check("./a//b/", "a/b", Kind::File);
        check("/a/./b", "a/b", Kind::File);
        assert_eq!(Entry::new(header("./", Type::Directory)).unwrap().path, Path::new(""));
    }

    #[test]
    fn whiteouts_name_what_they_hide() {
        check("a/.wh.b", "a/b", Kind::Whiteout);
        check(".wh.b", "b", Kind::Whiteout);
        check("a/.wh..wh..opq", "a", Kind::Opaque);
        check(".wh..wh..opq", "", Kind::Opaque);
        check("a/.wh..wh.plnk", "a/.wh..wh.plnk", Kind::Ignored);
        check("a/.wh", "a/.wh", Kind::File);
    }

    #[test]
    fn what_would_lead_out_or_hide_by_a_trick_is_refused() {
        for path in ["..", "../a", "a/../../b", "/..", "a/.."] {
            refuse(header(path, Type::File), "leads out of the layer");
        }
        refuse(Header { link: b"../../etc/shadow".into(), ..header("a", Type::HardLink) }, "leads out of the layer");
        refuse(header("a/.wh.", Type::File), "a whiteout of nothing");
        refuse(header(".wh...", Type::File), "a whiteout of nothing");
        refuse(header("", Type::File), "the root can only be a folder");
        refuse(Header { link: b"x".into(), ..header("/", Type::Symlink) }, "the root can only be a folder");
        refuse(header("a", Type::Symlink), "to nothing");
        refuse(header("a", Type::Character), "device 0/0");
        refuse(header("a\0b", Type::File), "zero byte");
        refuse(header(&"a".repeat(256), Type::File), "longer than 255");
        refuse(header(&"a/".repeat(2048), Type::File), "longer than 4095");
    }

    #[test]
    fn overlayfs_own_attributes_do_not_come_from_images() {
        let xattrs =
            ["user.mine", "user.overlay.opaque", "trusted.overlay.redirect", "security.capability", "security.ima"];
        let xattrs = xattrs.map(|name| (name.to_owned(), vec![1])).to_vec();
        let entry = Entry::new(Header { xattrs, ..header("a", Type::File) }).unwrap();
        let kept: Vec<&str> = entry.attributes.xattrs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["user.mine", "security.capability"]);
    }
}
