//! The folder of certificates over time: what stays, what is renewed, what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use remora_http::pki::{Pki, PkiError, ServerNames};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Folder {
    _root: TempDir,
    path: PathBuf,
    now: SystemTime,
}

impl Folder {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        Self { path: root.path().join("state/pki"), _root: root, now: SystemTime::now() }
    }

    fn open(&self) -> Result<Pki, PkiError> {
        self.open_as("node-1", 0)
    }

    /// Opened so many days later, for a node of this name.
    fn open_as(&self, node: &str, days: u32) -> Result<Pki, PkiError> {
        Pki::open_or_create(&self.path, &ServerNames::api_server(node, ["10.0.0.1"]), self.now + DAY * days)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_may_read_keys() {
    let folder = Folder::new();
    let pki = folder.open().unwrap();
    pki.client("admin", "kubernetes-admin", "system:masters", folder.now).unwrap();
    assert_eq!(mode(&folder.path), 0o700);
    let mut files: Vec<_> = fs::read_dir(&folder.path).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["admin.pem", "ca.pem", "server.pem", "service-account.pem"]);
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn rights_that_others_were_given_are_taken_away() {
    let folder = Folder::new();
    folder.open().unwrap();
    let key = folder.path.join("ca.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o755)).unwrap();
    folder.open().unwrap();
    assert_eq!((mode(&key), mode(&folder.path)), (0o600, 0o700));
}

#[test]
fn what_is_good_stays_and_what_is_not_is_renewed() {
    let check = |node: &str, days: u32, renewed: &[&str]| {
        let folder = Folder::new();
        let sign = |pki: &Pki, days| pki.client("admin", "me", "us", folder.now + DAY * days).unwrap();
        let files = ["ca.pem", "server.pem", "admin.pem", "service-account.pem"];
        sign(&folder.open().unwrap(), 0);
        let before = files.map(|file| folder.read(file));
        let authority = folder.open().unwrap().authority_pem().to_owned();
        let again = folder.open_as(node, days).unwrap();
        sign(&again, days);
        let changed = files.iter().zip(before).filter(|(file, before)| folder.read(file) != *before);
        assert_eq!(changed.map(|(file, _)| *file).collect::<Vec<_>>(), renewed, "{node} after {days} days");
        assert_eq!(again.authority_pem() == authority, !renewed.contains(&"ca.pem"));
        again.tls().unwrap();
    };
    check("node-1", 0, &[]);
    check("NODE-1", 300, &[]);
    check("node-1", 340, &["server.pem", "admin.pem"]);
    check("node-1", 4000, &["ca.pem", "server.pem", "admin.pem"]);
    check("node-2", 0, &["server.pem"]);
    check("192.168.1.1", 0, &["server.pem"]);
}

#[test]
fn a_client_is_renewed_for_another_user_and_under_another_authority() {
    let folder = Folder::new();
    let pki = folder.open().unwrap();
    let first = pki.client("admin", "me", "us", folder.now).unwrap();
    assert!(pki.client("admin", "me", "us", folder.now).unwrap() == first);
    let other = pki.client("admin", "me", "them", folder.now).unwrap();
    assert!(other != first);
    fs::remove_file(folder.path.join("ca.pem")).unwrap();
    assert!(folder.open().unwrap().client("admin", "me", "them", folder.now).unwrap() != other);
}

#[test]
fn a_nodes_own_server_keeps_its_certificate_until_its_names_change() {
    let folder = Folder::new();
    let pki = folder.open().unwrap();
    let made = |address: &str, days: u32| {
        pki.node_tls("node-1", ServerNames::node("node-1", [address]), folder.now + DAY * days).unwrap();
        folder.read("kubelet.pem")
    };
    let first = made("10.0.0.1", 0);
    assert_eq!(mode(&folder.path.join("kubelet.pem")), 0o600);
    assert_eq!(made("10.0.0.1", 300), first);
    let moved = made("10.0.0.2", 0);
    assert_ne!(moved, first);
    assert_ne!(made("10.0.0.2", 340), moved);
}

#[test]
fn an_authority_renewed_near_its_end_keeps_its_key() {
    let folder = Folder::new();
    folder.open().unwrap();
    let key = |text: &str| text[text.find("-----BEGIN PRIVATE KEY").unwrap()..].to_owned();
    let before = key(&folder.read("ca.pem"));
    folder.open_as("node-1", 4000).unwrap();
    assert_eq!(key(&folder.read("ca.pem")), before);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let check = |file: &str, damage: &dyn Fn(String) -> String, expected: &str| {
        let folder = Folder::new();
        folder.open().unwrap().client("admin", "me", "us", folder.now).unwrap();
        let damaged = damage(folder.read(file));
        fs::write(folder.path.join(file), &damaged).unwrap();
        let opened = folder.open().and_then(|pki| pki.client("admin", "me", "us", folder.now));
        let error = opened.unwrap_err().to_string().replace(folder.path.to_str().unwrap(), "PKI");
        assert_eq!(error, expected);
        assert_eq!(folder.read(file), damaged);
    };
    let cut = |text: String| text[..100].to_owned();
    let key_only = |text: String| text[text.find("-----BEGIN PRIVATE KEY").unwrap()..].to_owned();
    let authority = "restore it from a copy, or remove it to start with a new authority (every kubeconfig must then be written anew)";
    let leaf = "remove it, and it is made anew";
    let tokens = "restore it from a copy, or remove it to have a new one made (tokens that pods hold are then no longer accepted)";
    check("ca.pem", &cut, &format!("PKI/ca.pem is damaged: no whole certificate in it; {authority}"));
    check("ca.pem", &|_| String::new(), &format!("PKI/ca.pem is damaged: no whole certificate in it; {authority}"));
    check("server.pem", &key_only, &format!("PKI/server.pem is damaged: no whole certificate in it; {leaf}"));
    check("admin.pem", &cut, &format!("PKI/admin.pem is damaged: no whole certificate in it; {leaf}"));
    let text = format!("PKI/service-account.pem is damaged: no whole key in it; {tokens}");
    check("service-account.pem", &|_| "nonsense".into(), &text);
    let other = Folder::new();
    other.open().unwrap();
    let strange = |text: String| {
        text[..text.find("-----BEGIN PRIVATE KEY").unwrap()].to_owned() + &key_only(other.read("ca.pem"))
    };
    let text = format!("PKI/server.pem is damaged: certificate and key do not belong together; {leaf}");
    check("server.pem", &strange, &text);
    let leaf_as_authority = |_| other.read("server.pem");
    let text = format!("PKI/ca.pem is damaged: the certificate is not an authority's; {authority}");
    check("ca.pem", &leaf_as_authority, &text);
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    let folder = Folder::new();
    assert!(matches!(folder.open_as("knöten", 0), Err(PkiError::Sign { .. })));
    let pki = folder.open().unwrap();
    for name in ["", "../admin", "ca", "server", "kubelet", "service-account", "a.b"] {
        let refused = pki.client(name, "me", "us", folder.now);
        assert!(matches!(refused, Err(PkiError::ClientName { .. })), "{name}");
    }
}

#[test]
fn tokens_signed_before_a_restart_are_good_after_it() {
    let folder = Folder::new();
    let signature = folder.open().unwrap().service_account_key().sign(b"header.payload").unwrap();
    let pki = folder.open().unwrap();
    let key = pki.service_account_key();
    assert_eq!(signature.len(), 64);
    assert!(key.verify(b"header.payload", &signature));
    assert!(!key.verify(b"header.payloae", &signature));
    assert!(!key.verify(b"header.payload", &signature[..63]));
    let (x, y) = key.coordinates();
    assert_eq!((x.len(), y.len(), key.digest().len()), (32, 32, 32));
    assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(!Folder::new().open().unwrap().service_account_key().verify(b"header.payload", &signature));
}
