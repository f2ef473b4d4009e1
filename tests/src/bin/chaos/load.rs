//! Carrying out what a user does, through the API, while things go wrong.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use tokio::time::timeout;

use crate::observe::view;
use crate::snapshot::State;
use crate::terminal::{How, Terminal};
use crate::workload::{MAIN, Role};
use crate::world::{Answer, Order};

/// A request that takes longer has no answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of an order.
pub(crate) struct Done {
    pub(crate) order: Order,
    pub(crate) answer: Answer,
    /// What was opened and stays open.
    pub(crate) terminal: Option<Terminal>,
    /// For people.
    pub(crate) said: String,
    /// An answer that was false.
    pub(crate) lie: Option<String>,
}

/// Carries one out.
pub(crate) async fn carry_out(pods: &Api<Pod>, marks: &str, order: Order) -> Done {
    let mut done =
        Done { order: order.clone(), answer: Answer::Unknown, terminal: None, said: String::new(), lie: None };
    match &order {
        Order::Create(plan) => match serde_json::from_value::<Pod>(plan.object(marks)) {
            Ok(pod) => done.take(in_time(pods.create(&PostParams::default(), &pod)).await),
            Err(error) => done.said = error.to_string(),
        },
        Order::Delete(pod) => done.take(in_time(pods.delete(pod, &DeleteParams::default())).await),
        Order::Ephemeral { pod, plan } => {
            let patch = Patch::Strategic(plan.patch(pod));
            done.take(in_time(pods.patch_ephemeral_containers(pod, &PatchParams::default(), &patch)).await);
            if done.answer == Answer::Yes && plan.role == Role::Shell {
                let how = How::Attach { container: plan.name.clone() };
                done.open(open(pods, pod, how, &plan.name).await);
            }
        }
        Order::Terminal { pod, variable } => done.open(open(pods, pod, How::Exec, variable).await),
        Order::Exec { pod, code } => match in_time(exec(pods, pod, *code)).await {
            Ok(Some(seen)) if seen != *code => {
                done.lie = Some(format!("exit status {seen} instead of {code} in {pod}"))
            }
            Ok(_) => done.said = "ended".to_owned(),
            Err(error) => done.said = format!("{error:#}"),
        },
    }
    done
}

impl Done {
    fn take<T, E: Into<anyhow::Error>>(&mut self, answer: Result<T, E>) {
        let error = match answer.map_err(Into::into) {
            Ok(_) => {
                self.answer = Answer::Yes;
                self.said = "acknowledged".to_owned();
                return;
            }
            Err(error) => error,
        };
        // A server that says that it failed may have failed after the deed.
        let refused = match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => status.code < 500,
            _ => false,
        };
        self.answer = if refused { Answer::No } else { Answer::Unknown };
        self.said = format!("{error:#}");
    }

    fn open(&mut self, opened: Result<Terminal>) {
        match opened {
            Ok(terminal) => {
                self.terminal = Some(terminal);
                self.said.push_str(" open");
            }
            Err(error) => self.said = format!("not opened: {error:#}"),
        }
    }
}

async fn in_time<T, E: Into<anyhow::Error>>(request: impl Future<Output = Result<T, E>>) -> Result<T> {
    timeout(PATIENCE, request).await.context("no answer")?.map_err(Into::into)
}

async fn open(pods: &Api<Pod>, pod: &str, how: How, variable: &str) -> Result<Terminal> {
    let container = match &how {
        How::Attach { container } => container.as_str(),
        How::Exec => MAIN,
    };
    let id = in_time(running(pods, pod, container)).await?;
    Terminal::open(pods, pod, how, variable, id).await
}

/// Watches until the container runs; its id.
async fn running(pods: &Api<Pod>, pod: &str, container: &str) -> Result<String> {
    let found = pods.get(pod).await?;
    let version = found.metadata.resource_version.clone().unwrap_or_default();
    let mut seen = Some(found);
    let params = WatchParams::default().fields(&format!("metadata.name={pod}"));
    let mut events = pin!(pods.watch(&params, &version).await?);
    loop {
        if let Some(pod) = seen {
            let view = view(&serde_json::to_value(pod)?);
            match view.containers.get(container) {
                Some(container) if container.state == State::Running => return Ok(container.id.clone()),
                Some(container) if matches!(container.state, State::Ended(_)) => bail!("it has ended"),
                _ => {}
            }
        }
        seen = match events.try_next().await?.context("the watch has ended")? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Some(pod),
            WatchEvent::Deleted(_) => bail!("the pod is gone"),
            WatchEvent::Error(status) => bail!("{status:?}"),
            WatchEvent::Bookmark(_) => None,
        };
    }
}

/// Runs a command that ends with this status; what was said of its end. None if it was broken off or killed.
async fn exec(pods: &Api<Pod>, pod: &str, code: i32) -> Result<Option<i32>> {
    let command = ["sh", "-c", &format!("exit {code}")];
    let mut process = pods.exec(pod, command, &AttachParams::default().container(MAIN)).await?;
    let status = process.take_status().context("an exec has no status")?.await;
    let Some(status) = status else { return Ok(None) };
    if status.status.as_deref() == Some("Success") {
        return Ok(Some(0));
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let told = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    ensure!(told.is_some(), "{}", status.message.unwrap_or_default());
    let told = told.and_then(|cause| cause.message.as_deref()).and_then(|code| code.parse().ok());
    Ok(told.filter(|code| *code != 137))
}
