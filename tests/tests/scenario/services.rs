//! What is behind services.

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use remora_testkit::{container, pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_for};

fn endpoints(cluster: &Cluster) -> Api<Endpoints> {
    Api::namespaced(cluster.client.clone(), "default")
}

fn services(cluster: &Cluster) -> Api<Service> {
    Api::namespaced(cluster.client.clone(), "default")
}

fn service(name: &str) -> Service {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a service")
}

async fn write_endpoints(cluster: &Cluster, name: &str, labels: Value) {
    let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("endpoints");
    endpoints(cluster).create(&PostParams::default(), &object).await.expect("they are made");
}

/// The addresses that are ready, of each of Endpoints but those of users.
async fn ready(cluster: &Cluster) -> Vec<(String, usize)> {
    let ours = ListParams::default().labels("endpoints.kubernetes.io/managed-by=endpoint-controller");
    let all = endpoints(cluster).list(&ours).await.expect("they are listed");
    let count = |of: &Endpoints| {
        let subsets = of.subsets.iter().flatten();
        subsets.map(|subset| subset.addresses.iter().flatten().count()).sum()
    };
    all.items.iter().map(|of| (of.metadata.name.clone().unwrap_or_default(), count(of))).collect()
}

#[tokio::test(start_paused = true)]
async fn every_service_that_selects_a_pod_has_it_as_long_as_both_are_there() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        services(&cluster).create(&PostParams::default(), &service(name)).await.unwrap();
    }
    let mut web = pod("web", &[container("c", json!({}))], json!({}));
    web["metadata"]["labels"] = json!({"app": "web"});
    cluster.create(web).await;
    cluster.until_ready("web").await;
    let all = |count: usize, names: &[&str]| names.iter().map(|name| ((*name).to_owned(), count)).collect::<Vec<_>>();
    wait_for("a pod behind each", || async { ready(&cluster).await == all(1, &["a", "b", "c"]) }).await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), "default");
    let of = |name: &str| ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    for name in ["a", "b", "c"] {
        wait_for("one slice", || async {
            let found = slices.list(&of(name)).await.unwrap().items;
            found.len() == 1 && found[0].endpoints.len() == 1
        })
        .await;
    }
    services(&cluster).delete("b", &DeleteParams::default()).await.unwrap();
    wait_for("no endpoints", || async { ready(&cluster).await == all(1, &["a", "c"]) }).await;
    wait_for("no slice", || async { slices.list(&of("b")).await.unwrap().items.is_empty() }).await;
    cluster.delete("web", 0).await;
    wait_for("nothing behind them", || async { ready(&cluster).await == all(0, &["a", "c"]) }).await;
}

/// Those of a service that goes while no controllers run are as new to the next ones as these.
#[tokio::test(start_paused = true)]
async fn endpoints_that_were_left_behind_go_and_those_of_users_stay() {
    let cluster = Cluster::start().await;
    write_endpoints(&cluster, "own", json!({})).await;
    write_endpoints(&cluster, "left", json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"})).await;
    wait_for("gone", || async { endpoints(&cluster).get_opt("left").await.unwrap().is_none() }).await;
    assert!(endpoints(&cluster).get_opt("own").await.unwrap().is_some());
}
