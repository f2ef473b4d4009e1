//! Manifests.
/// Why.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct ManifestError;
