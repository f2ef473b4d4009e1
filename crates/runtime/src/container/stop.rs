//! StopContainer: the signal, the grace period, and the end by force.

use std::sync::Arc;
use std::time::Duration;

use remora_shim_protocol::{Reply, Request};

use super::{Container, Life, State};
use crate::shim;
use crate::{Error, Inner};

const KILL: i32 = 9;

impl Inner {
    /// Returns when the container does not run. A natural end meanwhile is as good as any.
    pub(crate) async fn stop_container(self: Arc<Self>, container: Arc<Container>, grace: i64) -> Result<(), Error> {
        let settled = container.until(|life| life.state != State::Starting).await;
        if !matches!(settled.state, State::Running(_)) {
            return Ok(());
        }
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if !grace.is_zero() && self.ended_by_signal(&container, grace).await {
            return Ok(());
        }
        self.kill(&container).await
    }

    async fn ended_by_signal(&self, container: &Container, grace: Duration) -> bool {
        let signal = container.record().stop_signal;
        if let Err(error) = self.signal(container, signal, false).await {
            // Either it has just ended, or force will do.
            let error = crate::error::chain(&error);
            tracing::debug!(container = container.id(), error, "the stop signal could not be sent");
        }
        tokio::time::timeout(grace, container.until(stopped)).await.is_ok()
    }

    /// By the shim; if that does not answer, by the cgroup.
    async fn kill(&self, container: &Container) -> Result<(), Error> {
        if self.signal(container, KILL, true).await.is_err() {
            self.kill_cgroup(container).await?;
        }
        container.until(stopped).await;
        Ok(())
    }

    async fn signal(&self, container: &Container, signal: i32, all: bool) -> Result<(), Error> {
        match shim::ask(&container.paths.socket(), Request::Signal { signal, all }).await? {
            Reply::Done => Ok(()),
            other => {
                let problem = format!("answered a signal with {other:?}");
                Err(Error::Shim { id: container.id().to_owned(), problem })
            }
        }
    }
}

fn stopped(life: &Life) -> bool {
    !matches!(life.state, State::Running(_) | State::Starting)
}
