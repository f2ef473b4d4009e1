//! Unix sockets: paths of any length, and descriptors sent along.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::Result;
use crate::error::failed;

/// `sun_path` has 108 bytes, the last one zero.
const MAX_PATH: usize = 107;

/// Listens on a path of any length, for the owner only (0600). A socket that lies there from before is replaced; anything else is an error.
///
/// # Errors
/// The folder is not there, or the name is in use by something else.
pub fn listen(path: &Path) -> Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(failed("remove the old socket", path.display()))?;
    }
    let listener = through_short_path(path, UnixListener::bind).map_err(failed("listen on", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(failed("protect socket", path.display()))?;
    Ok(listener)
}

/// Connects to a path of any length.
///
/// # Errors
/// Nobody listens (`ConnectionRefused`), or there is no such socket (`NotFound`).
pub fn connect(path: &Path) -> Result<UnixStream> {
    through_short_path(path, UnixStream::connect).map_err(failed("connect to", path.display()))
}

/// Goes through the folder's descriptor when the path is too long for the address.
fn through_short_path<T>(path: &Path, call: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH {
        return call(path.to_owned());
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?;
    call(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

/// Sends bytes (at least one) with descriptors, at most [`MAX_DESCRIPTORS`].
///
/// # Errors
/// The peer is gone, or there are too many descriptors (`InvalidInput`).
pub fn send_with_descriptors(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(failed("send", "so many descriptors")(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(failed("send", "descriptors"))
}

/// How many descriptors one message may carry.
pub const MAX_DESCRIPTORS: usize = 8;

/// Receives bytes and the descriptors that came with them (all close-on-exec). No bytes: the peer is gone.
///
/// # Errors
/// The read failed (`WouldBlock` on a non-blocking socket without a message).
pub fn receive_with_descriptors(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(failed("receive", "descriptors"))?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn paths_longer_than_an_address_work_and_old_sockets_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        for path in [folder.path().join("s"), deep.join("s")] {
            for _ in 0..2 {
                let listener = listen(&path).unwrap();
                let mut client = connect(&path).unwrap();
                client.write_all(b"hello").unwrap();
                drop(client);
                let mut seen = String::new();
                listener.accept().unwrap().0.read_to_string(&mut seen).unwrap();
                assert_eq!(seen, "hello");
            }
            assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn descriptors_arrive_as_working_copies() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_with_descriptors(left.as_fd(), b"pipe", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut name = [0; 16];
        let (length, mut descriptors) = receive_with_descriptors(right.as_fd(), &mut name).unwrap();
        assert_eq!(&name[..length], b"pipe");
        File::from(descriptors.remove(0)).write_all(b"through").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "through");
    }
}
