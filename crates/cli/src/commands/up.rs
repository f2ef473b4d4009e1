//! `remora up`: parsed here, carried out by the binary.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use remora_model::quantity::Quantity;

use crate::NodeDirs;
use crate::commands::store::StoreArgs;

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
    /// Where the API server listens. On more than loopback (0.0.0.0:6443), pods reach it too, by the address of the service `kubernetes`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Where the node's own HTTP API listens, the kubelet's, such as 127.0.0.1:10250 [default: nowhere; the API server reaches it all the same].
    #[arg(long, value_name = "ADDRESS")]
    pub kubelet_listen: Option<SocketAddr>,
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
    /// Who makes cgroups: Remora itself (cgroupfs), or systemd, which then has a slice for each pod and a scope for each container.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    pub cgroup_driver: CgroupDriverArg,
    /// Where `remora-shim` and `remora-create` are [default: beside this program].
    #[arg(long, value_name = "DIR", env = "REMORA_LIBEXEC_DIR")]
    pub libexec_dir: Option<PathBuf>,
    /// Give containers that ask for no seccomp profile the default one instead of none.
    #[arg(long)]
    pub seccomp_default: bool,
    /// Run the pods whose manifests are in this folder, one a file, whatever the API says. It is followed: pods come and go with their files.
    #[arg(long, value_name = "DIR")]
    pub pod_manifest_path: Option<PathBuf>,
    /// How much memory an ephemeral container may use at most, such as 512Mi; 0: as much as its pod.
    #[arg(long, value_name = "AMOUNT", default_value = "1Gi")]
    pub debug_memory_limit: LimitArg,
    /// How many processes and threads an ephemeral container may have at most; 0: no limit.
    #[arg(long, value_name = "NUMBER", default_value = "1024")]
    pub debug_pids_limit: LimitArg,
    /// How many processes and threads a pod may have at most; 0: no limit.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    pub pod_pids_limit: LimitArg,
    /// How large a container's log may get before it is set aside and begun anew, such as 10Mi; 0: it grows without end.
    #[arg(long, value_name = "AMOUNT", default_value = "10Mi")]
    pub container_log_max_size: LimitArg,
    /// How many files of a container's log are kept, the one that is being written among them.
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    pub container_log_max_files: u32,
    /// Write an audit log of the API server's requests to this file, for root alone; `-`: to standard output.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// What the audit log tells of which request: a Policy of audit.k8s.io/v1 [default: who did what and how it ended, never a body].
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// Set the audit log's file aside before it gets longer than so many megabytes; 0: never.
    #[arg(long, value_name = "MB", default_value = "100", requires = "audit_log_path")]
    pub audit_log_maxsize: u64,
    /// How many files of the audit log that were set aside stay; 0: all.
    #[arg(long, value_name = "NUMBER", default_value = "10", requires = "audit_log_path")]
    pub audit_log_maxbackup: usize,
    /// For how many days files of the audit log that were set aside stay; 0: however old they are.
    #[arg(long, value_name = "DAYS", default_value = "0", requires = "audit_log_path")]
    pub audit_log_maxage: u32,
    /// How many requests the API server answers at one time; the others wait for their turn, each user's apart. The admin never waits.
    #[arg(long, value_name = "NUMBER", default_value = "600", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_requests_inflight: u32,
    /// Tell a starting process how it went, at this file (used by --detach).
    #[arg(long, hide = true, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What to log, as in RUST_LOG.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "REMORA_LOG")]
    pub log: String,
    /// Where the node keeps its objects. The last, since its heading in the help goes on.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupDriverArg {
    /// systemd where it runs and cgroup v2 is the only hierarchy, else cgroupfs.
    Auto,
    /// Remora: folders in the hierarchies.
    Cgroupfs,
    /// systemd: slices and scopes.
    Systemd,
}

/// A limit in Kubernetes' way of writing amounts; none for `0` and `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitArg(pub Option<i64>);

impl FromStr for LimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(LimitArg(None));
        }
        let amount = Quantity::parse(text).map_err(|_| "give an amount such as 512Mi or 1024, or none")?.value();
        if amount < 0 {
            return Err("a limit cannot be below 0".to_owned());
        }
        Ok(LimitArg(Some(amount).filter(|&amount| amount > 0)))
    }
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
    fn limits_are_amounts_or_none() {
        let check = |text: &str, expected: Result<Option<i64>, &str>| {
            let got = text.parse::<LimitArg>();
            assert_eq!(got, expected.map(LimitArg).map_err(str::to_owned), "{text}");
        };
        check("512Mi", Ok(Some(512 << 20)));
        check("1024", Ok(Some(1024)));
        check("0", Ok(None));
        check("none", Ok(None));
        check("-1", Err("a limit cannot be below 0"));
        check("much", Err("give an amount such as 512Mi or 1024, or none"));
    }

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
