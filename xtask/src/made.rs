//! What is made once of a folder of ours, with programs and packages of others: kept in a folder of the user's cache, under a name that changes
//! with what it was made of.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{host, setup};

/// Why there is nothing.
pub(crate) enum Failure {
    /// A program or a package cannot be had here.
    Missing(anyhow::Error),
    /// What is ours is wrong.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing(error) | Failure::Broken(error) => error,
        }
    }
}

pub(crate) type Made<T> = Result<T, Failure>;

/// The folder in this part of the cache that was made of this source, or is made now; one that was made by half is never taken.
pub(crate) fn cached(part: &str, source: &Path, make: impl FnOnce(&Path) -> Made<()>) -> Made<PathBuf> {
    let folder = cache()?.join(part).join(format!("{}-{:016x}", file_name(source), fingerprint(source)?));
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension(format!("{}", std::process::id()));
    std::fs::create_dir_all(&unfinished).context("making a folder in the cache")?;
    if let Err(failure) = make(&unfinished) {
        // It failed already; what is left is only in the way.
        let _left = std::fs::remove_dir_all(&unfinished);
        return Err(failure);
    }
    std::fs::rename(&unfinished, &folder).context("keeping what was made")?;
    Ok(folder)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn cache() -> Result<PathBuf> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(own.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("remora"))
}

/// Of all files, also those in folders.
fn fingerprint(source: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    hash(source, &mut hasher)?;
    Ok(hasher.finish())
}

fn hash(folder: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for entry in entries {
        file_name(&entry).hash(hasher);
        if entry.is_dir() {
            hash(&entry, hasher)?;
        } else {
            std::fs::read(&entry).with_context(|| format!("reading {}", entry.display()))?.hash(hasher);
        }
    }
    Ok(())
}

/// A program, from Debian if it is not there.
pub(crate) fn program(name: &str, package: &str) -> Made<PathBuf> {
    if host::find_program(name).is_none() {
        setup::install(&[(package, "what others have made")]).map_err(Failure::Missing)?;
    }
    host::find_program(name).with_context(|| format!("there is no {name}")).map_err(Failure::Missing)
}

/// Go, in a module of ours, with the versions that this pins. One that is older than the module asks for fetches a newer one.
pub(crate) fn go_command(go: &Path, module: &Path) -> Command {
    let mut command = Command::new(go);
    command.current_dir(module).env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=readonly -buildvcs=false");
    command.env("CGO_ENABLED", "0");
    command
}

/// Runs what may fail for want of a network or a package.
pub(crate) fn fetch(command: &mut Command) -> Made<()> {
    host::read(command).map(drop).map_err(Failure::Missing)
}

/// Copies a file.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    match std::fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => bail!("copying {}: {error}", from.display()),
    }
}
