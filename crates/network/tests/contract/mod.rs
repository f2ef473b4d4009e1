//! What every [`Network`] promises, played on the fake and on the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use remora_network::{AttachRequest, Attachment, Error, Network};

/// Makes a network namespace for a sandbox and returns its path. The fake's needs none.
pub(crate) type MakeNamespace<'a> = &'a dyn Fn(&str) -> PathBuf;

pub(crate) fn request(sandbox: &str, netns: PathBuf) -> AttachRequest {
    AttachRequest { sandbox: sandbox.into(), netns, pod_name: sandbox.into(), pod_namespace: "default".into() }
}

/// A subnet with five pod addresses makes exhaustion quick: `network` must have one.
pub(crate) async fn check(network: &dyn Network, make: MakeNamespace<'_>) {
    attached_sandboxes_have_addresses_of_their_own(network, make).await;
    a_full_subnet_says_so_and_leaves_nothing(network, make).await;
    gc_keeps_the_known_and_teardown_nothing(network, make).await;
}

async fn attached_sandboxes_have_addresses_of_their_own(network: &dyn Network, make: MakeNamespace<'_>) {
    assert!(matches!(network.check("a").await, Err(Error::NotAttached { .. })));
    let a = network.attach(request("a", make("a"))).await.unwrap();
    let b = network.attach(request("b", make("b"))).await.unwrap();
    assert_ne!(a.ip().unwrap(), b.ip().unwrap());
    for attachment in [&a, &b] {
        let ip = attachment.ips[0];
        assert_ne!(ip.address, ip.gateway);
        assert_eq!(attachment.interfaces[ip.interface].name, "eth0");
        assert_eq!(attachment.routes[0].gateway, Some(ip.gateway));
    }
    let again = network.attach(request("a", a.interfaces[a.ips[0].interface].sandbox.clone().unwrap())).await.unwrap();
    assert_eq!(again, a, "attaching again answers with what there is");
    network.check("a").await.unwrap();
    network.detach("a").await.unwrap();
    network.detach("a").await.unwrap();
    network.detach("never attached").await.unwrap();
    assert!(matches!(network.check("a").await, Err(Error::NotAttached { .. })));
    network.check("b").await.unwrap();
    network.detach("b").await.unwrap();
    for id in ["", "a/b", &"x".repeat(257)] {
        assert!(matches!(network.attach(request(id, make("odd"))).await, Err(Error::SandboxId { .. })), "{id}");
    }
}

async fn a_full_subnet_says_so_and_leaves_nothing(network: &dyn Network, make: MakeNamespace<'_>) {
    let mut addresses = BTreeSet::new();
    for index in 0..5 {
        let id = format!("full-{index}");
        addresses.insert(network.attach(request(&id, make(&id))).await.unwrap().ip().unwrap());
    }
    assert_eq!(addresses.len(), 5);
    let error = network.attach(request("full-5", make("full-5"))).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { size: 5, .. }), "{error}");
    assert!(network.check("full-5").await.is_err());
    network.detach("full-2").await.unwrap();
    let late = network.attach(request("full-5", make("full-6"))).await.unwrap();
    assert!(addresses.contains(&late.ip().unwrap()));
}

async fn gc_keeps_the_known_and_teardown_nothing(network: &dyn Network, make: MakeNamespace<'_>) {
    let mut known = BTreeMap::new();
    for (id, netns) in [("full-1", "full-1"), ("full-5", "full-6")] {
        known.insert(id.to_owned(), network.attach(request(id, make(netns))).await.unwrap());
    }
    network.gc(&known).await.unwrap();
    for (id, stays) in [("full-0", false), ("full-1", true), ("full-3", false), ("full-5", true)] {
        assert_eq!(network.check(id).await.is_ok(), stays, "{id}");
    }
    what_was_lost_is_taken_up(network, make, &known).await;
    network.teardown().await.unwrap();
    assert!(network.check("full-1").await.is_err());
    network.teardown().await.unwrap();
}

/// Of a sandbox that the caller knows and the network does not, the address is given to nobody else.
async fn what_was_lost_is_taken_up(
    network: &dyn Network,
    make: MakeNamespace<'_>,
    known: &BTreeMap<String, Attachment>,
) {
    network.detach("full-1").await.unwrap();
    network.gc(known).await.unwrap();
    for id in ["new-1", "new-2", "new-3"] {
        let new = network.attach(request(id, make(id))).await.unwrap();
        assert!(known.values().all(|known| known.ip() != new.ip()), "{id}");
    }
    assert!(matches!(network.attach(request("new-4", make("new-4"))).await, Err(Error::Exhausted { .. })));
    let again = network.attach(request("full-1", make("full-1"))).await.unwrap();
    assert_eq!(again, known["full-1"]);
}
