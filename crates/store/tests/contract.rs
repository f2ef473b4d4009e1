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

struct InFolder {
    folder: tempfile::TempDir,
    /// How many bytes of what all keys hold are kept in memory.
    live: usize,
}

impl InFolder {
    fn with(folder: std::io::Result<tempfile::TempDir>, live: usize) -> Arc<dyn Fixture> {
        Arc::new(Self { folder: folder.expect("a folder can be made"), live })
    }
}

#[async_trait]
impl Fixture for InFolder {
    async fn open(&self) -> Result<Arc<dyn Engine>, Error> {
        Ok(Arc::new(SqliteEngine::open_within(self.folder.path().join("store"), self.live).await?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_keeps_the_contract() {
    contract::run(|| Arc::new(InMemory(MemoryDisk::default()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    contract::run(|| InFolder::with(tempfile::tempdir(), usize::MAX)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract_where_nothing_fits_in_memory() {
    contract::run(|| InFolder::with(tempfile::tempdir(), 0)).await;
}

/// Some keys fit, more do not, and then again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract_at_the_edge_of_what_fits_in_memory() {
    contract::run(|| InFolder::with(tempfile::tempdir(), 400)).await;
}
