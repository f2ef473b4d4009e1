//! What only a server brings: others who write, connections that break, TLS, users. Needs Debian's etcd.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use remora_store::snapshot::{Existing, Header, RestoreError, SnapshotError, largest_piece, restore};
use remora_store::{
    Engine, Error, Interval, KeyValue, LogRequest, RangeRequest, Revision, Store, Txn, TxnOutcome, Watch, WatchError,
    WatchItem, WatchRequest, watched,
};
use remora_store_etcd::{EtcdConfig, EtcdEngine, Login, TlsFiles};
use remora_testkit::{Etcd, EtcdTls, free_port};
use tokio::task::JoinHandle;

fn config(endpoints: &str) -> EtcdConfig {
    EtcdConfig { address: format!("etcd://{endpoints}").parse().expect("an address"), tls: None, login: None }
}

async fn open(endpoints: &str) -> Arc<EtcdEngine> {
    Arc::new(EtcdEngine::open(config(endpoints)).await.expect("etcd answers"))
}

async fn put(engine: &dyn Engine, key: &str, value: &str) -> Revision {
    match engine.txn(Txn::default().put(key.to_owned(), value.to_owned())).await.expect("txn") {
        TxnOutcome::Committed { revision } => revision,
        TxnOutcome::Conflict { .. } => unreachable!("nothing was compared"),
    }
}

async fn keys(engine: &dyn Engine) -> Vec<String> {
    let found = engine.range(RangeRequest::new(Interval::all())).await.expect("range");
    found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

/// The next event as `key`, or why there is none.
async fn next(watch: &mut Watch) -> Result<String, WatchError> {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the watch goes on");
        if let WatchItem::Event(event) = item.expect("the watch says why it ends")? {
            return Ok(String::from_utf8_lossy(event.key()).into_owned());
        }
    }
}

/// A way to etcd that can be cut.
struct Way {
    address: SocketAddr,
    passing: JoinHandle<()>,
    to: String,
}

impl Way {
    async fn to(etcd: &Etcd) -> Way {
        let address = (Ipv4Addr::LOCALHOST, free_port()).into();
        let to = etcd.endpoint();
        Way { address, passing: pass(address, to.clone()).await, to }
    }

    /// Breaks what is open, and lets nobody in.
    async fn cut(&mut self) {
        self.passing.abort();
        let _aborted = (&mut self.passing).await;
    }

    async fn mend(&mut self) {
        self.passing = pass(self.address, self.to.clone()).await;
    }
}

async fn pass(address: SocketAddr, to: String) -> JoinHandle<()> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("the port is ours");
    let listener = socket.listen(16).expect("listening");
    tokio::spawn(async move {
        // Dropped with this task, and with it all connections.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let to = to.clone();
            connections.spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_one_writes_is_seen_and_compared() {
    let Some(etcd) = Etcd::start() else { return };
    let (here, there) = (open(&etcd.endpoint()).await, open(&etcd.endpoint()).await);
    let store = watched(here.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::prefix("k/"))).await.expect("watch");
    let first = put(&*there, "k/1", "theirs").await;
    assert_eq!(next(&mut watch).await.expect("an event"), "k/1");
    assert_eq!(store.get(b"k/1").await.expect("get").expect("the key").value, "theirs");

    let (ours, theirs) =
        tokio::join!(here.txn(Txn::update("k/1", "here", first)), there.txn(Txn::update("k/1", "there", first)),);
    let won = [ours, theirs].into_iter().filter(|one| matches!(one, Ok(TxnOutcome::Committed { .. }))).count();
    assert_eq!(won, 1, "one of two who have seen the same wins");
    assert_eq!(next(&mut watch).await.expect("an event"), "k/1");
    assert!(watch.next().now_or_never().is_none(), "and nothing else has happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_do_not_see_each_other() {
    let Some(etcd) = Etcd::start() else { return };
    let at = |prefix| format!("{}{prefix}", etcd.endpoint());
    let (short, long, usual) = (open(&at("/a")).await, open(&at("/ab")).await, open(&at("")).await);
    let store = watched(short.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    put(&*long, "long", "").await;
    put(&*usual, "usual", "").await;
    put(&*short, "short", "").await;
    assert_eq!(next(&mut watch).await.expect("an event"), "short");
    assert_eq!(keys(&*short).await, ["short"]);
    assert_eq!(keys(&*long).await, ["long"]);
    assert_eq!(keys(&*usual).await, ["usual"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_went_away_is_named_and_found_again() {
    let Some(mut etcd) = Etcd::start() else { return };
    let engine = open(&etcd.endpoint()).await;
    let store = watched(engine.clone()).await.expect("watched");
    put(&*engine, "k/1", "").await;
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    etcd.kill();

    let begun = Instant::now();
    let error = engine.txn(Txn::create("k/2", "lost")).await.expect_err("nobody is there");
    assert!(begun.elapsed() < Duration::from_secs(11), "a wait is bounded, and took {:?}", begun.elapsed());
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(&etcd.endpoint()), "{error}");

    let endpoint = etcd.endpoint();
    let etcd = tokio::task::spawn_blocking(move || {
        etcd.resume();
        etcd
    });
    let _etcd = etcd.await.expect("etcd resumes");
    let again = tokio::time::timeout(Duration::from_secs(20), async {
        // A request waits three seconds for a link; the link's pauses are longer by now.
        while engine.revision().await.is_err() {}
    });
    again.await.unwrap_or_else(|_| panic!("etcd at {endpoint} is found again"));
    put(&*engine, "k/3", "").await;
    assert_eq!(next(&mut watch).await.expect("the same watch goes on"), "k/3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_misses_nothing_while_the_way_is_cut() {
    let Some(etcd) = Etcd::start() else { return };
    let mut way = Way::to(&etcd).await;
    let (here, there) = (open(&way.address.to_string()).await, open(&etcd.endpoint()).await);
    let store = watched(here.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    for round in 0..3 {
        way.cut().await;
        put(&*there, &format!("k/{round}/a"), "").await;
        put(&*there, &format!("k/{round}/b"), "").await;
        way.mend().await;
        assert_eq!(next(&mut watch).await.expect("an event"), format!("k/{round}/a"));
        assert_eq!(next(&mut watch).await.expect("an event"), format!("k/{round}/b"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_was_compacted_while_the_way_was_cut_ends_watches() {
    let Some(etcd) = Etcd::start() else { return };
    let mut way = Way::to(&etcd).await;
    let (here, there) = (open(&way.address.to_string()).await, open(&etcd.endpoint()).await);
    let store = watched(here.clone()).await.expect("watched");
    let before = put(&*here, "k", "1").await;
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    way.cut().await;
    put(&*there, "k", "2").await;
    let now = put(&*there, "k", "3").await;
    there.compact(now).await.expect("compact");
    way.mend().await;
    let error = next(&mut watch).await.expect_err("what happened cannot be told");
    assert!(matches!(error, WatchError::Compacted { compacted, .. } if compacted == now), "{error:?}");
    let refused = store.watch(WatchRequest::new(Interval::all()).after(before)).await.err();
    assert!(matches!(refused, Some(Error::Compacted { .. })), "{refused:?}");

    let mut again = store.watch(WatchRequest::new(Interval::all()).after(now)).await.expect("watch");
    put(&*here, "k", "4").await;
    assert_eq!(next(&mut again).await.expect("an event"), "k");
}

/// The first change that was not heard of can be told, but not what was there before it; and others have written since: what is missed ends at a
/// revision that is no change of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missed_is_refused_at_once_whoever_wrote_last() {
    let Some(etcd) = Etcd::start() else { return };
    let mut way = Way::to(&etcd).await;
    let (here, there) = (open(&way.address.to_string()).await, open(&etcd.endpoint()).await);
    let theirs = open(&format!("{}/theirs", etcd.endpoint())).await;
    let store = watched(here.clone()).await.expect("watched");
    put(&*here, "k", "1").await;
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    way.cut().await;
    let unheard = put(&*there, "k", "2").await;
    there.compact(unheard).await.expect("compact");
    let mut last = unheard;
    for _ in 0..3 {
        last = put(&*theirs, "k", "").await;
    }
    way.mend().await;
    let error = next(&mut watch).await.expect_err("what was there before is not known");
    assert!(matches!(error, WatchError::Compacted { compacted, .. } if compacted == last), "{error:?}");

    let begun = Instant::now();
    let refused = store.watch(WatchRequest::new(Interval::all()).after(unheard)).await.err();
    assert!(matches!(refused, Some(Error::Compacted { compacted, .. }) if compacted == last), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    let mut again = store.watch(WatchRequest::new(Interval::all()).after(last)).await.expect("watch");
    let now = put(&*here, "k", "3").await;
    assert_eq!(next(&mut again).await.expect("an event"), "k");
    let page = here.log(LogRequest { interval: Interval::all(), after: last, limit: 9 }).await.expect("a page");
    assert_eq!(page.events.iter().map(|event| event.revision()).collect::<Vec<_>>(), [now]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_member_takes_over() {
    let Some(etcd) = Etcd::start() else { return };
    let mut way = Way::to(&etcd).await;
    let engine = open(&format!("{},{}", way.address, etcd.endpoint())).await;
    let store = watched(engine.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    put(&*engine, "k/1", "").await;
    way.cut().await;
    assert_eq!(keys(&*engine).await, ["k/1"], "a read finds the other member by itself");
    put(&*engine, "k/2", "").await;
    assert_eq!(next(&mut watch).await.expect("an event"), "k/1");
    assert_eq!(next(&mut watch).await.expect("an event"), "k/2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_start_is_an_error_that_names_all_members() {
    let begun = Instant::now();
    let error = EtcdEngine::open(config("127.0.0.1:1,127.0.0.1:2")).await.err().expect("nobody is there");
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    let text = error.to_string();
    for part in ["etcd at 127.0.0.1:1, 127.0.0.1:2", "127.0.0.1:1: Connection refused", "127.0.0.1:2: Connection"] {
        assert!(text.contains(part), "{text} lacks {part:?}");
    }
}

/// An authority in a folder, which signs for `127.0.0.1` and for a client.
fn authority(folder: &Path) -> io::Result<(EtcdTls, TlsFiles)> {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = file("ca.pem", params.self_signed(&key).expect("a certificate").pem())?;
    let issuer = Issuer::new(params, key);
    let sign = |name: &str, purpose| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![purpose];
        let pem = params.signed_by(&key, &issuer).expect("a certificate").pem();
        Ok::<_, io::Error>((file(&format!("{name}.pem"), pem)?, file(&format!("{name}.key"), key.serialize_pem())?))
    };
    let (certificate, key) = sign("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)?;
    let identity = Some(sign("remora", ExtendedKeyUsagePurpose::ClientAuth)?);
    Ok((EtcdTls { authority: ca.clone(), certificate, key }, TlsFiles { authority: ca, identity }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_proves_both_sides() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = authority(folder.path()).expect("certificates");
    let Some(etcd) = Etcd::start_with_tls(server) else { return };
    let with = |tls: Option<TlsFiles>| EtcdConfig { tls, ..config(&etcd.endpoint()) };
    let engine = EtcdEngine::open(with(Some(client.clone()))).await.expect("both sides are known");
    put(&engine, "k", "v").await;

    let other = tempfile::tempdir().expect("a folder");
    let (_, stranger) = authority(other.path()).expect("certificates");
    let refused = async |tls: Option<TlsFiles>, part: &str| {
        let error = EtcdEngine::open(with(tls)).await.err().expect("a refusal").to_string();
        assert!(error.contains(part), "{error} lacks {part:?}");
    };
    tokio::join!(
        refused(Some(TlsFiles { identity: stranger.identity.clone(), ..client.clone() }), "127.0.0.1"),
        refused(Some(TlsFiles { identity: None, ..client.clone() }), "127.0.0.1"),
        refused(Some(TlsFiles { authority: stranger.authority, ..client.clone() }), "TLS: invalid peer certificate"),
        refused(
            Some(TlsFiles { authority: "/nowhere/ca.pem".into(), ..client.clone() }),
            "cannot read /nowhere/ca.pem"
        ),
        refused(None, "127.0.0.1"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_logs_in_again_when_etcd_has_forgotten() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoint = etcd.endpoint();
    let etcdctl = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/etcdctl");
        let output = command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]).args(arguments).output();
        let output = output.expect("etcdctl starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    etcdctl(&["user", "add", "root:rootpw"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    etcdctl(&["role", "add", "remora"]);
    etcdctl(&["role", "grant-permission", "remora", "--prefix=true", "readwrite", "/remora/"]);
    etcdctl(&["user", "add", "remora:s3cret"]);
    etcdctl(&["user", "grant-role", "remora", "remora"]);
    etcdctl(&["auth", "enable"]);

    let folder = tempfile::tempdir().expect("a folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "s3cret\n").expect("a file");
    let login = Login { user: "remora".to_owned(), password_file: password_file.clone() };
    let with = |login: Option<Login>| EtcdConfig { login, ..config(&endpoint) };
    let engine = EtcdEngine::open(with(Some(login.clone()))).await.expect("the password is right");
    put(&engine, "k", "1").await;

    // No token outlives this, and connections do: the request itself finds out.
    etcdctl(&["--user", "root:rootpw", "auth", "disable"]);
    etcdctl(&["auth", "enable"]);
    put(&engine, "k", "1").await;

    // Tokens are in etcd's memory only.
    let _etcd = tokio::task::spawn_blocking(move || {
        etcd.kill();
        etcd.resume();
        etcd
    })
    .await
    .expect("etcd resumes");
    let again = tokio::time::timeout(Duration::from_secs(20), async { while engine.revision().await.is_err() {} });
    again.await.expect("it logs in again");
    put(&engine, "k", "2").await;

    std::fs::write(&password_file, "wrong").expect("a file");
    let refused = EtcdEngine::open(with(Some(login))).await.err().expect("a refusal").to_string();
    assert!(refused.contains("as user remora: etcdserver: authentication failed"), "{refused}");
    let refused = EtcdEngine::open(with(None)).await.err().expect("a refusal").to_string();
    assert!(refused.contains("etcdserver: user name is empty"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_bears_the_loss_of_one_member_and_says_so_when_it_has_lost_two() {
    let Some(mut members) = Etcd::start_three() else { return };
    let engine = open(&members.each_ref().map(Etcd::endpoint).join(",")).await;
    let store = watched(engine.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    put(&*engine, "k/1", "").await;

    // The one that we talk to; it may have been the leader, so that writes fail until there is another.
    members[0].kill();
    let again = async {
        while !matches!(engine.txn(Txn::create("k/2", "")).await, Ok(TxnOutcome::Committed { .. })) {
            // One that was cut off may have happened.
            if engine.get(b"k/2").await.is_ok_and(|found| found.is_some()) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("another member takes over");
    assert_eq!(next(&mut watch).await.expect("an event"), "k/1");
    assert_eq!(next(&mut watch).await.expect("an event"), "k/2");

    // One of three decides nothing, and says so.
    members[1].kill();
    let begun = Instant::now();
    let error = engine.txn(Txn::create("k/3", "")).await.expect_err("there is no majority");
    assert!(begun.elapsed() < Duration::from_secs(12), "a wait is bounded, and took {:?}", begun.elapsed());
    assert!(matches!(error, Error::Unavailable { .. } | Error::TimedOut { .. }), "{error:?}");
    let error = engine.get(b"k/1").await.expect_err("what is read must not be old");
    assert!(matches!(error, Error::Unavailable { .. } | Error::TimedOut { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_raises_the_revision_and_one_that_is_not_finished_is_refused() {
    let Some(etcd) = Etcd::start() else { return };
    let header = Header { revision: Revision(20_000) };
    let entry = |key: &'static str| {
        let revision = Revision(7);
        Ok(KeyValue {
            key: key.into(),
            value: key.into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
        })
    };
    let engine = open(&etcd.endpoint()).await;
    let broken = [entry("a"), Err(SnapshotError::Damaged("cut".to_owned()))].into_iter();
    let begun = Instant::now();
    let error =
        restore(&*engine, header, Txn::default(), broken, Existing::Refuse).await.expect_err("the snapshot is cut");
    println!("20000 steps took {:?}", begun.elapsed());
    assert!(matches!(error, RestoreError::Snapshot(_)), "{error:?}");

    let refused = EtcdEngine::open(config(&etcd.endpoint())).await.err().expect("half of it is there").to_string();
    assert!(refused.contains("a restore into it was not finished"), "{refused}");
    let engine = EtcdEngine::open_to_restore(config(&etcd.endpoint())).await.expect("to do it again");
    let entries = || [entry("a"), entry("b")].into_iter();
    let refused =
        restore(&engine, header, largest_piece(entries()).expect("a piece"), entries(), Existing::Refuse).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty)), "{refused:?}");
    let restored = restore(&engine, header, largest_piece(entries()).expect("a piece"), entries(), Existing::Replace)
        .await
        .expect("all of it");
    assert_eq!(restored.entries, 2);
    let engine = open(&etcd.endpoint()).await;
    assert_eq!(keys(&*engine).await, ["a", "b"]);
    let a = engine.get(b"a").await.expect("get").expect("the key");
    assert!(a.mod_revision > header.revision, "{a:?} goes back");
}

/// The prefix of each key counts, too: so there is too much for this etcd and yet no more than a transaction may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_does_not_fit_changes_nothing() {
    let Some(etcd) = Etcd::start() else { return };
    // More than etcd takes (2 MiB), and more than gRPC lets it see (2.5 MiB).
    for prefix in [10_000, 20_000] {
        let endpoint = format!("{}/{}", etcd.endpoint(), "p".repeat(prefix));
        let engine = EtcdEngine::open_to_restore(config(&endpoint)).await.expect("etcd answers");
        put(&engine, "kept", "").await;
        let before = engine.revision().await.expect("the revision");
        let revision = Revision(7);
        let entries = || {
            (0..128).map(|number| {
                let (key, value) = (format!("k/{number:03}").into(), vec![b'v'; 8000].into());
                Ok(KeyValue { key, value, create_revision: revision, mod_revision: revision, version: 1 })
            })
        };
        let largest = largest_piece(entries()).expect("a piece");
        let refused = restore(&engine, Header { revision }, largest, entries(), Existing::Replace).await;
        assert!(matches!(refused, Err(RestoreError::TooLarge { .. })), "{refused:?}");
        assert_eq!(
            (keys(&engine).await, engine.revision().await.expect("the revision")),
            (vec!["kept".into()], before)
        );
    }
}

/// Nothing in etcd says where our history ends if others have written last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_engine_tells_the_history_before_it_whoever_wrote_last() {
    let Some(etcd) = Etcd::start() else { return };
    let (ours, theirs) = (open(&etcd.endpoint()).await, open(&format!("{}/theirs", etcd.endpoint())).await);
    put(&*ours, "k/1", "").await;
    put(&*ours, "k/2", "").await;
    ours.txn(Txn::default().delete("k/2")).await.expect("txn");
    for _ in 0..3 {
        put(&*theirs, "k", "").await;
    }
    for last in ["k/3", "k/4"] {
        let store = watched(open(&etcd.endpoint()).await).await.expect("watched");
        let request = WatchRequest::new(Interval::all()).after(Revision::EMPTY);
        let mut watch = store.watch(request).await.expect("watch");
        put(&*ours, last, "").await;
        put(&*theirs, "k", "").await;
        let mut told = Vec::new();
        while told.last().is_none_or(|key| key != last) {
            told.push(next(&mut watch).await.expect("an event"));
        }
        assert_eq!(
            told,
            [&["k/1", "k/2", "k/2", "k/3", "k/4"][..3], &["k/3"], &["k/4"][..usize::from(last == "k/4")]].concat()
        );
    }
}
