//! `remora debug`: an ephemeral container, and a terminal in it. What is asked of the server is `remora_debug`'s plan.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Pod;
use rand::Rng;
use remora_debug::{DebugRequest, EnvVar, Profile, Progress, Session, Waiting};

use crate::cluster::Cluster;
use crate::output::print_note;
use crate::resource::pod_name;
use crate::{ClusterArgs, CommandError, terminal};

/// Arguments of `remora debug`. The exit status is that of the tool, if one attaches to it.
#[derive(Debug, Args)]
pub struct DebugArgs {
    /// The pod.
    pod: String,
    /// The tool container's image.
    #[arg(long)]
    image: String,
    /// The container whose processes the tool shall see.
    #[arg(long, value_name = "CONTAINER")]
    target: Option<String>,
    /// The tool container's name [default: debugger-xxxxx].
    #[arg(long, short)]
    container: Option<String>,
    /// Pass standard input on, and attach.
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Standard streams are a terminal.
    #[arg(long, short = 't')]
    tty: bool,
    /// An environment variable, NAME=VALUE. May be repeated.
    #[arg(long, value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// When to pull the image: Always, IfNotPresent or Never [default: by the image's tag].
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// What the tool may do.
    #[arg(long, value_enum, default_value = "general")]
    profile: ProfileArg,
    /// What follows `--` are arguments for the image's entrypoint.
    #[arg(long)]
    arguments_only: bool,
    /// Say only what goes wrong.
    #[arg(long, short)]
    quiet: bool,
    /// The command to run instead of the image's own, after `--`.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileArg {
    General,
    Legacy,
    Netadmin,
    Sysadmin,
    Restricted,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: DebugArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?.to_owned();
    let quiet = args.quiet;
    let tty = terminal::wanted(args.tty);
    let pods = Cluster::connect(cluster).await?.api::<Pod>();
    let pod = pods.get(&name).await?;
    let plan = remora_debug::plan(&request(args, tty), &pod, &suffix()).map_err(CommandError::usage)?;
    let note = |line: &str| {
        if !quiet {
            print_note(line);
        }
    };
    plan.notices.iter().for_each(|line| note(line));
    let (session, pod) = Session::start(pods.clone(), &name, &plan).await?;
    if !plan.attach {
        return Ok(ExitCode::SUCCESS);
    }
    if tty {
        note("If you don't see a command prompt, try pressing enter.");
    }
    let progress = session.ready(&pod, |waiting| note(&words(waiting))).await?;
    match progress {
        Progress::Running => {
            terminal::relay(session.attach(true, tty).await?, tty).await?;
            Ok(exit_code(session.exit_code().await?))
        }
        Progress::Terminated(state) => ended(&pods, &name, &plan.container, state.exit_code).await,
        // `ready` returns when there is nothing more to wait for.
        Progress::Waiting(_) | Progress::Never(_) => Err(CommandError::failed("the tool container did not start")),
    }
}

/// It was over before one could attach: what it said is in its log.
async fn ended(pods: &kube::Api<Pod>, pod: &str, container: &str, exit_code: i32) -> Result<ExitCode, CommandError> {
    let params = kube::api::LogParams { container: Some(container.to_owned()), ..Default::default() };
    crate::output::print_raw(pods.logs(pod, &params).await?.as_bytes());
    Ok(self::exit_code(exit_code))
}

fn exit_code(of_the_tool: i32) -> ExitCode {
    ExitCode::from(u8::try_from(of_the_tool).unwrap_or(1))
}

fn request(args: DebugArgs, tty: bool) -> DebugRequest {
    DebugRequest {
        image: args.image,
        name: args.container,
        target: args.target,
        command: args.command,
        as_arguments: args.arguments_only,
        stdin: args.stdin,
        tty,
        env: args.env.into_iter().map(|(name, value)| EnvVar { name, value }).collect(),
        image_pull_policy: args.image_pull_policy,
        profile: match args.profile {
            ProfileArg::General => Profile::General,
            ProfileArg::Legacy => Profile::Legacy,
            ProfileArg::Netadmin => Profile::Netadmin,
            ProfileArg::Sysadmin => Profile::Sysadmin,
            ProfileArg::Restricted => Profile::Restricted,
        },
    }
}

fn words(waiting: &Waiting) -> String {
    match (waiting.reason.as_str(), waiting.message.as_str()) {
        ("", "") => "waiting for the node …".to_owned(),
        (reason, "") => format!("waiting: {reason} …"),
        (reason, message) => format!("waiting: {reason}: {message}"),
    }
}

/// Five characters as Kubernetes picks them for generated names: no vowels, nothing that looks like another.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

pub(crate) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}
