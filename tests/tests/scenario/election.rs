//! Which of two nodes runs the controllers: on the real API server, in paused time.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::convert::Infallible;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use remora_controllers::election;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// Says when it begins and when it is dropped.
struct Work(&'static str, UnboundedSender<String>);

impl Work {
    fn begin(name: &'static str, to: &UnboundedSender<String>) -> Work {
        to.send(format!("{name} begins")).unwrap();
        Work(name, to.clone())
    }

    async fn go_on(self) -> Infallible {
        std::future::pending().await
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Nobody listens at the test's end.
        let _ = self.1.send(format!("{} ends", self.0));
    }
}

fn candidate(cluster: &Cluster, name: &'static str, to: &UnboundedSender<String>) -> JoinHandle<Infallible> {
    let (client, to) = (cluster.client.clone(), to.clone());
    tokio::spawn(election::run(client, name.to_owned(), move || Work::begin(name, &to).go_on()))
}

async fn heard(news: &mut UnboundedReceiver<String>) -> (String, Duration) {
    let begun = Instant::now();
    (news.recv().await.unwrap(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn one_works_for_as_long_as_it_renews_and_then_the_other() {
    let cluster = Cluster::start().await;
    let (to, mut news) = unbounded_channel();
    let one = candidate(&cluster, "one", &to);
    assert_eq!(heard(&mut news).await.0, "one begins");
    let _two = candidate(&cluster, "two", &to);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(news.try_recv().is_err(), "one goes on");

    one.abort();
    assert_eq!(heard(&mut news).await.0, "one ends");
    let (next, after) = heard(&mut news).await;
    assert_eq!(next, "two begins");
    assert!((Duration::from_secs(9)..Duration::from_secs(17)).contains(&after), "it took {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_when_another_has_taken_the_lease() {
    let cluster = Cluster::start().await;
    let (to, mut news) = unbounded_channel();
    let _one = candidate(&cluster, "one", &to);
    assert_eq!(heard(&mut news).await.0, "one begins");
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
    let taken = Patch::Merge(json!({"spec": {"holderIdentity": "another"}}));
    leases.patch("remora-controllers", &PatchParams::default(), &taken).await.unwrap();
    let (end, after) = heard(&mut news).await;
    assert_eq!(end, "one ends");
    assert!(after < Duration::from_secs(10), "it took {after:?}");
    let (again, after) = heard(&mut news).await;
    assert_eq!(again, "one begins", "the other never renews");
    assert!(after >= Duration::from_secs(9), "it took {after:?}");
}
