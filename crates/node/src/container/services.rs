//! The services that a pod's containers are told of: those of its namespace, as they are when a container is made. What is told of them is
//! `decide`'s business.

use k8s_openapi::api::core::v1::Pod;
use remora_decide::{LinkedPort, LinkedService, service_links};
use serde_json::Value;

use super::env::EnvError;
use crate::context::{Context, id_of};

/// Variables that say where the services of the pod's namespace are, unless its author does not want them.
pub(super) async fn variables(context: &Context, pod: &Pod) -> Result<Vec<(String, String)>, EnvError> {
    let is_wanted = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    if !is_wanted {
        return Ok(Vec::new());
    }
    let namespace = id_of(pod).namespace;
    let list = http::Request::get(format!("/api/v1/namespaces/{namespace}/services")).body(Vec::new());
    let list = list.map_err(kube::Error::HttpError).map_err(EnvError::services)?;
    let mut listed: Value = context.config.client.request(list).await.map_err(EnvError::services)?;
    let Some(Value::Array(items)) = listed.get_mut("items").map(Value::take) else { return Ok(Vec::new()) };
    let services: Vec<LinkedService> = items.iter().filter_map(|service| linked(namespace, service)).collect();
    Ok(service_links(&services))
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
    use super::*;
    use serde_json::json;

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
