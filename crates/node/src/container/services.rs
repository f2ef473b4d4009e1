//! The services that a pod's containers are told of: those of its namespace, as they are when a container is made. What is told of them is
//! `decide`'s business.
//!
//! A container needs no API to start, least of all a static pod's or one that is restarted. While services cannot be listed, those of the last list that was
//! read are told of, or none. (A kubelet waits, but for static pods, for the first list of all services, and goes by what it watches from then on.)

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use remora_decide::{LinkedPort, LinkedService, service_links};
use serde_json::Value;

use crate::context::{Context, id_of};

/// For how long a start waits for a list.
const PATIENCE: Duration = Duration::from_secs(10);
/// Namespaces whose services are kept, at most.
const MOST_NAMESPACES: usize = 64;
/// Services and ports of all namespaces that are kept, at most: some hundreds of KiB.
const MOST_KEPT: usize = 4000;

/// Why the services of a namespace are not known.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server does not answer within {PATIENCE:?}")]
    Late,
}

/// The last list of each namespace, the newest at the end.
#[derive(Default)]
pub(crate) struct KeptServices(Mutex<VecDeque<(String, Arc<[LinkedService]>)>>);

impl KeptServices {
    fn get(&self, namespace: &str) -> Option<Arc<[LinkedService]>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(of, _)| of == namespace).map(|(_, services)| Arc::clone(services))
    }

    /// Keeps a list instead of the one before, and lets the oldest go that are too many.
    fn put(&self, namespace: &str, services: Arc<[LinkedService]>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| of != namespace);
        kept.push_back((namespace.to_owned(), services));
        let mut weight: usize = kept.iter().map(|(_, services)| weight(services)).sum();
        while weight > MOST_KEPT || kept.len() > MOST_NAMESPACES {
            let Some((_, oldest)) = kept.pop_front() else { return };
            weight -= self::weight(&oldest);
        }
    }
}

fn weight(services: &[LinkedService]) -> usize {
    services.iter().map(|service| 1 + service.ports.len()).sum()
}

/// Variables that say where the services of the pod's namespace are, unless its author does not want them.
pub(super) async fn variables(context: &Context, pod: &Pod) -> Vec<(String, String)> {
    let is_wanted = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    if !is_wanted {
        return Vec::new();
    }
    service_links(&known(&context.config.client, &context.services, id_of(pod).namespace).await)
}

/// As the API tells, else as it last told.
async fn known(client: &Client, kept: &KeptServices, namespace: &str) -> Arc<[LinkedService]> {
    let listed = tokio::time::timeout(PATIENCE, list(client, namespace)).await;
    match listed.map_err(|_elapsed| ListError::Late).flatten() {
        Ok(services) => {
            let services = Arc::from(services);
            kept.put(namespace, Arc::clone(&services));
            services
        }
        Err(error) => {
            let last = kept.get(namespace);
            let is_known = last.is_some();
            tracing::warn!(%error, namespace, is_known, "services cannot be listed; a container is told of the last known");
            last.unwrap_or_default()
        }
    }
}

async fn list(client: &Client, namespace: &str) -> Result<Vec<LinkedService>, ListError> {
    let request = http::Request::get(format!("/api/v1/namespaces/{namespace}/services")).body(Vec::new());
    let listed: Value = client.request(request.map_err(kube::Error::HttpError)?).await?;
    let services = listed["items"].as_array().into_iter().flatten();
    Ok(services.filter_map(|service| linked(namespace, service)).collect())
}

/// None of a service without an address, nor of the API server's own: whether and where pods reach that is the node's configuration.
fn linked(namespace: &str, service: &Value) -> Option<LinkedService> {
    let word = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let (name, address) = (word(&service["metadata"], "name"), word(&service["spec"], "clusterIP"));
    if address.is_empty() || address == "None" || (namespace, name.as_str()) == ("default", "kubernetes") {
        return None;
    }
    let port = |port: &Value| LinkedPort {
        name: word(port, "name"),
        port: port["port"].as_i64().unwrap_or_default(),
        protocol: word(port, "protocol"),
    };
    let ports = service["spec"]["ports"].as_array().into_iter().flatten().map(port).collect();
    Some(LinkedService { name, address, ports })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    fn service(name: &str, ports: usize) -> LinkedService {
        let port = LinkedPort { name: String::new(), port: 80, protocol: "TCP".to_owned() };
        LinkedService { name: name.to_owned(), address: "10.96.0.7".to_owned(), ports: vec![port; ports] }
    }

    /// An API that answers, fails, or says nothing, in this order.
    fn failing() -> Client {
        let asked = Arc::new(AtomicU8::new(0));
        let answer = move |request: Request<Body>| {
            let turn = asked.fetch_add(1, Ordering::Relaxed);
            assert_eq!(request.uri().path(), "/api/v1/namespaces/mine/services");
            async move {
                let spec = json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80, "protocol": "TCP"}]});
                let list = json!({"items": [{"metadata": {"name": "web"}, "spec": spec}]});
                let (code, body) = match turn {
                    0 => (StatusCode::OK, list),
                    1 => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
                    _ => std::future::pending().await,
                };
                let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "mine")
    }

    #[tokio::test(start_paused = true)]
    async fn while_services_cannot_be_listed_the_last_known_are_told_of() {
        let (client, kept) = (failing(), KeptServices::default());
        for turn in ["answered", "failed", "silent"] {
            assert_eq!(*known(&client, &kept, "mine").await, [service("web", 1)], "{turn}");
        }
        assert!(known(&client, &KeptServices::default(), "mine").await.is_empty(), "a start waits for no API");
    }

    #[test]
    fn few_lists_are_kept_and_none_that_is_large() {
        let kept = KeptServices::default();
        (0..=MOST_NAMESPACES).for_each(|number| kept.put(&number.to_string(), Arc::from([service("web", 1)])));
        assert!(kept.get("0").is_none() && kept.get("1").is_some());
        kept.put("1", Arc::from([service("new", 1)]));
        kept.put("other", Arc::default());
        assert_eq!(kept.get("1").unwrap()[0].name, "new");
        assert!(kept.get("2").is_none());
        kept.put("large", Arc::from([service("web", MOST_KEPT - 3)]));
        assert!(kept.get("large").is_some() && kept.get("1").is_some() && kept.get("3").is_none());
        kept.put("too large", Arc::from([service("web", MOST_KEPT)]));
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn services_with_addresses_are_linked() {
        let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let ports = json!([{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]);
        let web = service("web", json!({"clusterIP": "10.96.0.7", "ports": ports}));
        let expected = LinkedService {
            name: "web".to_owned(),
            address: "10.96.0.7".to_owned(),
            ports: vec![LinkedPort { name: "http".to_owned(), port: 80, protocol: "TCP".to_owned() }],
        };
        assert_eq!(linked("default", &web), Some(expected));
        for none in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "externalName": "example.com"})] {
            assert_eq!(linked("default", &service("web", none.clone())), None, "{none}");
        }
        let api = service("kubernetes", json!({"clusterIP": "10.96.0.1", "ports": ports}));
        assert_eq!(linked("default", &api), None);
        assert!(linked("mine", &api).is_some());
    }
}
