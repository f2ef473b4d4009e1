//! What pods use, in a whole cluster on fakes: nothing is measured before somebody asks, and then on the cluster's time.

use std::time::Duration;

use remora_model::usage::PodUsage;
use remora_node::Extent;
use remora_testkit::{container, pod};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;

/// The fake's containers keep half a processor busy.
const HALF: u64 = 500_000_000;

#[tokio::test(start_paused = true)]
async fn the_first_who_asks_waits_for_a_second_reading_and_others_do_not() {
    let cluster = Cluster::start().await;
    let two = [container("a", json!({})), container("b", json!({}))];
    cluster.create(pod("web", &two, json!({}))).await;
    cluster.until_ready("web").await;
    let inspector = cluster.inspector();
    for (pause, waited) in [(0, 500), (0, 0), (20, 0), (10, 0), (300, 500)] {
        sleep(Duration::from_secs(pause)).await;
        let begun = Instant::now();
        let usage = inspector.usage(Extent::CpuAndMemory).await.unwrap();
        assert_eq!(begun.elapsed().as_millis(), waited, "after {pause} s");
        let [web] = &usage.pods[..] else { panic!("{usage:?}") };
        assert_eq!((web.namespace.as_str(), web.name.as_str(), web.processes), ("default", "web", Some(2)));
        let rates: Vec<(&str, u64)> =
            web.containers.iter().map(|of| (of.name.as_str(), of.cpu.unwrap().rate.unwrap().nano_cores)).collect();
        assert_eq!(rates, [("a", HALF), ("b", HALF)]);
        assert_eq!(web.cpu.unwrap().rate.unwrap().nano_cores, 2 * HALF);
        assert_eq!(web.containers[0].memory.unwrap().working_set, 10 << 20);
        assert!(web.containers[0].layer.is_none() && usage.filesystem.is_none(), "{usage:?}");
    }
    let all = inspector.usage(Extent::All).await.unwrap();
    assert_eq!(all.pods[0].network.as_ref().unwrap().interfaces[0].sent, 2000);
    assert!(all.filesystem.is_some() && all.pods[0].containers[0].logs.is_some(), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_just_begun_is_compared_with_its_beginning() {
    let cluster = Cluster::start().await;
    let one = |name: &str| pod(name, &[container("c", json!({}))], json!({}));
    cluster.create(one("old")).await;
    cluster.until_ready("old").await;
    let inspector = cluster.inspector();
    inspector.usage(Extent::CpuAndMemory).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    cluster.create(one("new")).await;
    cluster.until_ready("new").await;
    sleep(Duration::from_secs(2)).await;
    let usage = inspector.usage(Extent::CpuAndMemory).await.unwrap();
    let window = |pod: &PodUsage| {
        let rate = pod.containers[0].cpu.unwrap().rate.unwrap();
        (pod.name.clone(), rate.nano_cores, rate.window.as_secs())
    };
    let windows: Vec<_> = usage.pods.iter().map(window).collect();
    assert_eq!(windows, [("new".to_owned(), HALF, 2), ("old".to_owned(), HALF, 7)]);
    cluster.delete("old", 0).await;
    cluster.until_gone("old").await;
    let names: Vec<String> =
        inspector.usage(Extent::CpuAndMemory).await.unwrap().pods.into_iter().map(|pod| pod.name).collect();
    assert_eq!(names, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn pods_are_shown_with_their_latest_status() {
    let cluster = Cluster::start().await;
    cluster.create(pod("web", &[container("c", json!({}))], json!({}))).await;
    cluster.until_ready("web").await;
    let inspector = cluster.inspector();
    let shown = inspector.pod("default", "web").unwrap();
    assert_eq!((&shown["status"]["phase"], shown.get("kind")), (&json!("Running"), None));
    assert_eq!(inspector.pod("default", "other"), None);
    let running = inspector.running_pods().await.unwrap();
    assert_eq!(running[0]["metadata"]["name"], "web");
    assert_eq!(running[0]["spec"]["containers"][0]["name"], "c");
    inspector.is_well().await.unwrap();
    assert_eq!(inspector.configuration()["port"], 0);
}
