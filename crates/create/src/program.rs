//! Finding the program to run, and the sentences when it cannot be found or run: those of Go's `os/exec`, which runc gives and people know.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Shells' exit code for a program that is not there.
pub(crate) const NOT_FOUND: u8 = 127;
/// Shells' exit code for a program that cannot be run.
pub(crate) const NOT_EXECUTABLE: u8 = 126;

/// Why a program cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    /// A bare name that no folder of the search path has.
    #[error("exec: \"{0}\": executable file not found in $PATH")]
    NotInPath(String),
    /// A path that cannot be looked at; the second is the kernel's reason.
    #[error("exec: \"{0}\": stat {0}: {1}")]
    Stat(String, String),
    /// It is a folder, or nobody may execute it.
    #[error("exec: \"{0}\": permission denied")]
    NotExecutable(String),
    /// Nothing to run was given.
    #[error("exec: \"\": executable file not found in $PATH")]
    Empty,
}

impl ProgramError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotExecutable(_) => NOT_EXECUTABLE,
            _ => NOT_FOUND,
        }
    }
}

/// Finds a program in the file system that the caller stands in. A name with a slash is a path; any other is looked for in `PATH` of `env`.
pub(crate) fn find(name: &str, env: &[String]) -> Result<PathBuf, ProgramError> {
    if name.is_empty() {
        return Err(ProgramError::Empty);
    }
    if name.contains('/') {
        return check(name);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|_| !path.is_empty())
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name))
        .find(|candidate| executable(candidate).is_ok_and(|yes| yes))
        .ok_or_else(|| ProgramError::NotInPath(name.to_owned()))
}

fn check(path: &str) -> Result<PathBuf, ProgramError> {
    match executable(Path::new(path)) {
        Ok(true) => Ok(PathBuf::from(path)),
        Ok(false) => Err(ProgramError::NotExecutable(path.to_owned())),
        Err(error) => Err(ProgramError::Stat(path.to_owned(), reason(&error))),
    }
}

fn executable(path: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    Ok(!metadata.is_dir() && metadata.permissions().mode() & 0o111 != 0)
}

/// Gives a command the spec's environment and nothing else, with `HOME` if the spec does not set it, as runc does.
pub(crate) fn set_environment(command: &mut Command, env: &[String], home: &str) {
    command.env_clear().env("HOME", home);
    for (name, value) in env.iter().filter_map(|entry| entry.split_once('=')) {
        command.env(name, value);
    }
}

/// The kernel's reason in the words of C and Go: "no such file or directory".
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_go_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        for place in [&first, &second] {
            fs::create_dir(place).unwrap();
        }
        let put = |path: &Path, mode| {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put(&first.join("tool"), 0o644);
        put(&second.join("tool"), 0o755);
        fs::create_dir(first.join("folder")).unwrap();
        let env = [format!("PATH={}:{}", first.display(), second.display())];
        let at = |name: &str| first.join(name).display().to_string();

        assert_eq!(find("tool", &env), Ok(second.join("tool")));
        assert_eq!(find(&second.join("tool").display().to_string(), &[]), Ok(second.join("tool")));
        let check = |name: &str, expected: &str, code| {
            let error = find(name, &env).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (expected, code));
        };
        check("folder", "exec: \"folder\": executable file not found in $PATH", 127);
        check("sh", "exec: \"sh\": executable file not found in $PATH", 127);
        check("", "exec: \"\": executable file not found in $PATH", 127);
        check(&at("tool"), &format!("exec: \"{}\": permission denied", at("tool")), 126);
        check(&at("folder"), &format!("exec: \"{}\": permission denied", at("folder")), 126);
        check(&at("no"), &format!("exec: \"{0}\": stat {0}: no such file or directory", at("no")), 127);
        assert_eq!(find("tool", &[]), Err(ProgramError::NotInPath("tool".into())));
        assert_eq!(find("tool", &["PATH=".into()]), Err(ProgramError::NotInPath("tool".into())));
    }
}
