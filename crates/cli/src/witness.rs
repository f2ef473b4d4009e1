//! Tells of a session in events of its pod. A session is never lost or late for that: who may not write events has none.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use remora_debug::event::{Moment, Told};
use tokio::task::JoinHandle;

use crate::CommandError;

/// How long a command may wait for it at its end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who tells of one session.
pub(crate) struct Witness {
    account: Account,
    /// What is being told.
    telling: Option<JoinHandle<Result<(), kube::Error>>>,
}

#[derive(Clone)]
struct Account {
    pods: Api<Pod>,
    pod: String,
    told: Told,
}

impl Witness {
    pub(crate) fn of(pods: Api<Pod>, pod: &str, told: Told) -> Witness {
        Witness { account: Account { pods, pod: pod.to_owned(), told }, telling: None }
    }

    /// It runs. Told beside whatever is done next.
    pub(crate) fn begin(&mut self) {
        let account = self.account.clone();
        self.telling = Some(tokio::spawn(async move { account.tell(Moment::Started).await }));
    }

    /// It was asked for, and nobody waits for more. Why nothing could be told, if so.
    pub(crate) async fn begun(self) -> Option<String> {
        in_time(self.account.tell(Moment::Started)).await
    }

    /// It has ended. Why nothing could be told, if so.
    pub(crate) async fn end(self, code: Option<i32>) -> Option<String> {
        let told = async {
            if let Some(telling) = self.telling {
                // A panic would have been told already.
                telling.await.unwrap_or(Ok(()))?;
            }
            self.account.tell(Moment::Ended(code)).await
        };
        in_time(told).await
    }
}

async fn in_time(told: impl Future<Output = Result<(), kube::Error>>) -> Option<String> {
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(CommandError::from(error).message),
        Err(_) => Some("the API server has not answered in time".to_owned()),
    }
}

impl Account {
    /// The node's word for the image is in the pod as it is now.
    async fn tell(&self, moment: Moment) -> Result<(), kube::Error> {
        let pod = self.pods.get(&self.pod).await?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let events = Api::<Event>::namespaced(self.pods.clone().into_client(), namespace);
        let event = self.told.event(&pod, moment, Timestamp::now());
        events.create(&PostParams::default(), &event).await.map(drop)
    }
}
