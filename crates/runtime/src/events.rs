//! Container events to everyone who listens.

use futures::stream;
use remora_cri::{Code, ContainerEventResponse, ContainerEvents, Error};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many events a listener may lag behind before it loses the oldest.
const QUEUE: usize = 1024;

/// Sends each event to every listener there is at that moment; nobody waits for a slow one.
pub(crate) struct Events {
    sender: broadcast::Sender<ContainerEventResponse>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Events { sender: broadcast::Sender::new(QUEUE) }
    }

    pub(crate) fn send(&self, event: ContainerEventResponse) {
        // An error means that nobody listens.
        let _ = self.sender.send(event);
    }

    /// From now on. A listener that lost events is told so by an error item and should list anew; the stream goes on.
    pub(crate) fn subscribe(&self) -> ContainerEvents {
        Box::pin(stream::unfold(self.sender.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), receiver)),
                Err(RecvError::Lagged(lost)) => Some((Err(lagged(lost)), receiver)),
                Err(RecvError::Closed) => None,
            }
        }))
    }
}

fn lagged(lost: u64) -> Error {
    Error::new(Code::ResourceExhausted, format!("{lost} container events were lost: list containers anew"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_lost_and_goes_on() {
        let events = Events::new();
        let mut listener = events.subscribe();
        for number in 0..QUEUE + 2 {
            events.send(ContainerEventResponse { container_id: number.to_string(), ..Default::default() });
        }
        let lost = listener.next().await.unwrap().unwrap_err();
        assert_eq!(lost.message, "2 container events were lost: list containers anew");
        assert_eq!(listener.next().await.unwrap().unwrap().container_id, "2");
    }

    #[tokio::test]
    async fn the_stream_ends_with_the_runtime() {
        let events = Events::new();
        let mut listener = events.subscribe();
        drop(events);
        assert!(listener.next().await.is_none());
    }
}
