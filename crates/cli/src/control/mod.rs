//! The control socket of a node: what the command line says to a daemon on the same machine that Kubernetes' API has no
//! words for (images, stop). HTTP/1.1 with JSON on `RUN_DIR/control.sock`, mode 0600.
//!
//! The binary serves it; [`client`] is the other end. Decision: `docs/decisions/0004-control-socket.md`.

pub mod client;

use serde::{Deserialize, Serialize};

/// The socket's name in the run folder.
pub const SOCKET: &str = "control.sock";

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The program's version.
    pub version: String,
    /// The Node object's name.
    pub node: String,
    /// The daemon's process.
    pub pid: u32,
    /// Where the API server listens.
    pub server: String,
    /// The admin's kubeconfig.
    pub kubeconfig: String,
    /// Sandboxes that are ready.
    pub pods: usize,
    /// Containers that run.
    pub containers: usize,
    /// The daemon's resident memory in bytes.
    pub resident_bytes: u64,
}

/// One entry of `GET /v1/images`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageEntry {
    /// `sha256:…` of the image's config.
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// `NAME@sha256:…` of the manifests it was pulled by.
    pub digests: Vec<String>,
    /// Bytes of its layers.
    pub size: u64,
}

/// `POST /v1/images/pull`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullRequest {
    /// As one writes it in a pod: `busybox`, `ghcr.io/a/b:1`.
    pub image: String,
}

/// A line of the answer to a pull or an import: each is one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Progress {
    /// So far.
    #[serde(rename_all = "camelCase")]
    Bytes {
        /// Bytes that are here.
        done: u64,
        /// Bytes in all; 0 while unknown.
        total: u64,
    },
    /// An image is complete.
    #[serde(rename_all = "camelCase")]
    Done {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// It did not work; last line.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// Why.
        message: String,
    },
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One sentence.
    pub message: String,
}
