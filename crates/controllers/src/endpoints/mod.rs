//! What is behind each service is written down: EndpointSlices, and Endpoints, their older form, by which the API server passes requests on to a
//! service. What is to be written is decided in [`plan`]; only this file calls the API. Woken by [`crate::workloads`].
//!
//! One look is at all services of a namespace: a pod does not say which services select it, and what there is, is read once for all of them.
//!
//! Source of the behaviour: upstream's `endpoint` and `endpointslice` controllers. **Deliberately absent:** when an endpoint last changed
//! (`endpoints.kubernetes.io/last-change-trigger-time`), zones, and the copies in slices of Endpoints that a user wrote.

mod plan;

use std::time::Duration;

use kube::Client;
use remora_model::{Kind, kinds};
use serde_json::{Value, json};

use self::plan::{Seen, Write};
use crate::Account;
use crate::objects::{Called, Key, Objects, namespace_goes, unless_changed};
use crate::per_object::CallError;
use crate::turns::{Looked, Next};

/// As whom Endpoints are written.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:endpoint-controller");
/// As whom slices are written, and all is read.
pub const SLICE_ACCOUNT: Account =
    Account::service_account("system:serviceaccount:kube-system:endpointslice-controller");

fn services() -> &'static Kind {
    kinds::core("services")
}

fn endpoints() -> &'static Kind {
    kinds::core("endpoints")
}

fn slices() -> &'static Kind {
    kinds::v1("discovery.k8s.io", "endpointslices")
}

/// Before what the API has refused to write is tried again, if nothing happens before. Whatever happens in the namespace does not wait for it.
const PAUSE: Duration = Duration::from_secs(5);

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look {
    /// All services of a namespace, and what is left of others.
    Namespace(String),
    /// A service that is gone: Endpoints of its name go, whoever wrote them, as upstream's do.
    Gone(Key),
}

impl std::fmt::Display for Look {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(out, "the services of {namespace}"),
            Self::Gone(key) => write!(out, "the service {key}, which is gone"),
        }
    }
}

/// Writes down what is behind services.
#[derive(Clone)]
pub(crate) struct Endpoints {
    old: Objects,
    new: Objects,
}

impl Endpoints {
    /// With a client of each account.
    pub(crate) fn new(old: Client, new: Client) -> Self {
        Self { old: Objects::new(old), new: Objects::new(new) }
    }

    /// One look.
    pub(crate) async fn look(self, at: Look) -> Looked {
        let looked = match &at {
            Look::Namespace(namespace) => self.settle_all(namespace).await,
            Look::Gone(key) => self.forget(key).await.map(|()| Next::Done),
        };
        looked.map_err(CallError::new(format!("write what is behind {at}")))
    }

    /// Slices have the service as their owner, and go with it.
    async fn forget(&self, key: &Key) -> Called<()> {
        match self.new.get(services(), key).await? {
            // Another of its name has come.
            Some(_) => Ok(()),
            None => self.old.delete(endpoints(), key, &json!({})).await,
        }
    }

    async fn settle_all(&self, namespace: &str) -> Called<Next> {
        let seen = self.see(namespace).await?;
        for leftover in seen.leftovers() {
            carry_out(&self.old, endpoints(), Write::Delete(leftover.clone())).await?;
        }
        let mut next = Next::Done;
        for service in seen.services.iter().filter(|service| plan::is_selecting(service)) {
            match self.settle(service, &seen).await {
                // What is refused to one must not keep the others waiting.
                Err(kube::Error::Api(status)) if status.code < 500 => {
                    let (service, why) = (Key::of(service), status.message);
                    tracing::warn!(controller = "endpoint", %service, why, "refused, will be tried again");
                    next = Next::Later(PAUSE);
                }
                settled => settled?,
            }
        }
        Ok(next)
    }

    async fn see(&self, namespace: &str) -> Called<Seen> {
        // Endpoints before services: those that lack a service in the later list are left over, not new.
        let endpoints = self.old.list(endpoints(), namespace).await?;
        let services = self.new.list(services(), namespace).await?;
        let (mut pods, mut written) = (Vec::new(), Vec::new());
        if services.iter().any(plan::is_selecting) {
            pods = self.new.list(kinds::core("pods"), namespace).await?;
            written = self.new.list(slices(), namespace).await?;
        }
        Ok(Seen::new(services, pods, written, endpoints))
    }

    async fn settle(&self, service: &Value, seen: &Seen) -> Called<()> {
        let pods = plan::selected(service, &seen.pods);
        for write in plan::slices(service, &pods, seen.slices_of(service)) {
            carry_out(&self.new, slices(), write).await?;
        }
        match plan::endpoints(service, &pods, seen.endpoints_of(service)) {
            Some(write) => carry_out(&self.old, endpoints(), write).await,
            None => Ok(()),
        }
    }
}

/// What is written over in the meantime is looked at again, for its watch tells of it.
async fn carry_out(objects: &Objects, kind: &Kind, write: Write) -> Called<()> {
    match write {
        Write::Create(object) => {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            match objects.create(kind, namespace, &object).await {
                Err(error) if namespace_goes(&error) => Ok(()),
                answer => unless_changed(answer),
            }
        }
        Write::Replace(object) => unless_changed(objects.replace(kind, "", &object).await),
        Write::Delete(object) => {
            let options = json!({"preconditions": {"uid": uid_of(&object)}});
            unless_changed(objects.delete(kind, &Key::of(&object), &options).await)
        }
    }
}

fn uid_of(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;

    const SERVICES: &str = "/api/v1/namespaces/a/services";
    const PODS: &str = "/api/v1/namespaces/a/pods";
    const ENDPOINTS: &str = "/api/v1/namespaces/a/endpoints";
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices";

    fn all() -> Look {
        Look::Namespace("a".to_owned())
    }

    fn service(name: &str, selector: Value) -> Value {
        let ports = json!([{"port": 80, "targetPort": 8080, "protocol": "TCP"}]);
        let spec = json!({"selector": selector, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": ports});
        json!({"metadata": {"namespace": "a", "name": name, "uid": name}, "spec": spec})
    }

    fn written(name: &str, labels: Value) -> Value {
        json!({"metadata": {"namespace": "a", "name": name, "uid": name, "labels": labels}})
    }

    async fn look(at: Look, answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> (Next, scripted::Calls) {
        let (client, calls) = scripted::client(move |call, _| answer(call));
        (Endpoints::new(client.clone(), client).look(at).await.unwrap(), calls)
    }

    fn reads(calls: &scripted::Calls) -> Vec<String> {
        calls.all().into_iter().filter(|call| call.starts_with("GET")).collect()
    }

    #[tokio::test]
    async fn what_there_is_is_read_once_for_all_services_of_a_namespace() {
        let (next, calls) = look(all(), |call| match call.split_once(' ').unwrap() {
            ("GET", SERVICES) => {
                let services: Vec<Value> =
                    (0..30).map(|number| service(&format!("web-{number}"), json!({"app": "web"}))).collect();
                (200, json!({"items": services}))
            }
            ("GET", _) => (200, json!({"items": []})),
            _ => (201, json!({})),
        })
        .await;
        assert_eq!(
            (next, reads(&calls)),
            (Next::Done, [ENDPOINTS, SERVICES, PODS, SLICES].map(|path| format!("GET {path}")).to_vec())
        );
        let made = |path: &str| calls.all().iter().filter(|call| **call == format!("POST {path}")).count();
        assert_eq!((made(ENDPOINTS), made(SLICES)), (30, 30));
        let made = calls.sent(&format!("POST {ENDPOINTS}")).unwrap();
        assert_eq!((&made["metadata"]["name"], &made["subsets"]), (&json!("web-0"), &json!([])));
        let made = calls.sent(&format!("POST {SLICES}")).unwrap();
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "web-0");
    }

    #[tokio::test]
    async fn a_service_that_is_refused_keeps_no_other_waiting() {
        let (next, calls) = look(all(), |call| match call.split_once(' ').unwrap() {
            ("GET", SERVICES) => {
                (200, json!({"items": [service("a", json!({"app": "web"})), service("b", json!({"app": "web"}))]}))
            }
            ("GET", _) => (200, json!({"items": []})),
            ("POST", SLICES) => scripted::refused(422),
            _ => (201, json!({})),
        })
        .await;
        let tried = calls.all().iter().filter(|call| **call == format!("POST {SLICES}")).count();
        assert_eq!((next, tried), (Next::Later(PAUSE), 2));
    }

    #[tokio::test]
    async fn who_selects_nothing_is_left_to_its_author_and_no_pods_are_read_for_it() {
        let (_, calls) = look(all(), |call| match call.split_once(' ').unwrap() {
            ("GET", SERVICES) => (200, json!({"items": [service("web", Value::Null)]})),
            _ => (200, json!({"items": [written("web", json!({}))]})),
        })
        .await;
        assert_eq!(calls.all(), [ENDPOINTS, SERVICES].map(|path| format!("GET {path}")));
    }

    #[tokio::test]
    async fn endpoints_that_were_left_go_and_those_of_users_stay() {
        let ours = json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"});
        let (_, calls) = look(all(), move |call| match call.split_once(' ').unwrap() {
            ("GET", SERVICES) => (200, json!({"items": [service("there", Value::Null)]})),
            ("GET", ENDPOINTS) => {
                let all = [written("gone", ours.clone()), written("there", ours.clone()), written("own", json!({}))];
                (200, json!({"items": all}))
            }
            _ => (200, json!({})),
        })
        .await;
        assert_eq!(calls.all()[2..], [format!("DELETE {ENDPOINTS}/gone")]);
        assert_eq!(calls.sent("DELETE").unwrap()["preconditions"]["uid"], "gone");
    }

    #[tokio::test]
    async fn a_service_that_goes_takes_its_endpoints_along() {
        let gone = || Look::Gone(Key { namespace: "a".to_owned(), name: "web".to_owned() });
        let (_, calls) = look(gone(), |_| scripted::refused(404)).await;
        assert_eq!(calls.all(), [format!("GET {SERVICES}/web"), format!("DELETE {ENDPOINTS}/web")]);
        let (_, calls) = look(gone(), |_| {
            let mut another = service("web", Value::Null);
            another["kind"] = "Service".into();
            (200, another)
        })
        .await;
        assert_eq!(calls.all(), [format!("GET {SERVICES}/web")]);
    }
}
