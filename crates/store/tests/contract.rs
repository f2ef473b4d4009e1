//! The contract, on the fake and on SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use remora_store::contract::{self, Fixture};
use remora_store::memory::{MemoryDisk, MemoryEngine};
use remora_store::sqlite::SqliteEngine;
use remora_store::{Engine, Error};

struct InMemory(MemoryDisk);

#[async_trait]
impl Fixture for InMemory {
    async fn open(&self) -> Result<Arc<dyn Engine>, Error> {
        Ok(Arc::new(MemoryEngine::on(self.0.clone())))
    }
}

struct InFolder(tempfile::TempDir);

#[async_trait]
impl Fixture for InFolder {
    async fn open(&self) -> Result<Arc<dyn Engine>, Error> {
        Ok(Arc::new(SqliteEngine::open(self.0.path().join("store")).await?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_keeps_the_contract() {
    contract::run(|| Arc::new(InMemory(MemoryDisk::default()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    contract::run(|| Arc::new(InFolder(tempfile::tempdir().unwrap()))).await;
}
