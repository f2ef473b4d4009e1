//! What the cgroup of a QoS class weighs: it changes with the pods in it.

use std::path::Path;
use std::sync::Arc;

use remora_oci_config::{CgroupFile, class_cgroup_files};

use super::names;
use crate::Inner;
use crate::error::chain;
use crate::sandbox::SandboxState;
use crate::task::blocking;

impl Inner {
    /// Weighs the class of a pod's cgroup anew, by the pods that stand in it now. The pod itself has its weight already: what fails here is told in
    /// the log, and mended with the next pod.
    pub(crate) async fn weigh_class_of(self: &Arc<Self>, pod: &Path) {
        let Some(class) = names::class(pod) else { return };
        let mut written = None;
        // Two who do this at once may write in the wrong order: so whoever has written looks again.
        while let Some(files) = self.class_files(class).filter(|files| written.as_ref() != Some(files)) {
            let name = class.file_name().unwrap_or_default().to_string_lossy();
            if let Err(error) = self.weigh(class, &files).await {
                return tracing::warn!(class = %name, error = chain(&error), "the weight of a QoS class stays as it was");
            }
            written = Some(files);
        }
    }

    /// None if no pod stands in it: then it is as good as gone.
    fn class_files(&self, class: &Path) -> Option<Vec<CgroupFile>> {
        let sandboxes = self.table.sandboxes().into_iter().filter(|sandbox| sandbox.state() == SandboxState::Ready);
        let of_class = sandboxes.filter(|s| names::class(s.record().cgroup_parent.as_ref()) == Some(class));
        let shares: Vec<i64> = of_class.map(|s| s.resources().map_or(0, |limits| limits.cpu_shares)).collect();
        (!shares.is_empty()).then(|| class_cgroup_files(shares, self.host.cgroup_version()))
    }

    async fn weigh(self: &Arc<Self>, class: &Path, files: &[CgroupFile]) -> Result<(), crate::Error> {
        let (runtime, cgroup, wanted) = (self.clone(), class.to_owned(), files.to_vec());
        let is_so = blocking(move || Ok(runtime.has_files(&cgroup, &wanted))).await?;
        if is_so { Ok(()) } else { self.limit(class, "Pods of a QoS class", files.to_vec()).await }
    }

    /// Whether each of them says so already.
    fn has_files(&self, cgroup: &Path, files: &[CgroupFile]) -> bool {
        let folders = self.host.cgroups.folders(cgroup);
        let says = |path: &Path, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
        files.iter().all(|(name, value)| folders.iter().any(|folder| says(&folder.join(name), value)))
    }
}
