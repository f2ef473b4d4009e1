//! `remora up`: parsed here, carried out by the binary.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::NodeDirs;

/// Arguments of `remora up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub dirs: NodeDirs,
    /// Return as soon as the node is ready; it goes on in the background.
    #[arg(long)]
    pub detach: bool,
    /// Add the node's context to ~/.kube/config (of the user behind sudo) and make it the current one.
    #[arg(long)]
    pub merge: bool,
    /// Where the API server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// The node's name [default: this machine's].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The addresses that pods get [default: a private subnet that overlaps no route of this machine].
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Ask this registry first for images of HOST, such as docker.io=http://127.0.0.1:5000. May be repeated.
    #[arg(long = "mirror", value_name = "HOST=URL")]
    pub mirrors: Vec<MirrorArg>,
    /// What makes containers: `remora-create` (libcontainer) or an OCI runtime such as runc.
    #[arg(long, value_name = "PROGRAM")]
    pub oci_runtime: Option<PathBuf>,
    /// Where `remora-shim` and `remora-create` are [default: beside this program].
    #[arg(long, value_name = "DIR", env = "REMORA_LIBEXEC_DIR")]
    pub libexec_dir: Option<PathBuf>,
    /// Give containers that ask for no seccomp profile the default one instead of none.
    #[arg(long)]
    pub seccomp_default: bool,
    /// Tell a starting process how it went, at this file (used by --detach).
    #[arg(long, hide = true, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What to log, as in RUST_LOG.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "REMORA_LOG")]
    pub log: String,
}

/// A registry's mirror: `docker.io=http://127.0.0.1:5000`; `*=URL` for every registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorArg {
    /// The registry as it is named in image references.
    pub registry: String,
    /// Where to ask instead.
    pub url: String,
}

impl FromStr for MirrorArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (registry, url) = text.split_once('=').ok_or("give HOST=URL, such as docker.io=http://127.0.0.1:5000")?;
        if registry.is_empty() || !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err("give HOST=URL with a URL of http:// or https://".to_owned());
        }
        Ok(MirrorArg { registry: registry.to_owned(), url: url.trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_a_host_and_a_url() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let got = text.parse::<MirrorArg>().ok();
            let expected = expected.map(|(r, u)| MirrorArg { registry: r.to_owned(), url: u.to_owned() });
            assert_eq!(got, expected, "{text}");
        };
        check("docker.io=http://127.0.0.1:5000/", Some(("docker.io", "http://127.0.0.1:5000")));
        check("*=https://m", Some(("*", "https://m")));
        check("docker.io", None);
        check("docker.io=ftp://x", None);
        check("=http://x", None);
    }
}
