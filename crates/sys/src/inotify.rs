//! Being told that a folder changed.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::Result;
use crate::error::failed;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The watch that [`Watcher::watch`] returned; -1 for an overflow.
    pub watch: i32,
    /// What happened to it.
    pub change: Change,
    /// The entry's name within a watched folder; none for the watched thing itself.
    pub name: Option<OsString>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An entry appeared, by creation or by a rename into the folder.
    Appeared,
    /// An entry went, by removal or by a rename out of the folder.
    Vanished,
    /// A file was written to.
    Modified,
    /// A file that was open for writing was closed.
    Closed,
    /// The watched thing itself is gone; the watch has ended.
    Gone,
    /// The kernel dropped events: look at everything again.
    Overflow,
}

/// An inotify instance. Its descriptor is non-blocking and readable when events wait: give it to any poller.
#[derive(Debug)]
pub struct Watcher(OwnedFd);

impl Watcher {
    /// # Errors
    /// The user's limit of inotify instances is reached.
    pub fn new() -> Result<Self> {
        let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(failed("create", "an inotify instance"))?;
        Ok(Self(descriptor))
    }

    /// Watches a file or folder; the number returned comes back in its events.
    ///
    /// # Errors
    /// It is not there, or the user's limit of watches is reached.
    pub fn watch(&self, path: &Path) -> Result<i32> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        inotify::add_watch(&self.0, path, flags).map_err(failed("watch", path.display()))
    }

    /// Stops a watch; one that has ended already is no error.
    pub fn unwatch(&self, watch: i32) {
        // EINVAL: it ended with what it watched.
        let _ = inotify::remove_watch(&self.0, watch);
    }

    /// The events that wait; empty when there are none.
    ///
    /// # Errors
    /// The read failed for another reason than that nothing waits.
    pub fn events(&self) -> Result<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => events.extend(understood(&event)),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(events),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed("read", "inotify events")(errno)),
            }
            if reader.is_buffer_empty() && !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn understood(event: &inotify::Event<'_>) -> Option<Event> {
    let change = change(event.events())?;
    let name = event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec()));
    Some(Event { watch: event.wd(), change, name })
}

fn change(flags: ReadFlags) -> Option<Change> {
    [
        (ReadFlags::QUEUE_OVERFLOW, Change::Overflow),
        (ReadFlags::CREATE | ReadFlags::MOVED_TO, Change::Appeared),
        (ReadFlags::DELETE | ReadFlags::MOVED_FROM, Change::Vanished),
        (ReadFlags::CLOSE_WRITE, Change::Closed),
        (ReadFlags::MODIFY, Change::Modified),
        (ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT, Change::Gone),
    ]
    .into_iter()
    .find_map(|(mask, change)| flags.intersects(mask).then_some(change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_a_folder_are_told_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        let watch = watcher.watch(folder.path()).unwrap();
        assert_eq!(watcher.events().unwrap(), []);
        std::fs::write(folder.path().join("a"), "x").unwrap();
        std::fs::remove_file(folder.path().join("a")).unwrap();
        let changes: Vec<Change> = watcher.events().unwrap().into_iter().map(|event| event.change).collect();
        assert_eq!(changes, [Change::Appeared, Change::Modified, Change::Closed, Change::Vanished]);
        watcher.unwatch(watch);
        assert_eq!(watcher.events().unwrap().first().map(|event| event.change), Some(Change::Gone));
    }
}
