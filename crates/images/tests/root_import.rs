//! Importing, naming, leasing and removing, on a real store. Needs root.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod support;

use std::fs;

use remora_cri::{self as cri, ImageService};
use remora_images::{
    Error, FileEntry, FileKind, ImageConfiguration, ImageStore, ImportSource, Limits, Progress, Registries,
    StoreConfig, build_image,
};
use support::{Layer, TestStore, chain, docker_archive, need_root, tree};
use tokio::sync::watch;

fn files() -> Vec<FileEntry> {
    vec![
        FileEntry::new("bin/busybox", 0o755, FileKind::File(b"#!".to_vec())),
        FileEntry::new("bin/sh", 0o755, FileKind::HardLink("bin/busybox".into())),
        FileEntry::new("tmp", 0o1777, FileKind::Directory),
        FileEntry::new("etc/mtab", 0o777, FileKind::Symlink("/proc/mounts".into())),
    ]
}

fn config() -> ImageConfiguration {
    let json = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "User": "65532:65532", "Labels": {"b": "2", "a": "1"}},
        "rootfs": {"type": "layers", "diff_ids": []}
    });
    serde_json::from_value(json).unwrap()
}

fn progress() -> watch::Sender<Progress> {
    watch::channel(Progress::default()).0
}

fn store_config(test: &TestStore) -> StoreConfig {
    StoreConfig { root: test.root(), registries: Registries::default(), limits: Limits::default() }
}

#[tokio::test]
async fn a_built_image_comes_in_by_every_way_as_the_same_image() {
    let Some(()) = need_root() else { return };
    let built = build_image(&files(), &config()).unwrap();
    assert_eq!(build_image(&files(), &config()).unwrap().manifest, built.manifest, "the same each time");
    let layouts = tempfile::tempdir().unwrap();
    let layout = layouts.path().join("layout");
    built.write_layout(&layout, "docker.io/library/one:latest").unwrap();
    built.write_layout(&layout, "docker.io/library/one:latest").unwrap();
    let layout_tar = layouts.path().join("layout.tar");
    let mut tar = tar::Builder::new(fs::File::create(&layout_tar).unwrap());
    tar.append_dir_all(".", &layout).unwrap();
    tar.finish().unwrap();
    let archive = built.docker_archive(&["two:1", "quay.io/three"]).unwrap();
    let compressed = zstd::encode_all(archive.as_slice(), 1).unwrap();

    let test = TestStore::new().await;
    for (source, names) in [
        (ImportSource::Path(layout), vec!["docker.io/library/one:latest"]),
        (ImportSource::Path(layout_tar), vec!["docker.io/library/one:latest"]),
        (
            ImportSource::Stream(Box::new(std::io::Cursor::new(compressed))),
            vec!["docker.io/library/one:latest", "docker.io/library/two:1", "quay.io/three:latest"],
        ),
    ] {
        let images = test.store.import(source, progress()).await.unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(
            (images[0].id, images[0].repo_tags.clone()),
            (built.id, names.iter().map(|n| n.to_string()).collect())
        );
        assert_eq!(images[0].image_ref(), built.id.to_string(), "a local image is shown by its id");
    }
    assert_eq!((test.layer_count(), test.leftovers()), (1, 0));
    let image = test.store.image("one").unwrap();
    let seen = test.look(&image, tree);
    assert_eq!(seen, ["bin/", "bin/busybox", "bin/sh", "etc/", "etc/mtab -> /proc/mounts", "tmp/"]);
}

#[tokio::test]
async fn images_are_found_by_all_their_names() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let image =
        test.import(docker_archive("quay.io/a/b:1", &[Layer::new().file("f", "").bytes()])).await.unwrap().remove(0);
    let (id, hex) = (image.id.to_string(), image.id.hex());
    for name in ["quay.io/a/b:1", id.as_str(), hex.as_str(), &hex[..12], &id[..20]] {
        assert_eq!(test.store.image(name).unwrap().id, image.id, "{name}");
    }
    for name in ["quay.io/a/b", "b:1", &hex[..5], "nothing"] {
        assert!(matches!(test.store.image(name), Err(Error::NotFound { .. })), "{name}");
    }
    assert!(matches!(test.store.image("Not Valid"), Err(Error::Reference(_))));
}

#[tokio::test]
async fn a_name_moves_to_the_image_that_was_imported_last() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let first = test.import(docker_archive("x", &[Layer::new().file("1", "").bytes()])).await.unwrap().remove(0);
    let second = test.import(docker_archive("x", &[Layer::new().file("2", "").bytes()])).await.unwrap().remove(0);
    assert_eq!(test.store.image("x").unwrap().id, second.id);
    assert!(test.store.image(&first.id.to_string()).unwrap().repo_tags.is_empty());
    assert_eq!(test.store.list().len(), 2);
}

#[tokio::test]
async fn layers_stay_as_long_as_an_image_or_a_container_needs_them() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let (base, top) = (Layer::new().file("base", "").bytes(), Layer::new().file("top", "").bytes());
    test.import(docker_archive("one", std::slice::from_ref(&base))).await.unwrap();
    test.import(docker_archive("two", &[base, top])).await.unwrap();
    assert_eq!(test.layer_count(), 2, "shared layers are there once");
    let lease = test.store.lease("two", "container").unwrap();
    assert_eq!(lease.lowerdirs.len(), 2);
    test.store.remove("two").await.unwrap();
    assert!(lease.lowerdirs.iter().all(|folder| folder.is_dir()));
    assert!(lease.lowerdirs[0].join("top").exists(), "top first");
    test.store.release("container").await.unwrap();
    test.store.release("container").await.unwrap();
    assert_eq!(test.layer_count(), 1);
    assert!(test.store.image("one").is_ok());
    test.store.remove("one").await.unwrap();
    assert_eq!((test.layer_count(), test.store.usage().bytes), (0, 0));
    assert_eq!(fs::read_dir(test.root().join("blobs/sha256")).unwrap().count(), 0);
    assert!(matches!(test.store.remove("one").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_new_run_finds_images_keeps_leases_and_removes_leftovers() {
    let Some(()) = need_root() else { return };
    let TestStore { folder, store } = TestStore::new().await;
    let test = TestStore { folder, store: store.clone() };
    drop(store);
    test.import(docker_archive("kept", &[Layer::new().file("a", "").bytes()])).await.unwrap();
    test.import(docker_archive("held", &[Layer::new().file("b", "").bytes()])).await.unwrap();
    test.import(docker_archive("broken", &[Layer::new().file("c", "").bytes()])).await.unwrap();
    let lease = test.store.lease("held", "container").unwrap();
    let broken = test.store.lease("broken", "nobody").unwrap();
    assert!(matches!(ImageStore::open(store_config(&test), vec![]).await, Err(Error::Locked { .. })));
    test.store.remove("held").await.unwrap();

    let config = store_config(&test);
    let TestStore { folder, store } = test;
    drop(store);
    let root = folder.path().join("images");
    fs::write(root.join("ingest/1"), "half a blob").unwrap();
    fs::create_dir_all(root.join("tmp/7/fs/x")).unwrap();
    fs::create_dir_all(root.join("layers/half/fs")).unwrap();
    fs::remove_dir_all(broken.lowerdirs[0].parent().unwrap()).unwrap();

    let store = ImageStore::open(config, vec![lease.clone()]).await.unwrap();
    let test = TestStore { folder, store };
    assert_eq!((test.leftovers(), test.layer_count()), (0, 2));
    assert!(test.store.image("kept").is_ok() && lease.lowerdirs[0].is_dir());
    assert!(matches!(test.store.image("broken"), Err(Error::NotFound { .. })), "an image without its layer is none");
    test.store.release("container").await.unwrap();
    assert_eq!(test.layer_count(), 1);
}

#[tokio::test]
async fn after_a_power_cut_only_what_is_on_the_disk_counts() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    test.import(docker_archive("safe", &[Layer::new().file("a", "").bytes()])).await.unwrap();
    test.import(docker_archive("unsafe", &[Layer::new().file("b", "").bytes()])).await.unwrap();
    let lease = test.store.lease("unsafe", "container").unwrap();
    let unsafe_id = test.store.image("unsafe").unwrap().id;
    let config = store_config(&test);
    let TestStore { folder, store } = test;
    drop(store);
    // As a pull leaves it that was cut off from power before its files were written out.
    let mut books: serde_json::Value =
        serde_json::from_slice(&fs::read(config.root.join("images.json")).unwrap()).unwrap();
    for record in books["images"].as_array_mut().unwrap() {
        if record["id"] == unsafe_id.to_string() {
            record["unsettled"] = "another boot".into();
        }
    }
    let first_form = serde_json::json!({"version": 1, "images": books["images"]});
    fs::write(config.root.join("images.json"), first_form.to_string()).unwrap();
    fs::write(config.root.join("boot"), "another boot").unwrap();
    let store = ImageStore::open(config, vec![lease]).await.unwrap();
    let test = TestStore { folder, store };
    assert!(test.store.image("safe").is_ok() && test.store.image("unsafe").is_err());
    assert_eq!(test.layer_count(), 1, "a layer that may be incomplete is not taken for whole");
}

async fn closed_store_with_x() -> (tempfile::TempDir, StoreConfig) {
    let test = TestStore::new().await;
    test.import(docker_archive("x", &[Layer::new().file("a", "").bytes()])).await.unwrap();
    let config = store_config(&test);
    (test.folder, config)
}

#[tokio::test]
async fn damaged_books_are_set_aside_and_their_copy_takes_their_place() {
    let Some(()) = need_root() else { return };
    let (folder, config) = closed_store_with_x().await;
    let (books, copy) = (config.root.join("images.json"), config.root.join("copy-images.json"));
    let whole = fs::read_to_string(&books).unwrap();
    // The third still parses.
    for damage in ["", "{", &whole.replace(":latest", ":latesu")] {
        assert_ne!(damage, whole);
        fs::write(&books, damage).unwrap();
        let store = ImageStore::open(config.clone(), vec![]).await.unwrap();
        assert!(store.image("x").is_ok(), "{damage}");
        drop(store);
        assert_eq!(fs::read_to_string(&books).unwrap(), whole, "{damage}");
        assert_eq!(fs::read_to_string(config.root.join("damaged-images.json")).unwrap(), damage);
        fs::write(&copy, damage).unwrap();
        let store = ImageStore::open(config.clone(), vec![]).await.unwrap();
        assert!(store.image("x").is_ok(), "the copy may be spoiled: {damage}");
        drop(store);
        fs::write(&copy, &whole).unwrap();
    }
    fs::remove_file(&books).unwrap();
    assert!(ImageStore::open(config.clone(), vec![]).await.unwrap().image("x").is_ok());
    drop(folder);
}

#[tokio::test]
async fn books_that_are_spoiled_twice_or_of_another_time_are_refused_and_left_alone() {
    let Some(()) = need_root() else { return };
    let (folder, config) = closed_store_with_x().await;
    for (text, expected) in [
        ("{", "is damaged, as is its copy"),
        ("{\"version\": 2, \"images\": []}", "move both away to start without images"),
        ("{\"version\": 3, \"images\": []}", "was written by a newer program (version 3)"),
    ] {
        for file in ["images.json", "copy-images.json"] {
            fs::write(config.root.join(file), text).unwrap();
        }
        let error = ImageStore::open(config.clone(), vec![]).await.err().unwrap().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(fs::read_to_string(config.root.join("images.json")).unwrap(), text);
        assert_eq!(fs::read_dir(config.root.join("layers")).unwrap().count(), 1);
    }
    drop(folder);
}

#[tokio::test]
async fn books_of_the_first_form_are_read() {
    let Some(()) = need_root() else { return };
    let (folder, config) = closed_store_with_x().await;
    let now: serde_json::Value = serde_json::from_slice(&fs::read(config.root.join("images.json")).unwrap()).unwrap();
    let first = serde_json::json!({"version": 1, "images": now["images"]});
    fs::write(config.root.join("images.json"), first.to_string()).unwrap();
    fs::remove_file(config.root.join("copy-images.json")).unwrap();
    assert!(ImageStore::open(config, vec![]).await.unwrap().image("x").is_ok());
    drop(folder);
}

#[tokio::test]
async fn archives_that_are_none_or_lie_are_refused() {
    let Some(()) = need_root() else { return };
    let check = async |archive: Vec<u8>, expected: &str| {
        let test = TestStore::new().await;
        let error = chain(&test.import(archive).await.unwrap_err());
        assert!(error.starts_with("failed to import the stream: ") && error.contains(expected), "{error}");
        assert_eq!((test.leftovers(), test.layer_count(), test.store.list().len()), (0, 0, 0));
    };
    check(Vec::new(), "neither a docker-archive").await;
    check(Layer::new().file("hello", "").bytes(), "neither a docker-archive").await;
    check(Layer::new().file("manifest.json", "{").bytes(), "manifest.json is malformed").await;
    let missing = r#"[{"Config": "c.json", "RepoTags": null, "Layers": []}]"#;
    check(Layer::new().file("manifest.json", missing).bytes(), "\"c.json\" is missing").await;
    let outside = r#"[{"Config": "../../etc/passwd", "Layers": []}]"#;
    check(Layer::new().file("manifest.json", outside).bytes(), "leads out").await;
    let other = Layer::new().file("f", "other").bytes();
    let config = String::from_utf8(support::config(&[Layer::new().file("f", "this").bytes()])).unwrap();
    let list = r#"[{"Config": "c.json", "RepoTags": ["x"], "Layers": ["l.tar"]}]"#;
    let lie = Layer::new().file("c.json", &config).file("manifest.json", list);
    let lie = lie.file("l.tar", &String::from_utf8(other).unwrap()).bytes();
    check(lie, "wrong diff id calculated on extraction").await;
    let index = r#"{"schemaVersion": 2, "manifests": []}"#;
    check(Layer::new().file("index.json", index).bytes(), "no match for platform in manifest: linux/").await;
    let truncated = docker_archive("x", &[Layer::new().file("f", &"x".repeat(5000)).bytes()]);
    check(truncated[..3000].to_vec(), "unexpected end of file").await;
}

#[tokio::test]
async fn old_archives_share_layers_by_links() {
    let Some(()) = need_root() else { return };
    let layer = Layer::new().file("f", "").bytes();
    let config = String::from_utf8(support::config(&[layer.clone(), layer.clone()])).unwrap();
    let list = r#"[{"Config": "c.json", "RepoTags": ["x"], "Layers": ["a/layer.tar", "b/layer.tar"]}]"#;
    let archive = Layer::new()
        .file("./a/layer.tar", &String::from_utf8(layer).unwrap())
        .symlink("b/layer.tar", "../a/layer.tar")
        .file("c.json", &config)
        .file("manifest.json", list)
        .bytes();
    let test = TestStore::new().await;
    assert_eq!(test.import(archive).await.unwrap()[0].layers.len(), 2);
}

#[tokio::test]
async fn cri_sees_what_is_here() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let image = test.import(docker_archive("x:1", &[Layer::new().file("f", "").bytes()])).await.unwrap().remove(0);
    let service: &dyn ImageService = &test.store;
    let spec = |name: &str| Some(cri::ImageSpec { image: name.into(), ..Default::default() });
    let status = |name: &str| cri::ImageStatusRequest { image: spec(name), verbose: false };
    let seen = service.image_status(status("x:1")).await.unwrap().image.unwrap();
    assert_eq!(
        (seen.id.as_str(), seen.repo_tags),
        (image.id.to_string().as_str(), vec!["docker.io/library/x:1".into()])
    );
    assert_eq!((seen.uid.unwrap().value, seen.size), (1000, image.size));
    assert_eq!(service.image_status(status("none")).await.unwrap().image, None);
    let all = service.list_images(cri::ListImagesRequest::default()).await.unwrap();
    assert_eq!(all.images.len(), 1);
    let info = service.image_fs_info().await.unwrap();
    assert!(info.image_filesystems[0].inodes_used.as_ref().unwrap().value > 0);
    for _ in 0..2 {
        service.remove_image(cri::RemoveImageRequest { image: spec("x:1") }).await.unwrap();
    }
    assert!(test.store.list().is_empty());
}
