//! The files of one store: their names, the lock on their folder, and how they come to be.
//!
//! ```text
//! store.db       revisions (SQLite)          store.lock   held while a process has the store open
//! store.db-wal   what was committed lately   store.acked  the newest revision that was acknowledged
//! store.db-shm   SQLite's index of the log, made anew at every start
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Revision};

/// Where a store's files are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) db: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) acked: PathBuf,
    lock: PathBuf,
    unborn: PathBuf,
}

impl Files {
    pub(super) fn of(folder: PathBuf) -> Files {
        let path = |name: &str| folder.join(name);
        Files {
            db: path("store.db"),
            wal: path("store.db-wal"),
            acked: path("store.acked"),
            lock: path("store.lock"),
            unborn: path("store.db.new"),
            folder,
        }
    }

    /// Makes the folder if need be and takes the lock, which is held as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700);
        folder.create(&self.folder).map_err(|source| Error::io("create", &self.folder, source))?;
        let lock = private(&self.lock, OpenOptions::new().create(true).write(true).truncate(false))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: self.folder.clone() }),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &self.lock, source)),
        }
    }

    /// Makes `store.db` by `fill`, so that after a crash it is there as a whole or not at all.
    pub(super) fn create<E: From<Error>>(&self, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
        self.remove_unborn()?;
        let made = private(&self.unborn, OpenOptions::new().create_new(true).write(true))
            .map_err(E::from)
            .and_then(|file| fill(&self.unborn).map(|()| file))
            .and_then(|file| Ok(file.sync_all().map_err(|source| Error::io("sync", &self.unborn, source))?));
        if let Err(error) = made {
            self.remove_unborn()?;
            return Err(error);
        }
        fs::rename(&self.unborn, &self.db).map_err(|source| Error::io("create", &self.db, source))?;
        let synced = File::open(&self.folder).and_then(|dir| dir.sync_all());
        Ok(synced.map_err(|source| Error::io("sync", &self.folder, source))?)
    }

    fn remove_unborn(&self) -> Result<(), Error> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.unborn.clone().into_os_string();
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", Path::new(&name), source));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens a file that only its owner may read, if it is made here.
fn private(path: &Path, how: &mut OpenOptions) -> Result<File, Error> {
    how.mode(0o600).open(path).map_err(|source| Error::io("open", path, source))
}

/// The note of the newest acknowledged revision, `store.acked`.
///
/// It is written before each acknowledgement and never synced. After a crash of the process it is exact, after a
/// crash of the machine it may be old; it is never ahead of what was synced. So a store that ends before it has lost
/// acknowledged writes, which the write-ahead log alone cannot always tell from a torn tail.
pub(super) struct Acked {
    file: File,
    path: PathBuf,
}

const ACKED_LEN: usize = 16;

impl Acked {
    pub(super) fn open(files: &Files) -> Result<Acked, Error> {
        let path = files.acked.clone();
        Ok(Acked { file: private(&path, OpenOptions::new().create(true).write(true).truncate(false))?, path })
    }

    pub(super) fn write(&self, revision: Revision) -> Result<(), Error> {
        self.file.write_all_at(&encode(revision), 0).map_err(|source| Error::io("write", &self.path, source))
    }

    /// What the note says; `None` if there is none, or one that a crash of the machine left empty.
    pub(super) fn read(files: &Files) -> Result<Option<Revision>, Error> {
        let mut note = Vec::new();
        match File::open(&files.acked).and_then(|file| file.take(1 + ACKED_LEN as u64).read_to_end(&mut note)) {
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", &files.acked, source)),
            Ok(_) => {}
        }
        if note.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        decode(&note).map(Some).ok_or_else(|| Error::Damaged {
            path: files.acked.clone(),
            detail: "the checksum of the note on the newest acknowledged revision is wrong".to_owned(),
            hint: "If nothing else is damaged, remove this file and start again.".to_owned(),
        })
    }
}

fn encode(revision: Revision) -> [u8; ACKED_LEN] {
    let mut note = [0; ACKED_LEN];
    note[..8].copy_from_slice(&revision.0.to_le_bytes());
    let sum = crc32fast::hash(&note[..8]);
    note[8..12].copy_from_slice(&sum.to_le_bytes());
    note[12..].copy_from_slice(b"ack1");
    note
}

fn decode(note: &[u8]) -> Option<Revision> {
    let number = note.get(..8)?.try_into().ok()?;
    let revision = Revision(u64::from_le_bytes(number));
    (note == encode(revision)).then_some(revision)
}
