//! The debug container in which a command runs its programs: it waits for the end of its input, so that it ends with the command, however that
//! ends.

use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachedProcess;
use remora_debug::event::Told;
use remora_debug::files::{self, Processes};
use remora_debug::{DebugRequest, Progress, Session, Tools, Trial, User};
use tokio::io::AsyncWriteExt;

use crate::cluster::Cluster;
use crate::commands::debug::facts::{self, Known};
use crate::commands::{debug, parse_user};
use crate::output::print_note;
use crate::witness::Witness;
use crate::{CommandError, Kind, terminal};

/// How long its end may take to be told.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which debug container it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct BesideArgs {
    /// The debug container's image, with sh and tar [default: as for `remora debug`].
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// The image if none is named and the node has none that fits.
    #[arg(long, value_name = "IMAGE", env = "REMORA_DEBUG_IMAGE", hide_env_values = true, default_value = remora_debug::DEFAULT_IMAGE)]
    pub(crate) default_image: String,
    /// Let the debug container run as this user, whatever the target's: UID or UID:GID.
    #[arg(long, value_parser = parse_user)]
    pub(crate) user: Option<User>,
    /// Say only what goes wrong.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl BesideArgs {
    /// What is known of the pod's node, with only such images to choose from as have the tools.
    pub(crate) async fn known(&self, cluster: &Cluster, pod: &Pod, tools: Tools) -> Result<Known, CommandError> {
        let known = facts::of_pod(cluster, pod, &self.default_image).await;
        let facts = remora_debug::with_tools(known.facts, self.image.as_deref(), tools).map_err(|none| {
            CommandError::usage(none).hint("`cargo xtask image` of Remora's source makes one that has them all")
        })?;
        Ok(Known { facts, ..known })
    }

    /// The debug container that is asked for.
    pub(crate) fn request(&self, target: &str) -> DebugRequest {
        DebugRequest { user: self.user, ..files::standby(target, self.image.clone()) }
    }

    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            print_note(line);
        }
    }
}

pub(crate) struct Beside {
    pub(crate) container: String,
    pub(crate) image: String,
    pub(crate) processes: Processes,
    attached: AttachedProcess,
    witness: Witness,
}

impl Beside {
    /// If the command is told to end meanwhile, what is on its way is ended as soon as it can be: nobody else would.
    pub(crate) async fn stand(
        cluster: &Cluster,
        pod: &Pod,
        request: &DebugRequest,
        known: &Known,
        args: &BesideArgs,
    ) -> Result<Beside, CommandError> {
        let mut standing = std::pin::pin!(Beside::begin(cluster, pod, request, known, args));
        tokio::select! {
            stands = &mut standing => return stands,
            () = terminal::told_to_end() => {}
        }
        print_note(
            "The debug container may be on its way already: it is ended as soon as it runs. Interrupt again to leave it.",
        );
        tokio::select! {
            stands = &mut standing => stands?.leave(None).await,
            () = terminal::told_to_end() => {}
        }
        Err(interrupted())
    }

    async fn begin(
        cluster: &Cluster,
        pod: &Pod,
        request: &DebugRequest,
        known: &Known,
        args: &BesideArgs,
    ) -> Result<Beside, CommandError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let target = request.target.name().unwrap_or_default();
        let processes = files::processes(pod, target).ok_or_else(|| {
            CommandError::of(Kind::CannotStart, format_args!("container {target} of pod {name} has not started yet"))
        })?;
        debug::stop_early(request, known)?;
        let plan = remora_debug::plan(request, pod, &known.facts, &debug::suffix()).map_err(CommandError::usage)?;
        let pods = cluster.api::<Pod>();
        let admitted = remora_debug::admit(&pods, name, &plan, Trial::Real).await?;
        let told = Told::of(&plan, &admitted.rung, request, &known.facts);
        let session = Session::existing(pods.clone(), name, &plan.container, &plan.image.name);
        if session.ready(&admitted.pod, None, |line| args.note(line)).await? != Progress::Running {
            let ended = format!("debug container {} has ended at once", plan.container);
            return Err(CommandError::of(Kind::CannotStart, ended).hint("its image needs sh, cat and tar: --image"));
        }
        let attached = session.attach(true, false).await?;
        let mut witness = Witness::of(pods, name, told);
        witness.begin();
        Ok(Beside { container: plan.container, image: plan.image.name, processes, attached, witness })
    }

    /// Works with it and ends it, however the work ends, also when the command is told to end.
    pub(crate) async fn attend<T>(
        self,
        work: impl AsyncFnOnce(&Beside) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let done = tokio::select! {
            done = work(&self) => done,
            // What the work has begun ends with its pipes: see `program`.
            () = terminal::told_to_end() => Err(interrupted()),
        };
        self.leave(Some(i32::from(done.is_err()))).await;
        done
    }

    /// The end of its input is its end. If that cannot be told any more, the connection's end tells it.
    pub(crate) async fn leave(mut self, code: Option<i32>) {
        let farewell = async {
            if let Some(mut input) = self.attached.stdin() {
                let _gone_already = input.shutdown().await;
            }
            let _ended = self.attached.join().await;
        };
        let _in_time = tokio::time::timeout(FAREWELL, farewell).await;
        let _untold = self.witness.end(code).await;
    }
}

fn interrupted() -> CommandError {
    CommandError::failed("told to end by a signal")
}
