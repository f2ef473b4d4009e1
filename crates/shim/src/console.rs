//! The console socket: where a low-level runtime sends the master of a terminal that it has made inside the container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use remora_sys::socket;

/// Runtimes connect by path themselves, and not all know how to reach a long one.
const MAX_PATH: usize = 107;

/// A console socket; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    stream: Option<UnixStream>,
    path: PathBuf,
    folder: OwnedFd,
}

impl Console {
    pub(crate) fn listen(path: PathBuf) -> remora_sys::Result<Self> {
        let wrong =
            |source: io::Error| remora_sys::Error { action: "listen on", object: path.display().to_string(), source };
        let listener = socket::listen(&path)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = OwnedFd::from(std::fs::File::open(folder).map_err(wrong)?);
        Ok(Self { listener, stream: None, path, folder })
    }

    /// The path that the runtime is given: the real one, or if that is too long one through our own descriptors.
    pub(crate) fn short_path(&self) -> PathBuf {
        if self.path.as_os_str().len() <= MAX_PATH {
            return self.path.clone();
        }
        let folder = format!("/proc/{}/fd/{}", std::process::id(), self.folder.as_raw_fd());
        Path::new(&folder).join(self.path.file_name().unwrap_or_default())
    }

    /// Readable when the next step of [`Console::receive`] is possible.
    pub(crate) fn readable(&self) -> BorrowedFd<'_> {
        self.stream.as_ref().map_or(self.listener.as_fd(), AsFd::as_fd)
    }

    /// Goes as far as possible without waiting: the master, or none yet.
    pub(crate) fn receive(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.stream.is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => stream.set_nonblocking(true).map(|()| self.stream = Some(stream))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some(stream) = &self.stream else { return Ok(None) };
        match socket::receive_with_descriptors(stream.as_fd(), &mut [0; 64]) {
            Ok((_, mut masters)) if !masters.is_empty() => Ok(masters.pop()),
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.source),
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // A socket file left behind is replaced by the next listener of its name.
        let _ = std::fs::remove_file(&self.path);
    }
}
