//! May they: `remora_rules::rbac` decides by the roles and bindings that are stored; this keeps them at hand and says no in upstream's words.
//! Requests, access reviews, impersonation and the checks of roles themselves ask here.

use std::sync::{Arc, OnceLock};

use remora_http::User;
use remora_model::status::Qualified;
use remora_model::{Kind, Status};
use remora_rules::rbac::access::Rules;
use remora_rules::rbac::escalation::{self, Write};
use remora_rules::rbac::{self, Who};
pub use remora_rules::rbac::{Attributes, Decision, MASTERS};
use remora_store::{Revision, Store};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follow::{self, Rights};
use crate::objects::store_status;
use crate::request::{RequestInfo, ResourceInfo};

/// Everyone who was authenticated is in it.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone who was not is in it.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of who did not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";

/// Who may do what, as stored now. Before [`Authorizer::start`] only the privileged group and nodes may anything.
#[derive(Default)]
pub struct Authorizer {
    rights: Arc<watch::Sender<Rights>>,
    /// Ends with this.
    follower: OnceLock<JoinSet<()>>,
}

/// A role or binding that somebody wants to write.
pub struct Wanted<'a> {
    /// What it is.
    pub kind: &'a Kind,
    /// Where; none for the cluster.
    pub namespace: Option<&'a str>,
    /// The name in the request's path; empty if there is none.
    pub name: &'a str,
    /// What it shall be.
    pub new: &'a Value,
    /// What it is now.
    pub old: Option<&'a Value>,
}

impl Authorizer {
    /// Reads what is stored, and follows it from then on.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn start(&self, store: &Arc<dyn Store>) -> Result<(), Status> {
        let loaded = follow::load(store.as_ref(), &self.rights).await.map_err(|error| store_status(&error))?;
        self.follower.get_or_init(|| {
            let mut follower = JoinSet::new();
            follower.spawn(follow::run(Arc::clone(store), Arc::clone(&self.rights), loaded));
            follower
        });
        Ok(())
    }

    /// Whether `user` may.
    pub fn decide(&self, user: &User, what: &Attributes<'_>) -> Decision {
        rbac::authorize(self.rights.borrow().access(), who(user), what)
    }

    /// All rules of `user` in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        self.rights.borrow().access().rules_for(who(user), namespace)
    }

    /// Lets a write pass unless it gives somebody what `user` does not have; whatever is no role or binding passes.
    ///
    /// # Errors
    /// 403 that names what is lacking, 404 if a binding names a role that is not there.
    pub fn check_escalation(&self, user: &User, wanted: &Wanted<'_>) -> Result<(), Status> {
        let Wanted { kind, namespace, name, new, old } = *wanted;
        let namespace = namespace.unwrap_or_default();
        let rights = self.rights.borrow();
        escalation::judge(&Write { access: rights.access(), who: who(user), kind, namespace, name, new, old })
    }

    /// Returns when what was written of a kind at a revision counts: who is told of a change of rights can rely on it.
    pub async fn has_seen(&self, kind: &Kind, revision: Revision) {
        if self.follower.get().is_some() && follow::is_followed(kind) {
            let mut rights = self.rights.subscribe();
            // It ends without an answer only if the sender is gone, and that is ours.
            let _is_seen = rights.wait_for(|rights| rights.has_seen(kind, revision)).await.is_ok();
        }
    }
}

/// The name of the node that a user is.
pub fn node_of(user: &User) -> Option<&str> {
    rbac::node::node_of(who(user))
}

/// A user as the rules know them.
pub(crate) fn who(user: &User) -> Who<'_> {
    Who { name: &user.name, groups: &user.groups }
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        match &info.resource {
            None => Self::Path { verb: &info.verb, path: &info.path },
            Some(ResourceInfo { group, namespace, resource, subresource, name, .. }) => {
                Self::Resource { verb: &info.verb, group, resource, subresource, namespace, name }
            }
        }
    }
}

/// 403 with upstream's words (`pkg/endpoints/handlers/responsewriters/errors.go`), and why, if there is more to say.
pub fn forbidden(user: &User, what: &Attributes<'_>, reason: &str) -> Status {
    let name = &user.name;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match what {
        Attributes::Path { verb, path } => {
            let why = format!("User {name:?} cannot {verb} path {path:?}{because}");
            let mut status = Status::forbidden(Qualified::core(""), "", &why);
            status.message = format!("forbidden: {why}");
            status
        }
        Attributes::Resource { verb, group, resource, subresource, namespace, name: object } => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let place = match *namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let why = format!(
                "User {name:?} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group {group:?} {place}{because}"
            );
            Status::forbidden(Qualified::new(group, resource), object, &why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_recorded() {
        let jane = User::new("jane", [AUTHENTICATED]);
        let mut what = Attributes::Resource {
            verb: "patch",
            group: "",
            resource: "pods",
            subresource: "ephemeralcontainers",
            namespace: "NS",
            name: "eph",
        };
        let expected = "pods \"eph\" is forbidden: User \"jane\" cannot patch resource \"pods/ephemeralcontainers\" in API \
                        group \"\" in the namespace \"NS\"";
        assert_eq!(forbidden(&jane, &what, "").message, expected);
        assert_eq!(forbidden(&jane, &what, "RBAC: why").message, format!("{expected}: RBAC: why"));
        what = Attributes::Resource {
            verb: "list",
            group: "",
            resource: "nodes",
            subresource: "",
            namespace: "",
            name: "",
        };
        let expected =
            "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        assert_eq!(forbidden(&jane, &what, "").message, expected);
        what = Attributes::Path { verb: "get", path: "/metrics" };
        assert_eq!(forbidden(&jane, &what, "").message, "forbidden: User \"jane\" cannot get path \"/metrics\"");
    }
}
