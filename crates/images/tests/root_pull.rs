//! Pulls: from Debian's docker-registry, and from servers that misbehave. Needs root.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remora_cri::{self as cri, ImageService};
use remora_images::{
    Credentials, Digest, FileEntry, FileKind, ImageConfiguration, LayerState, Limits, Mirror, Registries, RegistryHost,
    build_image, push_image,
};
use support::http::{Reply, Request, Server, TestImage, registry_of};
use support::registry::Registry;
use support::{Layer, TestStore, chain, need_root, tree};

fn built(content: &str) -> remora_images::BuiltImage {
    let json = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": []}
    });
    let config: ImageConfiguration = serde_json::from_value(json).unwrap();
    build_image(&[FileEntry::new("bin/sh", 0o755, FileKind::File(content.into()))], &config).unwrap()
}

async fn push(registry: &Registry, content: &str, name: &str) -> Digest {
    let layout = tempfile::tempdir().unwrap();
    built(content).write_layout(layout.path(), name).unwrap();
    push_image(layout.path(), &registry.url(), name).await.unwrap()
}

fn mirrored(registry: &str, mirrors: &[String], server: &str) -> Registries {
    let mirrors = mirrors.iter().map(|url| Mirror { url: url.clone() }).collect();
    let host = RegistryHost { mirrors, server: Some(server.to_owned()) };
    Registries { hosts: [(registry.to_owned(), host)].into() }
}

fn three_layers() -> TestImage {
    let layer = |name: &str| Layer::new().file(name, &name.repeat(2000)).bytes();
    TestImage::new(&[layer("a"), layer("b"), layer("c")])
}

async fn failure(test: &TestStore, name: &str) -> String {
    chain(&test.store.pull(name, None).await.map(|image| image.id).unwrap_err())
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_and_known_by_its_digest() {
    let Some(()) = need_root() else { return };
    let Some(registry) = Registry::start() else { return };
    let name = "k8s.gcr.io/pause:3.1";
    let digest = push(&registry, "one", name).await;
    assert_eq!(push(&registry, "one", name).await, digest, "pushing again sends nothing new");
    let test = TestStore::with(Registries::mirror_all(&registry.url()), Limits::default()).await;
    let pull = test.store.pull(name, None);
    let progress = pull.progress();
    let image = pull.await.unwrap();
    assert_eq!((image.id, image.repo_tags.as_slice()), (built("one").id, &[name.to_owned()][..]));
    assert_eq!(image.image_ref(), format!("k8s.gcr.io/pause@{digest}"));
    let last = progress.borrow().clone();
    assert_eq!(
        (last.reference.as_str(), last.layers[0].state, last.bytes().0),
        (name, LayerState::Done, last.bytes().1)
    );
    assert_eq!(test.look(&image, tree), ["bin/", "bin/sh"]);
    assert_eq!(test.store.pull(&image.image_ref(), None).await.unwrap().id, image.id, "by digest");

    let moved = push(&registry, "two", name).await;
    assert_ne!(moved, digest);
    let newer = test.store.pull(name, None).await.unwrap();
    assert_eq!(newer.id, built("two").id);
    assert!(test.store.image(&image.id.to_string()).unwrap().repo_tags.is_empty());
    assert_eq!(test.leftovers(), 0);
}

#[tokio::test]
async fn pulling_what_is_here_asks_one_question() {
    let Some(()) = need_root() else { return };
    let server = Server::start(registry_of(&three_layers()));
    let test = TestStore::new().await;
    let name = format!("{}/a/b", server.address);
    test.store.pull(&name, None).await.unwrap();
    let before = server.log().len();
    test.store.pull(&name, None).await.unwrap();
    assert_eq!(server.log()[before..], ["HEAD /v2/a/b/manifests/latest".to_owned()]);
}

#[tokio::test]
async fn callers_that_pull_the_same_at_once_share_it() {
    let Some(()) = need_root() else { return };
    let server = Server::start(registry_of(&three_layers()));
    let test = TestStore::new().await;
    let name = format!("{}/a/b", server.address);
    let pulls = (0..5).map(|_| test.store.pull(&name, None));
    let images = futures::future::join_all(pulls).await;
    assert!(images.iter().all(|image| image.is_ok()));
    let heads = server.log().iter().filter(|line| line.starts_with("HEAD")).count();
    let blobs = server.log().iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!((heads, blobs), (1, 4));
    let abandoned = test.store.pull(&name, None);
    drop(abandoned);
    assert!(test.store.pull(&name, None).await.is_ok(), "a pull that nobody waits for is not joined");
}

#[tokio::test]
async fn layers_that_are_here_are_not_fetched_again() {
    let Some(()) = need_root() else { return };
    let layer = |name: &str| Layer::new().file(name, name).bytes();
    let (first, second) = (TestImage::new(&[layer("base")]), TestImage::new(&[layer("base"), layer("top")]));
    let (one, two) = (Server::start(registry_of(&first)), Server::start(registry_of(&second)));
    let test = TestStore::new().await;
    test.store.pull(&format!("{}/one", one.address), None).await.unwrap();
    let pull = test.store.pull(&format!("{}/two", two.address), None);
    let progress = pull.progress();
    pull.await.unwrap();
    let states: Vec<LayerState> = progress.borrow().layers.iter().map(|layer| layer.state).collect();
    assert_eq!(states, [LayerState::Present, LayerState::Done]);
    assert!(!two.log().iter().any(|line| line.contains(&second.layers[0])));
}

#[tokio::test]
async fn failures_are_told_in_containerds_words() {
    let Some(()) = need_root() else { return };
    let test = TestStore::new().await;
    let server = Server::start(|request: &Request| match request.path.split('/').nth(2).unwrap() {
        "missing" => Reply::new(404, ""),
        "broken" => Reply::new(503, ""),
        "secret" => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\""),
        _ => Reply::new(401, "").header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/no-token\""),
    });
    let at = server.address;
    let check = async |name: &str, expected: &str| {
        let image = format!("{at}/{name}:latest");
        let prefix = format!("failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: ");
        assert_eq!(failure(&test, &image).await, format!("{prefix}{expected}"));
    };
    check("missing", &format!("{at}/missing:latest: not found")).await;
    let url = format!("http://{at}/v2/broken/manifests/latest");
    check("broken", &format!("unexpected status from HEAD request to {url}: 503 Service Unavailable")).await;
    let denied = "pull access denied, repository does not exist or may require authorization: ";
    check("secret", &format!("{denied}authorization failed: no basic auth credentials")).await;
    let token = "http://127.0.0.1:1/no-token?scope=repository:private:pull";
    let refused = format!("Get {token:?}: dial tcp 127.0.0.1:1: connect: connection refused");
    check("private", &format!("failed to authorize: failed to fetch anonymous token: {refused}")).await;
    assert_eq!(
        failure(&test, "Not/A/Valid:Name:x").await,
        "couldn't parse image name \"Not/A/Valid:Name:x\": invalid reference format: repository name (A/Valid) must be lowercase"
    );
    let request = |name: String| cri::PullImageRequest {
        image: Some(cri::ImageSpec { image: name, ..Default::default() }),
        ..Default::default()
    };
    let missing = Server::start(|_: &Request| Reply::new(404, ""));
    let error = test.store.pull_image(request(format!("{}/x", missing.address))).await.unwrap_err();
    assert_eq!(error.code, cri::Code::NotFound);
}

#[tokio::test]
async fn a_mirror_is_asked_with_the_name_of_whom_it_mirrors() {
    let Some(()) = need_root() else { return };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = mirrored("docker.io", &[], &format!("http://{nobody}"));
    let test = TestStore::with(config, Limits::default()).await;
    let image = "docker.io/library/no-such-image:1";
    let url = format!("http://{nobody}/v2/library/no-such-image/manifests/1?ns=docker.io");
    assert_eq!(
        failure(&test, "no-such-image:1").await,
        format!(
            "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: failed to do request: \
             Head {url:?}: dial tcp {nobody}: connect: connection refused"
        )
    );
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_where_it_should_is_told() {
    let Some(()) = need_root() else { return };
    let server = Server::start(|_: &Request| Reply::new(404, ""));
    let config = mirrored("docker.io", &[], &format!("https://{}", server.address));
    let test = TestStore::with(config, Limits::default()).await;
    let error = failure(&test, "busybox").await;
    // A machine without certificate authorities does not even ask.
    assert!(error.contains("Head \"https://127.0.0.1") || error.contains("certificate authorities"), "{error}");
}

#[tokio::test]
async fn tokens_are_fetched_for_those_who_want_them() {
    let Some(()) = need_root() else { return };
    let image = registry_of(&three_layers());
    let tokens = Server::start(|request: &Request| match request.headers.get("authorization").map(String::as_str) {
        Some("Basic dTpw") => Reply::new(200, r#"{"access_token": "known"}"#),
        Some(_) => Reply::new(401, ""),
        None => Reply::new(200, r#"{"token": "anonymous"}"#),
    });
    let realm = format!("Bearer realm=\"{}/token\",service=\"test\"", tokens.url());
    let server = Server::start(move |request: &Request| {
        let is_private = request.path.contains("/private/");
        let wanted = if is_private { "Bearer known" } else { "Bearer anonymous" };
        match request.headers.get("authorization") {
            Some(token) if token == wanted => image(request),
            Some(_) => Reply::new(401, "").header("WWW-Authenticate", format!("{realm},error=\"insufficient_scope\"")),
            None => Reply::new(401, "").header("WWW-Authenticate", realm.clone()),
        }
    });
    let test = TestStore::new().await;
    test.store.pull(&format!("{}/public/x", server.address), None).await.unwrap();
    assert_eq!(tokens.log(), ["GET /token?scope=repository:public/x:pull&service=test"], "one token for all requests");
    let private = format!("{}/private/x:latest", server.address);
    assert!(failure(&test, &private).await.ends_with(
        "pull access denied, repository does not exist or may require authorization: \
         server message: insufficient_scope: authorization failed"
    ));
    let credentials = Some(Credentials { username: "u".into(), password: "p".into() });
    test.store.pull(&private, credentials).await.unwrap();
}

#[tokio::test]
async fn redirects_do_not_carry_tokens() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let blobs = Server::start(registry_of(&image));
    let (registry, elsewhere) = (registry_of(&image), blobs.url());
    let server = Server::start(move |request: &Request| {
        if !request.headers.contains_key("authorization") {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=r");
        }
        match request.path.contains("/blobs/") {
            true => Reply::new(307, "").header("Location", format!("{elsewhere}{}", request.path)),
            false => registry(request),
        }
    });
    let test = TestStore::new().await;
    let credentials = Some(Credentials { username: "u".into(), password: "p".into() });
    test.store.pull(&format!("{}/x", server.address), credentials).await.unwrap();
    assert_eq!(blobs.log().len(), 4);
    assert!(blobs.requests().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_the_server_last() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let empty = Server::start(|_: &Request| Reply::new(404, ""));
    let broken = Server::start(|_: &Request| Reply::new(500, ""));
    let good = Server::start(registry_of(&image));
    let config = mirrored("docker.io", &[empty.url(), broken.url()], &good.url());
    let test = TestStore::with(config, Limits::default()).await;
    let pulled = test.store.pull("busybox", None).await.unwrap();
    assert_eq!(pulled.repo_tags, ["docker.io/library/busybox:latest"]);
    assert_eq!(empty.log()[0], "HEAD /v2/library/busybox/manifests/latest?ns=docker.io");
    assert_eq!(broken.log()[0], empty.log()[0]);
}

#[tokio::test]
async fn a_broken_transfer_is_taken_up_where_it_broke() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let (registry, wanted) = (registry_of(&image), image.layers[1].clone());
    let times = Arc::new(AtomicUsize::new(0));
    let seen = times.clone();
    let server = Server::start(move |request: &Request| {
        let reply = registry(request);
        let is_cut = request.path.contains(&wanted) && seen.fetch_add(1, Ordering::SeqCst) < 2;
        Reply { cut: is_cut.then_some(1000), ..reply }
    });
    let test = TestStore::new().await;
    test.store.pull(&format!("{}/x", server.address), None).await.unwrap();
    assert_eq!(times.load(Ordering::SeqCst), 3);
    let ranges: Vec<_> = server.requests().iter().filter_map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=1000-", "bytes=2000-"]);
}

#[tokio::test]
async fn a_pull_that_fails_on_the_way_leaves_nothing() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let check = async |spoil: fn(Reply) -> Reply, expected: &str| {
        let (registry, wanted) = (registry_of(&image), image.layers[2].clone());
        let server = Server::start(move |request: &Request| {
            let reply = registry(request);
            if request.path.contains(&wanted) { spoil(reply) } else { reply }
        });
        let test = TestStore::new().await;
        let error = failure(&test, &format!("{}/x", server.address)).await;
        assert!(error.starts_with("failed to pull and unpack image") && error.contains(expected), "{error}");
        assert_eq!((test.store.list().len(), test.leftovers()), (0, 0));
        test.store.release("anybody").await.unwrap();
    };
    let flip = |mut reply: Reply| {
        reply.body[600] ^= 1;
        reply
    };
    check(flip, "unexpected commit digest sha256:").await;
    check(|reply| Reply { cut: Some(0), ..reply }, "failed to do request: Get").await;
    check(|_| Reply::new(404, ""), "not found").await;
    let longer = |mut reply: Reply| {
        reply.body.extend_from_slice(b"more");
        reply
    };
    check(longer, "expected").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_given_up() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let registry = registry_of(&image);
    let wanted = image.layers[0].clone();
    let server = Server::start(move |request: &Request| {
        let reply = registry(request);
        match request.path.contains(&wanted) {
            true => Reply { cut: Some(0), holds: true, ..reply },
            false => reply,
        }
    });
    let test = TestStore::new().await;
    let error = failure(&test, &format!("{}/x", server.address)).await;
    assert!(error.contains("nothing came for 60 seconds") || error.contains("no answer within 60 seconds"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_killed_is_a_clean_failure() {
    let Some(()) = need_root() else { return };
    let Some(mut registry) = Registry::start() else { return };
    let name = format!("{}/x:1", registry.name());
    push(&registry, "one", &name).await;
    let test = TestStore::new().await;
    test.store.pull(&name, None).await.unwrap();
    registry.kill();
    let error = failure(&test, &name).await;
    assert!(error.contains("connection refused") || error.contains("failed to do request"), "{error}");
    assert!(test.store.image(&name).is_ok(), "what is here stays");
}

#[tokio::test]
async fn manifests_that_lie_are_refused() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let real = Digest::of(&image.manifest);
    let lying = TestImage {
        manifest: String::from_utf8(image.manifest.clone()).unwrap().replace("size", "siZe").into(),
        ..image.clone()
    };
    let registry = registry_of(&image);
    let server = Server::start(move |request: &Request| match request.method.as_str() {
        "HEAD" => registry(request),
        _ => Reply::new(200, lying.manifest.clone()),
    });
    let test = TestStore::new().await;
    let error = failure(&test, &format!("{}/x", server.address)).await;
    assert!(error.contains(&format!("expected {real}")), "{error}");

    let huge = Server::start(|request: &Request| match request.method.as_str() {
        "HEAD" => Reply::new(405, ""),
        _ => Reply::new(200, vec![b' '; 5 << 20]),
    });
    let error = failure(&test, &format!("{}/x", huge.address)).await;
    assert!(error.contains("larger than the limit of 4194304 bytes"), "{error}");
    let test = TestStore::with(Registries::default(), Limits { image_bytes: 5000, ..Limits::default() }).await;
    let server = Server::start(registry_of(&image));
    let error = failure(&test, &format!("{}/x", server.address)).await;
    assert!(error.contains("is larger than the limit of 5000 bytes"), "{error}");
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let Some(()) = need_root() else { return };
    let image = three_layers();
    let entry = |architecture: &str, digest: Digest| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
            "platform": {"os": "linux", "architecture": architecture}
        })
    };
    let host = remora_images::manifest::Platform::host().architecture;
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        entry("m68k", Digest::of(b"other")), entry(&host, Digest::of(&image.manifest)),
    ]});
    let (index, registry) = (index.to_string().into_bytes(), registry_of(&image));
    let digest = Digest::of(&index);
    let server = Server::start(move |request: &Request| match request.path.rsplit('/').next() {
        Some(name) if name == "multi" || name == digest.to_string() => {
            Reply::new(200, index.clone()).header("Content-Type", "application/vnd.oci.image.index.v1+json")
        }
        _ => registry(request),
    });
    let test = TestStore::new().await;
    let name = format!("{}/x", server.address);
    let pulled = test.store.pull(&format!("{name}:multi"), None).await.unwrap();
    assert_eq!(pulled.repo_digests, [format!("{name}@{digest}")], "the index's digest is what people see");
    let by_manifest = format!("{name}@{}", Digest::of(&image.manifest));
    assert_eq!(test.store.pull(&by_manifest, None).await.unwrap().id, pulled.id);
    assert_eq!(server.log().iter().filter(|line| line.contains("/blobs/")).count(), 4, "nothing came twice");
}
