//! Our certificate authority and what it has signed: the server's certificate, client certificates, and the key that signs
//! service account tokens. Made once, opened from then on.
//!
//! Not here: kubeconfig files (the CLI writes them), tokens (the API server makes them), revocation (there is none: what
//! is signed is short-lived, or its holder is root already).
//! Called by the binary at start, and by the API server for its keys.
//!
//! | file in the folder (0700) | what is in it (0600, written whole or not at all) |
//! |---|---|
//! | `ca.pem` | the authority: certificate and key |
//! | `server.pem` | the server: certificate and key; renewed when it nears its end or its names change |
//! | `kubelet.pem` | the node's own server: likewise, once it was asked for |
//! | `NAME.pem` | a client: certificate and key; renewed likewise |
//! | `service-account.pem` | the key that signs tokens |
//!
//! All keys are ECDSA P-256. A certificate and its key share a file so that no crash can part them.

mod certificate;
mod files;
mod service_account;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use service_account::{ServiceAccountKey, SignError};

use crate::body::BoxError;
use crate::tls::TlsConfig;
use certificate::{Authority, Identity, Subject, Usage};

const AUTHORITY: &str = "ca.pem";
const SERVER: &str = "server.pem";
const KUBELET: &str = "kubelet.pem";
const SERVICE_ACCOUNT: &str = "service-account.pem";

/// Why certificates could not be had. The message is for the user; the source says what the system or a library found.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The folder cannot be made, or its mode cannot be set.
    #[error("cannot prepare the folder {} for keys", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is there cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written; an older one is untouched.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it must. It is left as it is.
    #[error("{} is damaged: {what}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A certificate cannot be made, for example for a name that no certificate can hold.
    #[error("cannot make the certificate for {subject}")]
    Sign {
        /// Whose.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file name for a client certificate that is not one.
    #[error("{name:?} cannot name a client's certificate: letters, digits and dashes only, and none of ours")]
    ClientName {
        /// The name.
        name: String,
    },
    /// What is in the files is sound but TLS cannot use it.
    #[error("cannot use the certificates in {} for TLS", path.display())]
    Tls {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
}

/// The names and addresses by which clients call a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// DNS names, in lower case.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl ServerNames {
    /// What every API server is called (kubeadm's list), the node's own name, and more (names or addresses).
    pub fn api_server<'a>(node: &'a str, more: impl IntoIterator<Item = &'a str>) -> Self {
        let services =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
        Self::of(services.into_iter().chain([node]).chain(more))
    }

    /// What a node's own server is called: the node's name, and more (names or addresses).
    pub fn node<'a>(node: &'a str, more: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of([node].into_iter().chain(more))
    }

    fn of<'a>(all: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = Self::default();
        names.addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
        for name in all.into_iter().chain(["localhost"]) {
            match name.parse() {
                Ok(address) => names.addresses.insert(address),
                Err(_) => names.dns.insert(name.to_ascii_lowercase()),
            };
        }
        names
    }
}

/// A client's certificate and key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate.
    pub certificate_pem: String,
    /// The key: a secret.
    pub key_pem: String,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientIdentity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// An open folder of certificates and keys.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    authority: Authority,
    server: Identity,
    service_account: ServiceAccountKey,
}

impl Pki {
    /// Opens the folder and makes what is missing; renews the server's certificate if `now` or `names` ask for it.
    /// May be repeated: what is good stays as it is. One process at a time.
    ///
    /// # Errors
    /// Nothing that is there is ever overwritten because it cannot be understood: [`PkiError::Damaged`] says what to do.
    pub fn open_or_create(folder: &Path, names: &ServerNames, now: SystemTime) -> Result<Self, PkiError> {
        files::prepare_folder(folder)?;
        let authority = Authority::open_or_create(&folder.join(AUTHORITY), now)?;
        let server = Subject { usage: Usage::Server(names.clone()), name: "kube-apiserver".into(), organization: None };
        let server = authority.open_or_sign(&folder.join(SERVER), &server, now)?;
        let service_account = ServiceAccountKey::open_or_create(&folder.join(SERVICE_ACCOUNT))?;
        Ok(Self { folder: folder.to_owned(), authority, server, service_account })
    }

    /// The authority's certificate, as kubeconfig files and `kube-root-ca.crt` have it.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// What a [`TlsListener`](crate::TlsListener) needs: shows the server's certificate, trusts clients of our authority.
    pub fn tls(&self) -> Result<TlsConfig, PkiError> {
        let chain = vec![self.server.certificate.clone()];
        let made = TlsConfig::new(chain, self.server.key_der(), self.authority.certificate().clone());
        made.map_err(|source| PkiError::Tls { path: self.folder.clone(), source })
    }

    /// What a node's own server needs: shows the certificate of `system:node:NODE`, kept in `kubelet.pem`, for these names, and trusts clients of our
    /// authority.
    pub fn node_tls(&self, node: &str, names: ServerNames, now: SystemTime) -> Result<TlsConfig, PkiError> {
        let (name, organization) = (format!("system:node:{node}"), Some("system:nodes".to_owned()));
        let subject = Subject { usage: Usage::Server(names), name, organization };
        let identity = self.authority.open_or_sign(&self.folder.join(KUBELET), &subject, now)?;
        let key = identity.key_der();
        let made = TlsConfig::new(vec![identity.certificate], key, self.authority.certificate().clone());
        made.map_err(|source| PkiError::Tls { path: self.folder.clone(), source })
    }

    /// The certificate of a client, kept in `FILE.pem`: opened, made, or renewed if near its end or for another user.
    /// `user` becomes the common name, `group` the organization: `kubernetes-admin` and `system:masters` for the admin.
    pub fn client(&self, file: &str, user: &str, group: &str, now: SystemTime) -> Result<ClientIdentity, PkiError> {
        let name = format!("{file}.pem");
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if file.is_empty()
            || !file.chars().all(allowed)
            || [AUTHORITY, SERVER, KUBELET, SERVICE_ACCOUNT].contains(&&*name)
        {
            return Err(PkiError::ClientName { name: file.to_owned() });
        }
        let subject = Subject { usage: Usage::Client, name: user.to_owned(), organization: Some(group.to_owned()) };
        let client = self.authority.open_or_sign(&self.folder.join(name), &subject, now)?;
        Ok(ClientIdentity { certificate_pem: client.certificate_pem(), key_pem: client.key_pem() })
    }

    /// The key that signs service account tokens.
    pub fn service_account_key(&self) -> &ServiceAccountKey {
        &self.service_account
    }
}
