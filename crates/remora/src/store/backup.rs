//! `remora store snapshot` and `remora store restore`: files and stores joined; what a snapshot is and how a store is filled, `remora_store` knows.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use remora_cli::control::client::ControlClient;
use remora_cli::{CommandError, Kind, StoreArgs, StoreCommand, StoreCommandArgs, WhichStore, print_line};
use remora_store::snapshot::{self, Existing, Header, Reader, RestoreError, Restored};
use remora_store::sqlite::{self, SqliteEngine};
use remora_store::{Engine, Revision, watched};
use remora_store_etcd::{EtcdConfig, EtcdEngine};
use remora_sys::file::{DurableFile, FolderLock, exchange, lock_folder, remove_abandoned, sync_folder};

use super::{cannot, etcd, open_engine, unreachable};
use crate::place::Place;
use crate::up::plain;

/// Objects hold secrets.
const MODE: u32 = 0o600;

/// Carries out `remora store`.
pub(crate) async fn run(args: &StoreCommandArgs) -> Result<ExitCode, CommandError> {
    match &args.command {
        StoreCommand::Snapshot { file, force, which } => snapshot(which, file, *force).await?,
        StoreCommand::Restore { file, force, which } => {
            let existing = if *force { Existing::Replace } else { Existing::Refuse };
            restore(which, file, existing).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

type Pieces = futures::stream::BoxStream<'static, Result<Bytes, CommandError>>;

async fn snapshot(which: &WhichStore, path: &Path, force: bool) -> Result<(), CommandError> {
    let place = Place::of(&which.dirs).map_err(plain)?;
    if path.exists() && !force {
        return Err(CommandError::failed(format_args!("{} is there already", path.display()))
            .hint("name another file, or overwrite it with --force"));
    }
    let (source, _lock) = source(&which.store, &place).await?;
    remove_abandoned(path).map_err(|error| writing(path, &error))?;
    let mut file = DurableFile::create(path, MODE).map_err(|error| writing(path, &error))?;
    fill(&mut file, source)
        .await
        .map_err(|error| CommandError { message: format!("{}: {error}", path.display()), ..error })?;
    // A stream may end early and look whole; only the checksum at its end tells.
    let (header, entries) = verify(file.temporary())?;
    file.keep().map_err(|error| writing(path, &error))?;
    print_line(format_args!("{}: {entries} objects at revision {}", path.display(), header.revision));
    Ok(())
}

async fn fill(
    file: &mut DurableFile,
    mut source: impl Stream<Item = Result<Bytes, CommandError>> + Unpin,
) -> Result<(), CommandError> {
    while let Some(piece) = source.try_next().await? {
        file.write_all(&piece).map_err(|error| CommandError::caused("writing", &error))?;
    }
    Ok(())
}

/// An etcd that is named; else the store of the node that runs; else the files of one that does not, which are locked meanwhile.
async fn source(args: &StoreArgs, place: &Place) -> Result<(Pieces, Option<FolderLock>), CommandError> {
    if etcd(args)?.is_some() {
        return Ok((of_engine(open_engine(place, args).await?).await?, None));
    }
    match ControlClient::new(&place.run).snapshot().await {
        Ok(pieces) => Ok((pieces.boxed(), None)),
        Err(error) if error.kind == Kind::Unreachable => {
            require_store(place)?;
            let lock = lock_unused(place)?;
            Ok((of_engine(open_engine(place, args).await?).await?, Some(lock)))
        }
        Err(error) => Err(error),
    }
}

async fn of_engine(engine: Arc<dyn Engine>) -> Result<Pieces, CommandError> {
    let store = watched(engine).await.map_err(|error| cannot("opening the store", &error))?;
    let pieces = snapshot::take(Arc::new(store));
    Ok(pieces.map_err(|error| cannot("reading the store", &error)).boxed())
}

async fn restore(which: &WhichStore, path: &Path, existing: Existing) -> Result<(), CommandError> {
    let place = Place::of(&which.dirs).map_err(plain)?;
    let (header, _) = verify(path)?;
    let restored = match etcd(&which.store)? {
        Some(config) => into_etcd(config, header, path, existing).await?,
        None => into_files(&place, header, path, existing).await?,
    };
    print_line(format_args!(
        "{} objects restored; the store stands at revision {}",
        restored.entries, restored.revision
    ));
    Ok(())
}

async fn into_etcd(
    config: EtcdConfig,
    header: Header,
    path: &Path,
    existing: Existing,
) -> Result<Restored, CommandError> {
    let largest = snapshot::largest_piece(read(path)?).map_err(|error| CommandError::caused(path.display(), &error))?;
    let engine = EtcdEngine::open_to_restore(config).await.map_err(|error| unreachable(&error))?;
    let restored = snapshot::restore(&engine, header, largest, read(path)?, existing).await;
    let restored = restored.map_err(|error| half_restored(path, &error))?;
    engine.close().await.map_err(|error| cannot("closing the store", &error))?;
    Ok(restored)
}

/// Makes the store beside the one that is there, and lets them change places: a crash leaves the one or the other.
async fn into_files(place: &Place, header: Header, path: &Path, existing: Existing) -> Result<Restored, CommandError> {
    place.create().map_err(plain)?;
    let _lock = lock_unused(place)?;
    let (store, unborn) = (place.store(), place.data.join("store.restoring"));
    let is_there = store.join("store.db").exists();
    if is_there && existing == Existing::Refuse {
        return Err(unrestored(path, &RestoreError::NotEmpty));
    }
    let revision = if is_there { header.revision.max(beyond(&store).await) } else { header.revision };
    remove_folder(&unborn)?;
    let restored = sqlite::restore(&unborn, revision, read(path)?).map_err(|error| unrestored(path, &error));
    let restored = restored.inspect_err(|_| {
        // What went wrong is told; what is left is removed by the next attempt.
        let _ = std::fs::remove_dir_all(&unborn);
    })?;
    let kept = is_there.then(|| before_restore(place));
    put_in_place(&unborn, &store, kept.as_deref())
        .and_then(|()| Ok(sync_folder(&place.data)?))
        .map_err(|error| CommandError::caused("putting the store in its place", &*error))?;
    match kept {
        Some(kept) => print_line(format_args!("What was there is kept in {}.", kept.display())),
        // A folder without a store in it, if anything.
        None => remove_folder(&unborn)?,
    }
    Ok(restored)
}

/// Gives `unborn` the name `store`; what has that name gets the name `kept`, or else that of `unborn`.
///
/// `unborn` is what the next attempt removes: what is kept must not have that name for a moment. So the new store is called `kept` for a moment.
fn put_in_place(unborn: &Path, store: &Path, kept: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    if !store.exists() {
        return Ok(std::fs::rename(unborn, store)?);
    }
    let Some(kept) = kept else { return Ok(exchange(unborn, store)?) };
    std::fs::rename(unborn, kept)?;
    exchange(kept, store).inspect_err(|_| {
        // The store is where it was. What went wrong is told; a copy of the snapshot under the name of the store before is a nuisance only.
        let _ = std::fs::rename(kept, unborn);
    })?;
    Ok(())
}

/// The first revision that nobody has seen of the store that is replaced: what was read of it must not be newer than what is there now.
async fn beyond(store: &Path) -> Revision {
    let known = async {
        let engine = SqliteEngine::open(store).await?;
        let revision = engine.revision().await?;
        engine.close().await?;
        Ok::<_, remora_store::Error>(revision)
    };
    match known.await {
        Ok(revision) => revision.next(),
        Err(error) => {
            let why = CommandError::caused("the revision of the store that is replaced is not known", &error);
            print_line(format_args!("{why}. Restart programs that watch this node."));
            Revision::NONE
        }
    }
}

/// A name that is not taken.
fn before_restore(place: &Place) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    place.data.join(format!("store.before-restore-{now}"))
}

fn require_store(place: &Place) -> Result<(), CommandError> {
    if place.store().join("store.db").exists() {
        return Ok(());
    }
    let error = CommandError::failed(format_args!("there is no store in {}", place.data.display()));
    Err(error.hint("--data-dir names the node's folder, --store an etcd"))
}

fn lock_unused(place: &Place) -> Result<FolderLock, CommandError> {
    let taken = lock_folder(&place.data);
    let taken =
        taken.map_err(|error| CommandError::caused(format_args!("locking {}", place.data.display()), &error))?;
    taken.ok_or_else(|| {
        CommandError::failed(format_args!("a node runs in {}", place.data.display()))
            .hint("end it first: `remora down`")
    })
}

fn read(path: &Path) -> Result<Reader<BufReader<File>>, CommandError> {
    let file =
        File::open(path).map_err(|error| CommandError::caused(format_args!("opening {}", path.display()), &error))?;
    Reader::begin(BufReader::new(file)).map_err(|error| CommandError::caused(path.display(), &error))
}

fn verify(path: &Path) -> Result<(Header, u64), CommandError> {
    read(path)?.verify().map_err(|error| CommandError::caused(path.display(), &error))
}

fn remove_folder(path: &Path) -> Result<(), CommandError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CommandError::caused(format_args!("removing {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

fn writing(path: &Path, error: &remora_sys::Error) -> CommandError {
    CommandError::caused(format_args!("writing {}", path.display()), error)
}

fn unrestored(path: &Path, error: &RestoreError) -> CommandError {
    let told = CommandError::caused(format_args!("restoring {}", path.display()), error);
    match error {
        RestoreError::NotEmpty => told.hint("--force replaces what it holds"),
        RestoreError::TooFar { .. } => {
            told.hint("raise etcd's revision with `etcdutl snapshot restore --bump-revision`")
        }
        RestoreError::TooLarge { .. } => told.hint("start etcd with a larger --max-request-bytes"),
        RestoreError::Store(_) | RestoreError::Snapshot(_) => told,
    }
}

/// An etcd is filled in many steps. No node takes what is there for a whole.
fn half_restored(path: &Path, error: &RestoreError) -> CommandError {
    let told = unrestored(path, error);
    if told.hint.is_some() { told } else { told.hint("what is in etcd now is not whole: run it again with --force") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data folder with a store and one that was restored, each with a file that says which it is.
    fn folders() -> (tempfile::TempDir, [PathBuf; 3]) {
        let data = tempfile::tempdir().unwrap();
        let paths = ["store", "store.restoring", "store.before-restore-1"].map(|name| data.path().join(name));
        for (path, which) in paths.iter().zip(["old", "new"]) {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("which"), which).unwrap();
        }
        (data, paths)
    }

    fn which(path: &Path) -> Option<String> {
        std::fs::read_to_string(path.join("which")).ok()
    }

    #[test]
    fn what_was_there_is_kept() {
        let (_data, [store, unborn, kept]) = folders();
        put_in_place(&unborn, &store, Some(&kept)).unwrap();
        assert_eq!([&store, &unborn, &kept].map(|path| which(path)), [Some("new".into()), None, Some("old".into())]);
    }

    /// Whatever has that name is removed by the next attempt.
    #[test]
    fn what_is_kept_is_never_called_unborn() {
        let (_data, [store, unborn, kept]) = folders();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("which"), "taken").unwrap();
        put_in_place(&unborn, &store, Some(&kept)).unwrap_err();
        let all = [&store, &unborn, &kept].map(|path| which(path).unwrap());
        assert_eq!(all, ["old", "new", "taken"]);
    }

    #[test]
    fn without_a_store_it_is_only_renamed() {
        let (_data, [store, unborn, _]) = folders();
        std::fs::remove_dir_all(&store).unwrap();
        put_in_place(&unborn, &store, None).unwrap();
        assert_eq!((which(&store), which(&unborn)), (Some("new".into()), None));
    }
}
