//! RemoveContainer: everything of it goes but its log.

use std::sync::Arc;

use remora_cri::ContainerEventType;

use super::create::clear;
use super::{Container, Life, State};
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// Stops it by force if it runs, and removes it, unless another container stands on its root. Several callers at once share one removal.
    pub(crate) async fn remove_container(self: Arc<Self>, container: Arc<Container>) -> Result<(), Error> {
        loop {
            self.clone().stop_container(container.clone(), 0).await?;
            match container.step(claim) {
                Ok(()) => break,
                Err(Life { state: State::Removed, .. }) => return Ok(()),
                // Somebody else removes it, or a start has come in between: wait for what comes of it, then look again.
                Err(seen) => _ = container.until(|life| *life != seen).await,
            }
        }
        let removed = match self.require_unused(&container) {
            Ok(()) => self.clone().take_away(&container).await,
            Err(used) => Err(used),
        };
        // In one step: whoever waits sees that it is gone, or that another may try again.
        container.life.send_modify(|life| {
            life.removing = false;
            if removed.is_ok() {
                life.state = State::Removed;
            }
        });
        if removed.is_ok() {
            self.announce(&container, ContainerEventType::Deleted);
        }
        removed
    }

    async fn take_away(self: Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        self.remove_cgroup(container.record().cgroup.as_ref()).await?;
        let paths = container.paths.clone();
        blocking(move || clear(&paths)).await?;
        self.images.release(container.id()).await.map_err(Error::Image)?;
        self.table.remove_container(container.id());
        Ok(())
    }
}

fn claim(life: &Life) -> Option<Life> {
    match &life.state {
        State::Created | State::Exited(_) if !life.removing => Some(Life { state: life.state.clone(), removing: true }),
        _ => None,
    }
}
