//! The keeper of the reading that others are compared with: one task, so that many who ask at once wait for the same one.

use std::sync::Arc;

use remora_decide::usage::{Before, Reading, before};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{StatsError, read};
use crate::context::Context;

/// How many may wait to be answered before others wait to ask.
const ASKING: usize = 16;

type Answer = Result<Arc<Reading>, StatsError>;

/// The way to the keeper.
#[derive(Clone)]
pub(crate) struct Meter(mpsc::Sender<oneshot::Sender<Answer>>);

impl Meter {
    /// Starts the keeper. It ends with the agent, or when nobody can ask any more.
    pub(crate) fn start(context: &Context) -> Self {
        let (asks, inbox) = mpsc::channel(ASKING);
        let (own, stop) = (context.clone(), context.stop.clone());
        context.tasks.spawn(async move {
            // Dropping it half-way loses nothing but a reading.
            stop.run_until_cancelled(keep(own, inbox)).await;
        });
        Self(asks)
    }

    /// A reading that is old enough, and not too old, to be compared with.
    pub(crate) async fn kept(&self) -> Answer {
        let (send, receive) = oneshot::channel();
        self.0.send(send).await.map_err(|_| StatsError::Ending)?;
        receive.await.map_err(|_| StatsError::Ending)?
    }
}

async fn keep(context: Context, mut inbox: mpsc::Receiver<oneshot::Sender<Answer>>) {
    let mut kept: Option<Arc<Reading>> = None;
    while let Some(asked) = inbox.recv().await {
        let answer = answer(&context, &mut kept).await;
        // Whoever asked may have gone.
        let _ = asked.send(answer);
    }
}

async fn answer(context: &Context, kept: &mut Option<Arc<Reading>>) -> Answer {
    let now = context.now();
    match before(kept.as_deref(), now) {
        Before::Read(wait) => {
            let reading = Arc::new(read(context).await?);
            *kept = Some(Arc::clone(&reading));
            sleep(wait).await;
            Ok(reading)
        }
        Before::Wait(wait) => {
            sleep(wait).await;
            kept.clone().ok_or(StatsError::Ending)
        }
        Before::Renew => {
            let reading = Arc::new(read(context).await?);
            kept.replace(reading).ok_or(StatsError::Ending)
        }
        Before::Compare => kept.clone().ok_or(StatsError::Ending),
    }
}
