//! The contract of all engines, on a real etcd: each check has one of its own.

use std::sync::Arc;

use async_trait::async_trait;
use remora_store::contract::{self, Fixture};
use remora_store::{Engine, Error};
use remora_store_etcd::{EtcdConfig, EtcdEngine};
use remora_testkit::Etcd;

struct OnEtcd(Etcd);

#[async_trait]
impl Fixture for OnEtcd {
    async fn open(&self) -> Result<Arc<dyn Engine>, Error> {
        let address = format!("etcd://{}/contract", self.0.endpoint()).parse().expect("an address");
        Ok(Arc::new(EtcdEngine::open(EtcdConfig { address, tls: None, login: None }).await?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    if Etcd::start().is_none() {
        return;
    }
    contract::run(|| Arc::new(OnEtcd(Etcd::start().expect("etcd is installed")))).await;
}
