//! Layers on a real file system, seen through a real overlay mount. Needs root.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use remora_images::{Image, Limits, Registries};
use support::{Layer, LayerBytes, TestStore, chain, need_root, tree};

/// Two layers, and what a container sees of them.
async fn check(below: Layer, above: Layer, expected: &[&str]) {
    let test = TestStore::new().await;
    let image = test.layers(&[below.bytes(), above.bytes()]).await.unwrap();
    let seen = test.look(&image, tree);
    assert_eq!(seen, expected);
    assert_eq!(test.leftovers(), 0);
}

async fn refuse(layers: &[LayerBytes], expected: &str) {
    let test = TestStore::new().await;
    let error = chain(&test.layers(layers).await.unwrap_err());
    assert!(error.contains(expected), "{error}");
    assert!(test.store.list().is_empty());
    assert_eq!((test.leftovers(), tree(test.folder.path()).iter().any(|path| path.contains("escaped"))), (0, false));
}

#[tokio::test]
async fn whiteouts_hide_and_opaque_folders_hide_all() {
    let Some(()) = need_root() else { return };
    let below = || Layer::new().file("a/x", "x").file("a/y", "y").file("b/z", "z").file("c", "c");
    check(below(), Layer::new().whiteout("a/.wh.x").whiteout(".wh.c"), &["a/", "a/y", "b/", "b/z"]).await;
    check(below(), Layer::new().whiteout("a/.wh..wh..opq").file("a/new", ""), &["a/", "a/new", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().file("a/new", "").whiteout("a/.wh..wh..opq"), &["a/", "a/new", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().whiteout(".wh.a"), &["b/", "b/z", "c"]).await;
    check(below(), Layer::new().whiteout(".wh.a").file("a/new", ""), &["a/", "a/new", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().whiteout(".wh.a").dir("a", 0o755), &["a/", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().file("a/new", "").whiteout(".wh.a"), &["a/", "a/new", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().whiteout(".wh.nothing"), &["a/", "a/x", "a/y", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().file("a", "now a file"), &["a", "b/", "b/z", "c"]).await;
    check(below(), Layer::new().whiteout("a/.wh..wh.aufs"), &["a/", "a/x", "a/y", "b/", "b/z", "c"]).await;
}

#[tokio::test]
async fn paths_lead_over_the_links_of_layers_below() {
    let Some(()) = need_root() else { return };
    let below = || Layer::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib").symlink("abs", "/usr/lib");
    let with = |name: &'static str| ["abs -> /usr/lib", "lib -> usr/lib", "usr/", "usr/lib/", name];
    check(below(), Layer::new().file("lib/new", ""), &with("usr/lib/new")).await;
    check(below(), Layer::new().file("abs/new", ""), &with("usr/lib/new")).await;
    let out = || Layer::new().symlink("out", "../../../../../../tmp").symlink("etc", "/etc");
    check(
        out(),
        Layer::new().file("out/escaped", ""),
        &["etc -> /etc", "out -> ../../../../../../tmp", "tmp/", "tmp/escaped"],
    )
    .await;
    refuse(&[out().bytes(), Layer::new().file("etc/x", "").bytes()], "too many symbolic links").await;
}

#[tokio::test]
async fn implied_folders_look_as_below() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let below = Layer::new().dir("tmp", 0o1777).file("tmp/a", "").bytes();
    let image = test.layers(&[below, Layer::new().file("tmp/b", "").file("new/c", "").bytes()]).await.unwrap();
    test.look(&image, |root| {
        assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata(root.join("new")).unwrap().mode() & 0o7777, 0o755);
        assert!(root.join("tmp/a").exists() && root.join("tmp/b").exists());
    });
}

#[tokio::test]
async fn files_keep_everything_that_tar_knows_of_them() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .owned("setuid", 0o4755, 1000, 100)
        .file("first", "content")
        .hard_link("second", "first")
        .node("null", tar::EntryType::Char, 1, 3)
        .node("pipe", tar::EntryType::Fifo, 0, 0)
        .symlink("dangling", "/no/such")
        .pax(&[("mtime", b"12.5"), ("SCHILY.xattr.security.capability", &capability)])
        .file("pax", "")
        .file("big", &"\0".repeat(1 << 20))
        .dir("folder", 0o700)
        .file("folder/late", "")
        .bytes();
    let image = test.layers(&[layer]).await.unwrap();
    test.look(&image, |root| {
        let of = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
        let setuid = of("setuid");
        assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o4755, 1000, 100));
        assert_eq!((of("first").ino(), of("first").nlink()), (of("second").ino(), 2));
        assert_eq!((of("null").rdev(), of("null").mode() & 0o170_000), (0x103, 0o020_000));
        assert_eq!(of("pipe").mode() & 0o170_000, 0o010_000);
        assert_eq!(fs::read_link(root.join("dangling")).unwrap().to_str(), Some("/no/such"));
        assert_eq!(of("dangling").mtime(), 1_000_000_000);
        assert_eq!((of("pax").mtime(), of("pax").mtime_nsec()), (12, 500_000_000));
        let kept = remora_sys::inode::xattr(&root.join("pax"), "security.capability").unwrap();
        assert_eq!(kept.as_deref(), Some(&capability[..]));
        assert_eq!((of("big").len(), of("big").blocks()), (1 << 20, 0), "zeros become a hole");
        assert_eq!((of("folder").mtime(), of("folder").mode() & 0o777), (1_000_000_000, 0o700));
    });
    let usage = test.store.usage();
    assert!(usage.bytes > 1 << 20 && usage.inodes >= 10, "{usage:?}");
}

#[tokio::test]
async fn later_entries_replace_earlier_ones() {
    let Some(()) = need_root() else { return };
    let below = || Layer::new().file("f", "below");
    check(below(), Layer::new().file("f", "1").file("f", "2"), &["f"]).await;
    check(below(), Layer::new().file("d/x", "").file("d", "file"), &["d", "f"]).await;
    check(below(), Layer::new().symlink("d", "f").dir("d", 0o755).file("d/x", ""), &["d/", "d/x", "f"]).await;
    check(below(), Layer::new().dir("d", 0o755).dir("d", 0o700).file("d/x", ""), &["d/", "d/x", "f"]).await;
    check(below(), Layer::new().hard_link("g", "f"), &["f", "g"]).await;
}

#[tokio::test]
async fn hostile_entries_are_refused_and_nothing_is_left() {
    let Some(()) = need_root() else { return };
    let one = |layer: Layer| vec![layer.bytes()];
    refuse(&one(Layer::new().file("../escaped", "x")), "leads out of the layer").await;
    refuse(&one(Layer::new().file("a/../../escaped", "x")), "leads out of the layer").await;
    refuse(&one(Layer::new().hard_link("escaped", "../../etc/passwd")), "leads out of the layer").await;
    refuse(&one(Layer::new().hard_link("escaped", "/etc/passwd")), "a hard link to nothing").await;
    refuse(&one(Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "")), "too many symbolic links").await;
    refuse(&one(Layer::new().file("f", "").file("f/x", "")), "leads through something that is no folder").await;
    refuse(&one(Layer::new().dir("d", 0o755).hard_link("l", "d")), "a hard link to a folder").await;
    refuse(&one(Layer::new().node("w", tar::EntryType::Char, 0, 0)), "device 0/0").await;
    refuse(
        &[b"this is no tar at all, but long enough to be taken for the beginning of one".repeat(20)],
        "invalid tar header",
    )
    .await;
}

#[tokio::test]
async fn what_costs_too_much_is_refused() {
    let Some(()) = need_root() else { return };
    let check = async |limits: Limits, layer: Layer, expected: &str| {
        let test = TestStore::with(Registries::default(), limits).await;
        let error = chain(&test.layers(&[layer.bytes()]).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!((test.leftovers(), test.layer_count()), (0, 0));
    };
    let limits = Limits::default();
    let many = (0..20).fold(Layer::new(), |layer, index| layer.file(&index.to_string(), ""));
    check(Limits { layer_entries: 10, ..limits }, many, "more than 10 files").await;
    let large = Layer::new().file("large", &"x".repeat(100_000));
    check(Limits { layer_bytes: 50_000, ..limits }, large, "larger than 50000 bytes once unpacked").await;
    let large = Layer::new().file("large", &"x".repeat(100_000));
    check(Limits { image_bytes: 50_000, ..limits }, large, "larger than the limit of 50000 bytes").await;
}

#[tokio::test]
async fn a_compression_bomb_is_stopped_by_its_ratio() {
    let Some(()) = need_root() else { return };
    let test = TestStore::with(Registries::default(), Limits { expansion: 2, ..Limits::default() }).await;
    // 80 MB of zeros, of which gzip makes some 80 KB.
    let bomb = Layer::new().file("zeros", &"\0".repeat(80 << 20)).bytes();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &bomb).unwrap();
    let image = support::http::TestImage::new(&[packed.finish().unwrap()]);
    let server = support::http::Server::start(support::http::registry_of(&image));
    let error = test.store.pull(&format!("{}/bomb", server.address), None).await.map(|image: Image| image.id);
    let error = chain(&error.unwrap_err());
    assert!(error.contains("bytes once unpacked"), "{error}");
    assert_eq!(test.leftovers(), 0);
}
