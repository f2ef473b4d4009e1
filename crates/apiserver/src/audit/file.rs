//! Where the lines of an audit log go: a file that only its owner reads and that is set aside when it is full, or standard output.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::queue::Output;

const MODE: u32 = 0o600;
/// In UTC.
const TIME: &str = "%Y-%m-%dT%H-%M-%S.%3f";
/// What tells the times of two files apart.
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

/// When a file is set aside, and how many of those stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// It would become longer than so many bytes; none: it grows.
    pub max_bytes: Option<u64>,
    /// So many that were set aside stay; none: all.
    pub max_backups: Option<usize>,
    /// For so long they stay; none: for ever.
    pub max_age: Option<Duration>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder, pipe or device.
    #[error("{0} is no regular file")]
    NoFile(PathBuf),
    /// The system refused.
    #[error("opening {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// A file that is appended to. One that is full is renamed to `NAME-2026-01-02T03-04-05.678.EXT` beside it, as kube-apiserver names them.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// Whether what follows `size` is part of a line that did not fit.
    is_torn: bool,
    rotation: Rotation,
}

impl RotatingFile {
    /// Opens or makes the file, for its owner alone.
    ///
    /// # Errors
    /// If it is no regular file or cannot be opened.
    pub fn open(path: &Path, rotation: Rotation) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Open { path: path.to_owned(), error };
        match fs::metadata(path) {
            // Opening a pipe that nobody reads would hang.
            Ok(there) if !there.is_file() => return Err(OpenError::NoFile(path.to_owned())),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let (file, size) = open(path).map_err(failed)?;
        let log = Self { path: path.to_owned(), file, size, is_torn: false, rotation };
        log.clear(Timestamp::now());
        Ok(log)
    }

    /// Cuts off what is left of a line that did not fit: every line is whole.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.size)?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        match fs::rename(&self.path, self.next_name(now)?) {
            // Somebody took it away, or the new one could not be made the last time.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        (self.file, self.size) = open(&self.path)?;
        self.clear(now);
        Ok(())
    }

    /// Removes what need not stay. What cannot be removed is tried again the next time.
    fn clear(&self, now: Timestamp) {
        if let Err(error) = self.prune(now) {
            tracing::warn!(%error, path = %self.path.display(), "old audit logs cannot be removed");
        }
    }

    /// A name later than those of all that were set aside, also within one millisecond and when the clock was set back: the earliest go first.
    fn next_name(&self, now: Timestamp) -> io::Result<PathBuf> {
        let at = match self.backups()?.last() {
            Some((newest, _)) => now.max(newest.checked_add(MILLISECOND).map_err(io::Error::other)?),
            None => now,
        };
        Ok(self.path.with_file_name(Names::of(&self.path).at(at)))
    }

    fn prune(&self, now: Timestamp) -> io::Result<()> {
        let Rotation { max_backups, max_age, .. } = self.rotation;
        if max_backups.is_none() && max_age.is_none() {
            return Ok(());
        }
        let backups = self.backups()?;
        let too_many = max_backups.map_or(0, |max| backups.len().saturating_sub(max));
        let lived = |at: &Timestamp| Duration::try_from(now.duration_since(*at)).unwrap_or_default();
        let is_old = |at: &Timestamp| max_age.is_some_and(|age| lived(at) > age);
        let gone = backups.iter().enumerate().filter(|(place, (at, _))| *place < too_many || is_old(at));
        gone.into_iter().try_for_each(|(_, (_, path))| fs::remove_file(path))
    }

    /// What was set aside, the earliest first.
    fn backups(&self) -> io::Result<Vec<(Timestamp, PathBuf)>> {
        let names = Names::of(&self.path);
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(time) = entry.file_name().to_str().and_then(|name| names.time_of(name)) {
                backups.push((time, entry.path()));
            }
        }
        backups.sort();
        Ok(backups)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last == [b'\n'] {
        return Ok((file, size));
    }
    // A crash in the middle of a line: what there is of it stays, on a line of its own.
    file.write_all(b"\n")?;
    Ok((file, size + 1))
}

impl Output for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.mend()?;
        let length = line.len() as u64;
        if self.size > 0 && self.rotation.max_bytes.is_some_and(|max| self.size + length > max) {
            self.rotate(Timestamp::now())?;
        }
        if let Err(error) = self.file.write_all(line) {
            self.is_torn = true;
            // If this fails too, the next line tries it first.
            return Err(self.mend().err().unwrap_or(error));
        }
        self.size += length;
        Ok(())
    }
}

/// How a log and those set aside are called: `audit` and `.log`.
struct Names {
    stem: String,
    extension: String,
}

impl Names {
    fn of(path: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        Self { stem: text(path.file_stem()), extension: extension.unwrap_or_default() }
    }

    fn at(&self, at: Timestamp) -> String {
        format!("{}-{}{}", self.stem, at.strftime(TIME), self.extension)
    }

    /// When the log was set aside as `name`; `None` if that is something else's name.
    fn time_of(&self, name: &str) -> Option<Timestamp> {
        let time = name.strip_prefix(&self.stem)?.strip_prefix('-')?.strip_suffix(&self.extension)?;
        let at = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        // The parser takes other spellings too.
        Some(at).filter(|at| self.at(*at) == name)
    }
}

/// Standard output.
#[derive(Debug)]
pub struct StandardOutput;

impl Output for StandardOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(line)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR_EVER: Rotation = Rotation { max_bytes: None, max_backups: None, max_age: None };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(folder.path().join("audit-notes.log"), "mine").unwrap();
        let rotation = Rotation { max_bytes: Some(10), max_backups: Some(2), ..FOR_EVER };
        let mut log = RotatingFile::open(&path, rotation).unwrap();
        for line in ["first\n", "1st\n", "second\n", "third\n", "fourth and too long\n", "fifth\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        let left = names(folder.path());
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left.contains(&"audit-notes.log".to_owned()), "what is not ours stays");
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([text(&left[0]), text(&left[1])], ["third\n", "fourth and too long\n"]);
        assert_eq!(text("audit.log"), "fifth\n");
        drop(log);
        let mut again = RotatingFile::open(&path, rotation).unwrap();
        again.write(b"six\n").unwrap();
        assert_eq!(text("audit.log"), "fifth\nsix\n");
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode("audit.log"), mode(&left[0])], [MODE, MODE]);
    }

    #[test]
    fn the_earliest_go_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log = RotatingFile::open(&path, Rotation { max_backups: Some(2), ..FOR_EVER }).unwrap();
        let now: Timestamp = "2026-01-02T03:04:05.6785Z".parse().unwrap();
        let yesterday = now - SignedDuration::from_hours(24);
        for (i, at) in [now, now, now, now, yesterday, yesterday].into_iter().enumerate() {
            log.write(format!("{i}\n").as_bytes()).unwrap();
            log.rotate(at).unwrap();
        }
        let left = names(folder.path());
        assert_eq!(left, ["audit-2026-01-02T03-04-05.682.log", "audit-2026-01-02T03-04-05.683.log", "audit.log"]);
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([text(&left[0]), text(&left[1]), text(&left[2])], ["4\n", "5\n", ""]);
    }

    #[test]
    fn the_old_go_when_the_log_is_opened_and_when_another_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let names_of = Names::of(&path);
        let (now, day) = (Timestamp::now(), Duration::from_secs(24 * 3600));
        for age in [3, 1] {
            fs::write(folder.path().join(names_of.at(now - day * age)), "").unwrap();
        }
        fs::write(folder.path().join("audit-notes.log"), "mine").unwrap();
        let rotation = Rotation { max_age: Some(day * 2), ..FOR_EVER };
        let mut log = RotatingFile::open(&path, rotation).unwrap();
        assert_eq!(
            names(folder.path()),
            [names_of.at(now - day), "audit-notes.log".to_owned(), "audit.log".to_owned()]
        );
        let later = now + day + day;
        log.rotate(later).unwrap();
        assert_eq!(names(folder.path()), [names_of.at(later), "audit-notes.log".to_owned(), "audit.log".to_owned()]);
    }

    #[test]
    fn only_what_was_set_aside_is_taken_for_it() {
        let names = Names::of(Path::new("/var/log/audit.log"));
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(names.time_of(&names.at(at)), Some(at));
        for other in [
            "audit.log",
            "audit-notes.log",
            "audit-2026-01-02T03-04-05.log",
            "audit-2026-13-02T03-04-05.678.log",
            "audit-2026-1-02T03-04-05.678.log",
            "audit-2026-01-02T03-04-05.678.log.gz",
            "other-2026-01-02T03-04-05.678.log",
        ] {
            assert_eq!(names.time_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_that_did_not_fit_leaves_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log = RotatingFile::open(&path, FOR_EVER).unwrap();
        log.write(b"whole\n").unwrap();
        // As a write on a full disk ends.
        log.file.write_all(b"par").unwrap();
        log.is_torn = true;
        log.write(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nnext\n");
        drop(log);
        fs::write(&path, "whole\nkilled").unwrap();
        let mut again = RotatingFile::open(&path, FOR_EVER).unwrap();
        again.write(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nkilled\nnext\n");
    }

    #[test]
    fn a_file_that_was_readable_is_closed_and_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let rotation = FOR_EVER;
        RotatingFile::open(&path, rotation).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(RotatingFile::open(folder.path(), rotation), Err(OpenError::NoFile(_))));
        assert!(matches!(RotatingFile::open(Path::new("/dev/full"), rotation), Err(OpenError::NoFile(_))));
        assert!(matches!(RotatingFile::open(&path.join("x"), rotation), Err(OpenError::Open { .. })));
    }
}
