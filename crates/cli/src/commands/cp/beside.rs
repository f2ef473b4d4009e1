//! The debug container that copies: it waits for the end of its input, so that it ends with this command, however that ends.

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachedProcess;
use remora_debug::files::{self, Processes};
use remora_debug::{Progress, Session, Trial};
use tokio::io::AsyncWriteExt;

use crate::cluster::Cluster;
use crate::commands::debug::facts;
use crate::output::print_note;
use crate::{CommandError, Kind};

pub(super) struct Beside {
    pub(super) container: String,
    pub(super) processes: Processes,
    attached: AttachedProcess,
}

impl Beside {
    pub(super) async fn stand(
        cluster: &Cluster,
        pod: &Pod,
        target: &str,
        image: Option<String>,
        quiet: bool,
    ) -> Result<Beside, CommandError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let processes = files::processes(pod, target).ok_or_else(|| {
            CommandError::of(Kind::CannotStart, format_args!("container {target} of pod {name} has not started yet"))
        })?;
        let known = facts::of_pod(cluster, pod, remora_debug::DEFAULT_IMAGE).await;
        let request = files::standby(target, image);
        crate::commands::debug::stop_early(&request, &known)?;
        let suffix = crate::commands::debug::suffix();
        let plan = remora_debug::plan(&request, pod, &known.facts, &suffix).map_err(CommandError::usage)?;
        let pods = cluster.api::<Pod>();
        let admitted = remora_debug::admit(&pods, name, &plan, Trial::Real).await?;
        let session = Session::existing(pods, name, &plan.container, &plan.image.name);
        let say = |line: &str| {
            if !quiet {
                print_note(line)
            }
        };
        if session.ready(&admitted.pod, None, say).await? != Progress::Running {
            let ended = format!("debug container {} has ended at once", plan.container);
            return Err(CommandError::of(Kind::CannotStart, ended).hint("its image needs sh, cat and tar: --image"));
        }
        let attached = session.attach(true, false).await?;
        Ok(Beside { container: plan.container, processes, attached })
    }

    /// The end of its input is its end. If that cannot be told any more, the connection's end tells it.
    pub(super) async fn leave(mut self) {
        if let Some(mut input) = self.attached.stdin() {
            let _gone_already = input.shutdown().await;
        }
        let _ended = self.attached.join().await;
    }
}
