//! From a kubeconfig to a client, looking where kubectl looks.

use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};
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
        let mut config = loaded.map_err(|error| {
            CommandError::caused("reading the kubeconfig", &error)
                .hint("`sudo remora up` starts a node and writes one; or name one with --kubeconfig")
        })?;
        impersonate(&mut config.auth_info, args)?;
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

/// Words on the command line come before the kubeconfig's.
fn impersonate(auth: &mut AuthInfo, args: &ClusterArgs) -> Result<(), CommandError> {
    if let Some(user) = &args.as_user {
        auth.impersonate = Some(user.clone());
        auth.impersonate_groups = None;
        auth.impersonate_uid = None;
        auth.impersonate_user_extra = None;
    }
    if !args.as_group.is_empty() {
        // A group without a user is refused by every API server, with less to learn from.
        if auth.impersonate.is_none() {
            return Err(CommandError::usage("--as-group needs --as: name the user who is in the group"));
        }
        auth.impersonate_groups = Some(args.as_group.clone());
    }
    Ok(())
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
    fn a_group_needs_a_user_and_a_user_on_the_command_line_brings_no_group_of_the_file() {
        let check = |file: (Option<&str>, &[&str]),
                     line: (Option<&str>, &[&str]),
                     expected: Option<(&str, &[&str])>| {
            let owned = |groups: &[&str]| groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>();
            let mut auth = AuthInfo {
                impersonate: file.0.map(str::to_owned),
                impersonate_groups: Some(owned(file.1)).filter(|groups| !groups.is_empty()),
                ..AuthInfo::default()
            };
            let args =
                ClusterArgs { as_user: line.0.map(str::to_owned), as_group: owned(line.1), ..ClusterArgs::default() };
            let done = impersonate(&mut auth, &args).is_ok();
            let got = (auth.impersonate.unwrap_or_default(), auth.impersonate_groups.unwrap_or_default());
            assert_eq!(
                done.then_some(got),
                expected.map(|(user, groups)| (user.to_owned(), owned(groups))),
                "{line:?}"
            );
        };
        check((None, &[]), (Some("jane"), &["dev", "ops"]), Some(("jane", &["dev", "ops"])));
        check((Some("root"), &["system:masters"]), (Some("jane"), &[]), Some(("jane", &[])));
        check((Some("root"), &[]), (None, &["dev"]), Some(("root", &["dev"])));
        check((None, &[]), (None, &["dev"]), None);
    }

    #[test]
    fn the_variable_wins_over_the_node() {
        assert_eq!(find(None, true, None), Source::Standard);
    }
}
