//! Where an etcd is and how one gets in. Data and its syntax only; [`crate::connection`] reads the files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

/// etcd's port for clients.
const PORT: u16 = 2379;
/// Where our keys are if the address names no prefix: not `/registry`, where a kube-apiserver on the same etcd has its own.
const PREFIX: &str = "/remora";

/// How to reach an etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Its members, and the keys that are ours.
    pub address: Address,
    /// TLS; plain text if not set.
    pub tls: Option<TlsFiles>,
    /// Who to be, where etcd's authentication is on. (A client certificate can be that too, by its common name.)
    pub login: Option<Login>,
}

/// `etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The members to try, in this order; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What all our keys begin with in etcd; it ends with a slash, so that no other prefix of this form lies within.
    pub root: Bytes,
}

/// One member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
}

/// PEM files, as kube-apiserver's `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`. They are read anew for each connection, so that
/// certificates may be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have signed the server's certificate.
    pub authority: PathBuf,
    /// Our certificate (with its chain) and its key, for an etcd that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// A file that holds the password and nothing else; a line break at its end does not count.
    pub password_file: PathBuf,
}

/// Why a text is no address of an etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} names no etcd: {why}; give etcd://HOST:PORT[,HOST:PORT…][/PREFIX]")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = |why| AddressError { text: text.to_owned(), why };
        let rest = text.strip_prefix("etcd://").ok_or_else(|| wrong("it does not begin with etcd://"))?;
        if rest.contains('@') {
            return Err(wrong(
                "a user and a password do not belong into an address (--etcd-user, --etcd-password-file)",
            ));
        }
        let (hosts, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<_, _>>().map_err(wrong)?;
        let prefix = Some(prefix.trim_end_matches('/')).filter(|prefix| !prefix.is_empty()).unwrap_or(PREFIX);
        Ok(Address { endpoints, root: format!("{prefix}/").into() })
    }
}

fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) => (host, port),
        Some(None) => return Err("a bracket is not closed"),
        None => text.split_at(text.rfind(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| "a port is no number up to 65535")?,
        None if port.is_empty() => PORT,
        None => return Err("something other than a port follows a bracket"),
    };
    if host.is_empty() || (host.contains(':') && !text.starts_with('[')) {
        return Err("a host is missing, or is an IPv6 address without brackets");
    }
    Ok(Endpoint { host: host.to_owned(), port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_members_and_a_prefix() {
        let check = |text: &str, expected: Result<(&[&str], &str), &str>| match (text.parse::<Address>(), expected) {
            (Ok(address), Ok((endpoints, root))) => {
                let found: Vec<String> = address.endpoints.iter().map(ToString::to_string).collect();
                assert_eq!(found, endpoints);
                assert_eq!(address.root, root);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} lacks {part:?}"),
            (result, expected) => panic!("{text}: expected {expected:?}, got {result:?}"),
        };
        check("etcd://a", Ok((&["a:2379"], "/remora/")));
        check("etcd://a:1,b:2/", Ok((&["a:1", "b:2"], "/remora/")));
        check("etcd://10.0.0.1:2379/x/y/", Ok((&["10.0.0.1:2379"], "/x/y/")));
        check("etcd://[::1]:7,[fd00::2]", Ok((&["[::1]:7", "[fd00::2]:2379"], "/remora/")));
        check("http://a", Err("does not begin with etcd://"));
        check("etcd://", Err("a host is missing"));
        check("etcd://a,,b", Err("a host is missing"));
        check("etcd://a:x", Err("no number"));
        check("etcd://a:70000", Err("no number"));
        check("etcd://::1", Err("without brackets"));
        check("etcd://[::1", Err("not closed"));
        check("etcd://[::1]x", Err("follows a bracket"));
        check("etcd://root:secret@a", Err("do not belong into an address"));
    }
}
