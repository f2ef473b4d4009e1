//! The way of a new terminal's master: out of the container, through us, to whoever owns the console socket.
//!
//! libcontainer sends the master from inside the container and leaves the terminal to root. Between creation and start we give it to the
//! container's user, so that he may open `/dev/stdout` and the like, and then pass it on.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Process;
use remora_sys::socket;
use rustix::fs::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::error::Error;

/// A socket of our own that libcontainer connects to. Its file goes when this is dropped.
pub(crate) struct ConsoleRelay {
    listener: UnixListener,
    path: PathBuf,
}

/// Where it lies while a container is created.
pub(crate) fn console_path(root: &Path, id: &str) -> PathBuf {
    root.join(format!("{id}.console"))
}

impl ConsoleRelay {
    pub(crate) fn listen(root: &Path, id: &str) -> Result<Self, Error> {
        let path = console_path(root, id);
        Ok(Self { listener: socket::listen(&path)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master that the created container has sent, prepares its terminal for a user of the host, and passes it to `console_socket`.
    pub(crate) fn pass_on(&self, process: &Process, uid: u32, console_socket: &Path) -> Result<(), Error> {
        let (stream, _) = self.listener.accept().map_err(|error| Error::new(format!("no console came: {error}")))?;
        let (_, mut masters) = socket::receive_with_descriptors(stream.as_fd(), &mut [0; 64])?;
        let master = masters.pop().ok_or_else(|| Error::new("no console came: the container closed its socket"))?;
        prepare(&master, process, uid)?;
        send(&master, console_socket)
    }
}

impl Drop for ConsoleRelay {
    fn drop(&mut self) {
        // A socket file left behind is replaced by the next listener.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Gives the terminal behind a master to a user (its group, tty, stays) and sets its first size.
pub(crate) fn prepare(master: &OwnedFd, process: &Process, uid: u32) -> Result<(), Error> {
    let wrong = |errno| Error::new(format!("cannot prepare the terminal for user {uid}: {errno}"));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(master, flags).map_err(wrong)?;
    rustix::fs::fchown(&terminal, Some(Uid::from_raw(uid)), None::<Gid>).map_err(wrong)?;
    let Some(size) = process.console_size() else { return Ok(()) };
    let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
    let size = Winsize { ws_col: cells(size.width()), ws_row: cells(size.height()), ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).map_err(wrong)
}

/// Sends a terminal's master to a console socket, as runtimes do: with the terminal's name.
pub(crate) fn send(master: &OwnedFd, console_socket: &Path) -> Result<(), Error> {
    let stream = socket::connect(console_socket)?;
    Ok(socket::send_with_descriptors(stream.as_fd(), b"/dev/ptmx", &[master.as_fd()])?)
}
