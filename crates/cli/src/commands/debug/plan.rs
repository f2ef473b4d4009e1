//! `--plan`: what would be done and why, by dry runs only; and what to do instead where nothing is admitted.

use std::process::ExitCode;

use clap::ValueEnum;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use remora_debug::{
    CopyRequest, DebugPlan, DebugRequest, Facts, Keep, PodPlan, Profile, Refused, Report, SessionError, TargetChoice,
    Trial,
};
use serde_json::Value;

use super::facts::{self, Known};
use crate::cluster::Cluster;
use crate::output::print_line;
use crate::{CommandError, Kind, yaml};

/// How a plan, or a list of sessions, is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Json,
    Yaml,
    Name,
}

/// Shows what an ephemeral container would be.
pub(super) async fn show(
    cluster: &Cluster,
    request: &DebugRequest,
    pod: &Pod,
    known: Known,
    plan: &DebugPlan,
    output: Option<Output>,
) -> Result<ExitCode, CommandError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let pods = cluster.api::<Pod>();
    let trial = remora_debug::admit(&pods, name, plan, Trial::DryRun);
    let (trial, rights, pod_security) = futures::join!(trial, facts::rights(cluster), facts::pod_security(cluster));
    let (admitted, refused) = match trial {
        Ok(admitted) => (Some(admitted.rung), admitted.refused),
        Err(SessionError::Refused(refused)) => (None, refused),
        Err(error) => return Err(error.into()),
    };
    let offers = if admitted.is_none() { offers(cluster, request, pod, &known.facts).await } else { Vec::new() };
    let report = Report {
        pod: format!("{}/{name}", cluster.namespace),
        node: known.node,
        obstacle: known.obstacle,
        pod_security,
        rights,
        plan,
        refused,
        admitted,
        offers,
    };
    print(&report, output);
    Ok(if report.admitted.is_some() { ExitCode::SUCCESS } else { CommandError::of(Kind::Refused, "").exit_code() })
}

fn print(report: &Report<'_>, output: Option<Output>) {
    match output {
        Some(Output::Json) => print_line(format_args!("{:#}", report.object())),
        Some(Output::Yaml) => print_line(yaml::render(&report.object())),
        Some(Output::Name) => print_line(format_args!("{}/{}", report.pod, report.plan.container)),
        None => {
            report.lines().iter().for_each(print_line);
            if let Some(rung) = &report.admitted {
                print_line("Container");
                yaml::render(&serde_json::json!(rung.entry))
                    .lines()
                    .for_each(|line| print_line(format_args!("  {line}")));
            }
        }
    }
}

/// Shows a pod that would be created.
pub(super) async fn show_pod(
    cluster: &Cluster,
    plan: &PodPlan,
    output: Option<Output>,
) -> Result<ExitCode, CommandError> {
    cluster.api::<Pod>().create(&dry_run(), &plan.pod).await?;
    let mut pod = serde_json::to_value(&plan.pod).unwrap_or(Value::Null);
    match output {
        Some(Output::Json) => print_line(format_args!("{pod:#}")),
        Some(Output::Name) => print_line(format_args!("pod/{}", plan.pod.metadata.name.as_deref().unwrap_or_default())),
        Some(Output::Yaml) | None => {
            if let Some(fields) = pod.as_object_mut() {
                fields.remove("status");
            }
            print_line(yaml::render(&pod));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The refusal of everything, with the commands that would be admitted.
pub(super) async fn refusal(
    cluster: &Cluster,
    request: &DebugRequest,
    pod: &Pod,
    known: &Facts,
    refused: Vec<Refused>,
) -> CommandError {
    let offers = offers(cluster, request, pod, known).await;
    let error = CommandError::from(SessionError::Refused(refused));
    match offers.split_first() {
        Some((first, rest)) => {
            let others: String = rest.iter().map(|offer| format!("\n   or: {offer}")).collect();
            let remedy = error.hint.as_ref().map(|hint| format!("{hint}\n   or: ")).unwrap_or_default();
            error.hint(format!("{remedy}{first}{others}"))
        }
        None => error,
    }
}

/// Commands that a dry run admits, the least intrusive first.
async fn offers(cluster: &Cluster, request: &DebugRequest, pod: &Pod, facts: &Facts) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut offers = Vec::new();
    if request.profile.is_some() {
        offers.extend(less(cluster, request, pod, facts).await);
    }
    offers.extend(copy(cluster, request, pod, facts, name).await);
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        let plan = remora_debug::node_pod(
            &DebugRequest { profile: None, custom: None, ..request.clone() },
            node,
            facts,
            "dryrun",
        );
        if let Ok(plan) = plan
            && is_admitted(cluster, &plan).await
        {
            offers.push(format!("remora debug node/{node}"));
        }
    }
    offers
}

/// The same with fewer rights.
async fn less(cluster: &Cluster, request: &DebugRequest, pod: &Pod, facts: &Facts) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let request = DebugRequest { profile: None, ..request.clone() };
    let plan = remora_debug::plan(&request, pod, facts, "dryrun").ok()?;
    let admitted = remora_debug::admit(&cluster.api::<Pod>(), name, &plan, Trial::DryRun).await.ok()?;
    Some(format!("remora debug {name} --profile={}", admitted.rung.profile.name()))
}

async fn copy(cluster: &Cluster, request: &DebugRequest, pod: &Pod, facts: &Facts, name: &str) -> Option<String> {
    let image = remora_debug::image(request.image.as_deref(), &facts.images, &facts.default_image).name;
    let keep = Keep {
        labels: false,
        annotations: false,
        liveness: false,
        readiness: false,
        startup: false,
        init_containers: true,
    };
    let copy_to = format!("{name}-debug");
    let changes =
        CopyRequest { name: copy_to.clone(), same_node: false, share_processes: None, set_images: [].into(), keep };
    for profile in [Profile::General, Profile::Baseline, Profile::Restricted] {
        let wanted = DebugRequest {
            image: Some(image.clone()),
            profile: Some(profile),
            target: TargetChoice::Default,
            custom: None,
            ..request.clone()
        };
        let plan = remora_debug::copy(&wanted, &changes, pod, "dryrun").ok()?;
        if is_admitted(cluster, &plan).await {
            let profile = profile.name();
            return Some(format!("remora debug {name} --copy-to={copy_to} --rm --image={image} --profile={profile}"));
        }
    }
    None
}

async fn is_admitted(cluster: &Cluster, plan: &PodPlan) -> bool {
    cluster.api::<Pod>().create(&dry_run(), &plan.pod).await.is_ok()
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}
