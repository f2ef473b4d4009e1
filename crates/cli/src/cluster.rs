//! From a kubeconfig to a client, looking where kubectl looks.

use std::path::{Path, PathBuf};

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, core::NamespaceResourceScope};

use crate::{ClusterArgs, CommandError};

/// The kubeconfig that `remora up` writes, read when the user has no other.
pub(crate) const NODE_KUBECONFIG: &str = "/var/lib/remora/kubeconfig";

/// A client and the namespace that the user means.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig and makes a client; no request is sent yet.
    pub(crate) async fn connect(args: &ClusterArgs) -> Result<Cluster, CommandError> {
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let found = find(args.kubeconfig.as_deref(), std::env::var_os("KUBECONFIG").is_some(), home().as_deref());
        let loaded = match found {
            Source::File(path) => {
                let file = Kubeconfig::read_from(&path)
                    .map_err(|error| CommandError::caused(format_args!("reading {}", path.display()), &error))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            Source::Standard => Config::from_kubeconfig(&options).await,
        };
        let config = loaded.map_err(|error| {
            CommandError::caused("reading the kubeconfig", &error)
                .hint("`sudo remora up` starts a node and writes one; or name one with --kubeconfig")
        })?;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| CommandError::caused("making a client", &error))?;
        Ok(Cluster { client, namespace })
    }

    /// Objects of a kind in the user's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    /// `$KUBECONFIG` (a list of files) or `~/.kube/config`.
    Standard,
}

/// Decides which file to read. The node's own is the last resort.
fn find(argument: Option<&Path>, variable_set: bool, home: Option<&Path>) -> Source {
    if let Some(path) = argument {
        return Source::File(path.to_owned());
    }
    let in_home = home.is_some_and(|home| home.join(".kube/config").exists());
    let node = Path::new(NODE_KUBECONFIG);
    if !variable_set && !in_home && node.exists() { Source::File(node.to_owned()) } else { Source::Standard }
}

pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_wins_over_everything() {
        let source = find(Some(Path::new("/x")), true, None);
        assert_eq!(source, Source::File("/x".into()));
    }

    #[test]
    fn the_variable_wins_over_the_node() {
        assert_eq!(find(None, true, None), Source::Standard);
    }
}
