//! `-l SELECTOR -- COMMAND`: one command beside every pod that fits, at once; each line of output says whose it is.

use std::process::ExitCode;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use remora_debug::event::Told;
use remora_debug::{DebugRequest, Session, Trial};

use super::args::DebugArgs;
use super::talk::Talk;
use super::{facts, suffix};
use crate::CommandError;
use crate::cluster::Cluster;
use crate::output::{print_line, print_note};
use crate::witness::Witness;

/// So many at a time: each is a container on some node.
const AT_A_TIME: usize = 16;

/// The exit status is 0 if all have ended so, else the first other one in the order of the pods.
pub(super) async fn run(
    cluster: &Cluster,
    args: &DebugArgs,
    request: &DebugRequest,
    pods: &[Pod],
) -> Result<ExitCode, CommandError> {
    // A terminal cannot be shared.
    let request = &DebugRequest { stdin: false, tty: false, attach: true, ..request.clone() };
    let sessions = pods.iter().map(|pod| told(cluster, args, request, pod));
    let codes: Vec<u8> = futures::stream::iter(sessions).buffered(AT_A_TIME).collect().await;
    Ok(ExitCode::from(codes.into_iter().find(|code| *code != 0).unwrap_or(0)))
}

/// One pod's failure is told and does not keep the others.
async fn told(cluster: &Cluster, args: &DebugArgs, request: &DebugRequest, pod: &Pod) -> u8 {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match one(cluster, args, request, pod, name).await {
        Ok(code) => u8::try_from(code).unwrap_or(1),
        Err(error) => {
            print_note(format_args!("[{name}] error: {error}"));
            error.kind.code()
        }
    }
}

async fn one(
    cluster: &Cluster,
    args: &DebugArgs,
    request: &DebugRequest,
    pod: &Pod,
    name: &str,
) -> Result<i32, CommandError> {
    let known = facts::of_pod(cluster, pod, &args.default_image).await;
    super::stop_early(request, &known)?;
    let plan = remora_debug::plan(request, pod, &known.facts, &suffix()).map_err(CommandError::usage)?;
    let pods = cluster.api::<Pod>();
    let admitted = remora_debug::admit(&pods, name, &plan, Trial::Real).await?;
    let session = Session::existing(pods.clone(), name, &plan.container, &plan.image.name);
    session.ready(&admitted.pod, args.timeout, |_| ()).await?;
    let mut witness = Witness::of(pods, name, Told::of(&plan, &admitted.rung, request, &known.facts));
    witness.begin();
    let mut line = Vec::new();
    let told = session.told(|bytes| lines(name, &mut line, bytes)).await?;
    if !line.is_empty() {
        lines(name, &mut line, b"\n");
    }
    if let Some(why) = told.unread {
        print_note(format_args!("[{name}] The tool's last lines may be missing: {why}."));
    }
    Talk { quiet: args.quiet, verbose: args.verbose }.untold(witness.end(Some(told.code)).await);
    Ok(told.code)
}

/// Prints what has become whole lines; the rest waits.
fn lines(name: &str, rest: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        rest.extend_from_slice(piece);
        if let Some(line) = rest.strip_suffix(b"\n") {
            print_line(format_args!("[{name}] {}", String::from_utf8_lossy(line)));
            rest.clear();
        }
    }
}
