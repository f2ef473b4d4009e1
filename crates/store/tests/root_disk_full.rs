//! A full disk: writes fail with `Full`, what was acknowledged stays, and all goes on once there is room.
//!
//! Needs root, to mount a file system of 16 MiB. Without root it says so and ends; with `REMORA_REQUIRE_ROOT=1` that is a
//! failure.
#[cfg(test)]
#[path = "sqlite/support.rs"]
mod support;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use remora_store::sqlite::SqliteEngine;
    use remora_store::{Engine, Error};

    use crate::support::{Start, WAL, all, open, put, read, start};

    /// A small file system, with a file on it that can be removed to make room.
    struct SmallDisk {
        _folder: tempfile::TempDir,
        mount: PathBuf,
    }

    impl SmallDisk {
        fn mount() -> Option<SmallDisk> {
            if fs::metadata("/proc/self").unwrap().uid() != 0 {
                let why = "SKIPPED: the disk-full tests need root to mount a small tmpfs";
                assert!(std::env::var("REMORA_REQUIRE_ROOT").is_err(), "{why}");
                eprintln!("{why}");
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            let mount = folder.path().join("disk");
            fs::create_dir(&mount).unwrap();
            let disk = SmallDisk { _folder: folder, mount };
            run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&disk.mount));
            Some(disk)
        }

        fn ballast(&self) -> PathBuf {
            self.mount.join("ballast")
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            run(Command::new("umount").args(["-l"]).arg(&self.mount));
        }
    }

    fn run(command: &mut Command) {
        let status = command.status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
    }

    type Content = BTreeMap<String, String>;

    /// Writes values until the disk is full, and returns how many were acknowledged.
    async fn fill(engine: &SqliteEngine, acked: &mut Content, length: usize) -> usize {
        for number in 0.. {
            let (key, value) = (format!("{length}/{number}"), format!("{number}{}", "x".repeat(length)));
            match put(engine, &key, &value).await {
                Ok(_) => drop(acked.insert(key, value)),
                Err(Error::Full { path }) => {
                    assert!(path.ends_with("store.db"), "{}", path.display());
                    return number;
                }
                Err(error) => panic!("expected a full disk, got {error:?}"),
            }
        }
        unreachable!("the disk never gets full")
    }

    async fn content(engine: &SqliteEngine) -> Content {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all(engine).await.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
    }

    /// A crash at this moment would lose nothing.
    async fn a_crash_now_keeps(acked: &Content, store: &Path, scratch: &Path) {
        let Start::Opened { kvs, .. } = start(scratch, &read(store)).await else { panic!("refused after a crash") };
        assert!(kvs.into_iter().collect::<Content>() == *acked, "a crash on the full disk lost something");
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_and_loses_nothing() {
        let Some(disk) = SmallDisk::mount() else { return };
        let elsewhere = tempfile::tempdir().unwrap();
        let store = disk.mount.join("store");
        let engine = open(&store).await;
        fs::write(disk.ballast(), vec![0; 6_000_000]).unwrap();
        let mut acked = Content::new();
        assert!(fill(&engine, &mut acked, 100_000).await > 0);
        // Smaller writes may still fit; the last of them fail too, again and again.
        for length in [100_000, 10_000, 1_000, 10, 10, 10] {
            fill(&engine, &mut acked, length).await;
            assert!(content(&engine).await == acked, "reads still work");
            a_crash_now_keeps(&acked, &store, &elsewhere.path().join("crashed")).await;
        }
        assert_eq!(engine.revision().await.unwrap().0, 1 + acked.len() as u64, "only what was acknowledged counts");
        fs::remove_file(disk.ballast()).unwrap();
        let written = put(&engine, "room", "again").await.unwrap();
        acked.insert("room".to_owned(), "again".to_owned());
        assert!(content(&engine).await == acked);
        a_crash_now_keeps(&acked, &store, &elsewhere.path().join("crashed")).await;
        engine.close().await.unwrap();
        let engine = open(&store).await;
        assert!(content(&engine).await == acked);
        assert_eq!(engine.revision().await.unwrap(), written);
        engine.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_filled_the_disk_can_be_compacted_once_there_is_a_little_room() {
        let Some(disk) = SmallDisk::mount() else { return };
        let engine = open(disk.mount.join("store")).await;
        fs::write(disk.ballast(), vec![0; 6_000_000]).unwrap();
        let mut round = 0;
        while put(&engine, "k", &format!("{round}{}", "x".repeat(50_000))).await.is_ok() {
            round += 1;
        }
        fs::remove_file(disk.ballast()).unwrap();
        let current = engine.revision().await.unwrap();
        engine.compact(current).await.unwrap();
        // The sweep gives back what the old values took, so that as many fit again.
        for again in 0..round {
            put(&engine, "k", &format!("{again}{}", "y".repeat(50_000))).await.unwrap();
            let current = engine.revision().await.unwrap();
            engine.compact(current).await.unwrap();
        }
        engine.close().await.unwrap();
    }

    #[tokio::test]
    async fn opening_on_a_full_disk_says_so_and_changes_nothing() {
        let Some(disk) = SmallDisk::mount() else { return };
        let store = disk.mount.join("store");
        let engine = open(&store).await;
        put(&engine, "k", "v").await.unwrap();
        engine.close().await.unwrap();
        let before = read(&store);
        let mut full = Command::new("dd");
        full.args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", disk.ballast().display()));
        assert!(!full.stderr(std::process::Stdio::null()).status().unwrap().success(), "dd fills the disk");
        for folder in [store.clone(), disk.mount.join("new")] {
            match SqliteEngine::open(&folder).await.map(drop) {
                Err(Error::Full { .. }) => {}
                other => panic!("{}: expected a full disk, got {other:?}", folder.display()),
            }
        }
        fs::remove_file(disk.ballast()).unwrap();
        let mut after = read(&store);
        after.retain(|name, bytes| name != WAL || !bytes.is_empty());
        assert!(after == before, "only an empty log may have been added");
        for folder in [store, disk.mount.join("new")] {
            open(&folder).await.close().await.unwrap();
        }
    }
}
