//! The files of one log: the one that is written to, and those that were set aside when they were long enough. Names are a kubelet's: `0.log`,
//! `0.log.20060102-150405.000000000`; they sort by age.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The files of a log that were set aside, the oldest first.
pub(super) fn set_aside(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let is_of_log = |file: &PathBuf| {
        let file = file.file_name().and_then(|file| file.to_str());
        file.and_then(|file| file.strip_prefix(name)).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        files.push(entry?.path());
    }
    files.retain(is_of_log);
    files.sort();
    Ok(files)
}

/// Removes a log with all its files. What is not there is no error.
pub(crate) fn remove(log: &Path) -> io::Result<()> {
    let old = match set_aside(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        old => old?,
    };
    for file in old.iter().map(PathBuf::as_path).chain([log]) {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_with_all_its_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let (log, gone) = (folder.path().join("web/1.log"), folder.path().join("none/1.log"));
        std::fs::create_dir(folder.path().join("web")).unwrap();
        for name in
            ["0.log", "1.log", "1.log.20260101-000000.1", "1.log.20260101-000000.2", "1.logs", "11.log", "2.log"]
        {
            std::fs::write(log.with_file_name(name), name).unwrap();
        }
        assert_eq!(set_aside(&log).unwrap().len(), 2);
        for log in [&log, &log, &gone] {
            remove(log).unwrap();
        }
        let mut left: Vec<_> = log.parent().unwrap().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0.log", "1.logs", "11.log", "2.log"]);
    }
}
