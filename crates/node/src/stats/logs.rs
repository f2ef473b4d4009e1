//! What containers' logs take of the disk. Their folders are walked through by one thread at a time, a pod's after another's, and what was found is kept for a
//! minute: however many ask, and however many of them go away before they are answered, no walks pile up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use remora_model::usage::{ContainerUsage, Filesystem, PodUsage};
use remora_sys::KeptByFolder;
use tokio::sync::Semaphore;

use super::StatsError;
use super::machine::of_whole;
use crate::context::Context;
use crate::pods::Pods;

/// Clones share everything.
#[derive(Clone)]
pub(super) struct LogGauge {
    walker: Arc<Semaphore>,
    kept: Arc<KeptByFolder<Option<Filesystem>>>,
}

impl Default for LogGauge {
    fn default() -> Self {
        Self { walker: Arc::new(Semaphore::new(1)), kept: Arc::default() }
    }
}

impl LogGauge {
    /// Adds what the logs of each pod's containers take.
    pub(super) async fn weigh(&self, context: &Context, pods: &Pods, all: &mut [PodUsage]) -> Result<(), StatsError> {
        for usage in all {
            let Some(handle) = pods.get(&usage.uid) else { continue };
            let folder = context.log_folder(&handle.view().pod);
            let folders = usage.containers.iter().map(|of: &ContainerUsage| folder.join(&of.name)).collect();
            let at = context.now();
            let weighed = self.folders(folders, move |folder| weigh(folder, at)).await?;
            usage.containers.iter_mut().zip(weighed).for_each(|(container, logs)| container.logs = logs);
        }
        Ok(())
    }

    async fn folders(
        &self,
        folders: Vec<PathBuf>,
        look: impl Fn(&Path) -> Option<Filesystem> + Send + 'static,
    ) -> Result<Vec<Option<Filesystem>>, StatsError> {
        // Never closed.
        let turn = Arc::clone(&self.walker).acquire_owned().await.map_err(|_| StatsError::Ending)?;
        let kept = Arc::clone(&self.kept);
        let weighed = tokio::task::spawn_blocking(move || {
            // Held by the walk, not by whoever asked, who may go before it ends.
            let _turn = turn;
            folders.iter().map(|folder| kept.get_or(folder, &look)).collect()
        });
        // It is neither cancelled, but with the agent, nor does it panic.
        weighed.await.map_err(|_| StatsError::Ending)
    }
}

/// None if it cannot be told.
fn weigh(folder: &Path, at: Timestamp) -> Option<Filesystem> {
    let looked = remora_sys::disk_usage(folder).and_then(|usage| Ok((usage, remora_sys::file::space(folder)?)));
    let looked = looked.inspect_err(|error| tracing::debug!(%error, "a log's size is not told"));
    let (usage, space) = looked.ok().filter(|(usage, _)| usage.is_whole)?;
    Some(Filesystem { used: usage.bytes, inodes_used: usage.inodes, ..of_whole(&space, at) })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_walk_keeps_its_turn_when_who_asked_has_gone_and_what_it_finds_is_kept() {
        let gauge = LogGauge::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let (tell, begun) = tokio::sync::oneshot::channel();
        let found = Filesystem { used: 7, ..Filesystem::default() };
        let (folder, tell) = (vec![PathBuf::from("/logs")], std::sync::Mutex::new(Some(tell)));
        let slow = move |_: &Path| {
            tell.lock().unwrap().take().unwrap().send(()).unwrap();
            wait.recv().is_err().then_some(found)
        };
        let mut first = Box::pin(gauge.folders(folder.clone(), slow));
        assert!(first.as_mut().now_or_never().is_none());
        begun.await.unwrap();
        drop(first);

        let mut second = Box::pin(gauge.folders(folder, |_| panic!("nobody walks what is known")));
        assert!(second.as_mut().now_or_never().is_none(), "the first walk is not over");
        drop(go_on);
        assert_eq!(second.await.unwrap(), [Some(found)]);
    }
}
