//! How large the volumes are that may only get so large.
//!
//! The kernel tells nobody when a folder grows: quotas of projects, which would, need a file system that was made or mounted for them. So the folders are
//! looked through, while a pod with such a limit runs and as often as `remora-decide` says (decision 0037).

use std::path::PathBuf;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use remora_decide::{Measured, Size, limited_volumes};

use super::folder;
use crate::context::Context;

/// Looks through the volumes that have a limit. One that cannot be looked through is left out, with a word in the log.
pub(crate) async fn measure(context: &Context, pod: &Pod) -> Measured {
    let begun = std::time::Instant::now();
    let name_and_place = |(name, _)| Some((String::from(name), folder(context, pod, name).ok()?));
    let folders: Vec<(String, PathBuf)> = limited_volumes(pod).filter_map(name_and_place).collect();
    let looked = tokio::task::spawn_blocking(move || {
        let used = |(name, path): (String, PathBuf)| match remora_sys::disk_usage(&path) {
            Ok(usage) if usage.is_whole => Some((name, Size::Exactly(usage.bytes))),
            Ok(usage) => Some((name, Size::AtLeast(usage.bytes))),
            Err(error) => {
                tracing::warn!(%error, "a volume cannot be measured");
                None
            }
        };
        folders.into_iter().filter_map(used).collect()
    });
    let volumes = looked.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the measure of a pod's volumes ended badly");
        std::collections::BTreeMap::new()
    });
    let took = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX);
    Measured { at: context.now(), took, volumes }
}
