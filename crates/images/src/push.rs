//! Pushing to a registry.
use std::path::Path;

use crate::{Digest, Error};

/// Pushes an image of an OCI layout to a registry, e.g. `push_image(dir, "http://127.0.0.1:5000", "library/busybox:latest")`.
/// What the registry has already is not sent again. Returns the manifest's digest.
pub async fn push_image(layout: &Path, registry: &str, name: &str) -> Result<Digest, Error> {
    unimplemented!("{layout:?} {registry} {name}")
}
