//! Who may do what: role-based access control as kube-apiserver v1.34 has it, decided without IO. The API server keeps an [`Access`] of what is
//! stored and asks; requests, access reviews, impersonation and the checks on roles themselves are answered by the same functions.
//!
//! | question | module |
//! |---|---|
//! | may this user do that, and why | [`authorize`], then [`node`] and [`access`] |
//! | does a rule allow it, do rules cover others | [`rule`] |
//! | may this role or binding be written by that user | [`escalation`] |
//! | which roles and bindings are there from the start | [`defaults`], [`reconcile`] |

pub mod access;
pub mod defaults;
pub mod escalation;
pub mod node;
pub mod reconcile;
pub mod rule;

pub use access::Access;

/// Whoever is in it may do everything.
pub const MASTERS: &str = "system:masters";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The user's name.
    pub name: &'a str,
    /// All of its groups.
    pub groups: &'a [String],
}

/// Namespace and name of the service account that has this user name.
pub fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(_, name)| !name.contains(':'))
}

impl Who<'_> {
    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What is to be done, as authorizers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// Something with a resource.
    Resource {
        /// `get`, `create`, …
        verb: &'a str,
        /// Empty for core.
        group: &'a str,
        /// `pods`
        resource: &'a str,
        /// `status`, or empty.
        subresource: &'a str,
        /// Empty for all.
        namespace: &'a str,
        /// Empty for all.
        name: &'a str,
    },
    /// A path that is no resource.
    Path {
        /// `get`
        verb: &'a str,
        /// `/version`
        path: &'a str,
    },
}

impl<'a> Attributes<'a> {
    /// Where; empty for the whole cluster.
    pub fn namespace(&self) -> &'a str {
        match self {
            Self::Resource { namespace, .. } => namespace,
            Self::Path { .. } => "",
        }
    }
}

/// The answer, with what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// Why; empty if there is no more to say. A refusal has one where it may surprise.
    pub reason: String,
}

impl Decision {
    fn yes(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }

    fn no(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

/// Whether `who` may do `what`: the privileged group, nodes, then roles. The first yes counts; of refusals every reason is told
/// (upstream: `--authorization-mode=Node,RBAC`).
pub fn authorize(access: &Access, who: Who<'_>, what: &Attributes<'_>) -> Decision {
    if who.is_in(MASTERS) {
        return Decision::yes("");
    }
    let by_node = node::decide(who, what);
    if by_node.allowed {
        return by_node;
    }
    let by_role = access.decide(who, what);
    if by_role.allowed {
        return by_role;
    }
    let reasons: Vec<String> = [by_node.reason, by_role.reason].into_iter().filter(|why| !why.is_empty()).collect();
    Decision::no(reasons.join("\n"))
}
