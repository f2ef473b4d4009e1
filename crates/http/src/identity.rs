//! Who a request comes from. Made here from client certificates and by in-memory connectors, by the API server from
//! tokens and for impersonation.

use std::collections::BTreeMap;

/// A user as Kubernetes' authenticators describe it (`user.Info`): names only, no object stands behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `kubernetes-admin`, `system:node:NAME`, `system:serviceaccount:NAMESPACE:NAME`, …
    pub name: String,
    /// Set for service accounts; certificates carry none.
    pub uid: Option<String>,
    /// In the order in which they were found; `system:authenticated` is added by the API server.
    pub groups: Vec<String>,
    /// More that an authenticator knows, such as `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups only.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}
