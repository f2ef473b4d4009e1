//! The fake keeps the contract.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod contract;

use std::path::PathBuf;

use remora_network::FakeNetwork;

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let network = FakeNetwork::new("10.9.8.0/29".parse().unwrap());
    contract::check(&network, &|id| PathBuf::from("/run/netns").join(id)).await;
    assert!(network.attached().is_empty());
}
