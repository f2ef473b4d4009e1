//! What is behind each service is written down: EndpointSlices, and Endpoints, their older form, by which the API server passes requests on to a
//! service. What is to be written is decided in [`plan`]; only this file calls the API. Woken by [`crate::workloads`].
//!
//! Source of the behaviour: upstream's `endpoint` and `endpointslice` controllers. **Deliberately absent:** when an endpoint last changed
//! (`endpoints.kubernetes.io/last-change-trigger-time`), zones, and the copies in slices of Endpoints that a user wrote.

mod plan;

use kube::Client;
use remora_model::{Kind, kinds};
use serde_json::{Value, json};

use self::plan::Write;
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

    /// One look at a service.
    pub(crate) async fn look(self, key: Key) -> Looked {
        self.settle(&key).await.map_err(CallError::new(format!("write what is behind the service {key}")))?;
        Ok(Next::Done)
    }

    async fn settle(&self, key: &Key) -> Called<()> {
        let Some(service) = self.new.get(services(), key).await? else {
            // Slices have it as their owner.
            return self.old.delete(endpoints(), key, &json!({})).await;
        };
        if !plan::is_selecting(&service) {
            return Ok(());
        }
        let all = self.new.list(kinds::core("pods"), &key.namespace).await?;
        let pods = plan::selected(&service, &all);
        let written = self.new.list(slices(), &key.namespace).await?;
        for write in plan::slices(&service, &pods, &written) {
            carry_out(&self.new, slices(), write).await?;
        }
        let written = self.old.get(endpoints(), key).await?;
        match plan::endpoints(&service, &pods, written.as_ref()) {
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

    const SERVICES: &str = "/api/v1/namespaces/a/services/web";
    const PODS: &str = "/api/v1/namespaces/a/pods";
    const ENDPOINTS: &str = "/api/v1/namespaces/a/endpoints";
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices";

    fn key() -> Key {
        Key { namespace: "a".to_owned(), name: "web".to_owned() }
    }

    fn service(spec: Value) -> Value {
        json!({"kind": "Service", "metadata": {"namespace": "a", "name": "web", "uid": "s"}, "spec": spec})
    }

    #[tokio::test]
    async fn a_new_service_gets_both_forms() {
        let (client, calls) = scripted::client(|call, _| match call.split_once(' ').unwrap() {
            ("GET", SERVICES) => {
                let spec = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]});
                (200, service(spec))
            }
            ("GET", PODS | SLICES) => (200, json!({"items": []})),
            ("POST", _) => (201, json!({})),
            _ => scripted::refused(404),
        });
        Endpoints::new(client.clone(), client).look(key()).await.unwrap();
        let made = calls.sent(&format!("POST {ENDPOINTS}")).unwrap();
        assert_eq!((&made["metadata"]["name"], &made["subsets"]), (&json!("web"), &json!([])));
        let made = calls.sent(&format!("POST {SLICES}")).unwrap();
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "s");
    }

    #[tokio::test]
    async fn who_selects_nothing_is_left_to_its_author_and_what_is_gone_takes_its_endpoints_along() {
        let (client, calls) = scripted::client(|_, _| (200, service(json!({"ports": []}))));
        Endpoints::new(client.clone(), client).look(key()).await.unwrap();
        assert_eq!(calls.all(), [format!("GET {SERVICES}")]);
        let (client, calls) = scripted::client(|_, _| scripted::refused(404));
        Endpoints::new(client.clone(), client).look(key()).await.unwrap();
        assert_eq!(calls.all(), [format!("GET {SERVICES}"), format!("DELETE {ENDPOINTS}/web")]);
    }
}
