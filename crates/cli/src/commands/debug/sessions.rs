//! The life of sessions: `ls`, `attach`, `stop`, `logs`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{AttachParams, ListParams, LogParams};
use remora_debug::{Session, SessionRow};
use serde_json::{Value, json};

use super::plan::Output;
use super::talk::Talk;
use crate::cluster::Cluster;
use crate::output::{print_line, print_note};
use crate::resource::pod_name;
use crate::{CommandError, Kind, table, terminal, yaml};

/// What can be done with sessions that are there.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List debug sessions: ephemeral containers, and pods of node sessions.
    Ls(LsArgs),
    /// Join a session that runs.
    Attach(SessionArgs),
    /// End a session that runs: its processes get HUP, and KILL after that. Its image needs a shell.
    Stop(SessionArgs),
    /// Print what a session has said.
    Logs(LogsArgs),
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only of this pod.
    pod: Option<String>,
    /// Of all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// How to show them.
    #[arg(long, short, value_enum)]
    output: Option<Output>,
}

#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    /// The pod.
    pod: String,
    /// The session's container [default: the only one that runs].
    #[arg(long, short)]
    container: Option<String>,
    /// Say only what goes wrong.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The pod.
    pod: String,
    /// The session's container [default: the newest].
    #[arg(long, short)]
    container: Option<String>,
    /// Go on as lines come.
    #[arg(long, short)]
    follow: bool,
}

/// Ends what shares the mounts of the shell that runs it, except that shell: in a target's process namespace there are others, and number 1
/// is the target's. `$1` is the signal.
const STOP: &str = "own=$(readlink /proc/self/ns/mnt)
for at in /proc/[0-9]*; do
  if [ \"$(readlink $at/ns/mnt 2>/dev/null)\" = \"$own\" ] && [ ${at#/proc/} != $$ ]; then kill -$1 ${at#/proc/} 2>/dev/null; fi
done
true";

/// Between the polite signal and the other.
const GRACE: Duration = Duration::from_secs(3);

pub(super) async fn run(cluster: &Cluster, action: Action) -> Result<ExitCode, CommandError> {
    match action {
        Action::Ls(args) => list(cluster, &args).await,
        Action::Attach(args) => attach(cluster, &args).await,
        Action::Stop(args) => stop(cluster, &args).await,
        Action::Logs(args) => logs(cluster, &args).await,
    }
}

async fn list(cluster: &Cluster, args: &LsArgs) -> Result<ExitCode, CommandError> {
    let pods = match &args.pod {
        Some(pod) => vec![cluster.api::<Pod>().get(pod_name(pod)?).await?],
        None if args.all_namespaces => {
            Api::<Pod>::all(cluster.client.clone()).list(&ListParams::default()).await?.items
        }
        None => cluster.api::<Pod>().list(&ListParams::default()).await?.items,
    };
    let rows: Vec<SessionRow> = pods.iter().flat_map(remora_debug::sessions).collect();
    match args.output {
        Some(Output::Json) => print_line(format_args!("{:#}", objects(&rows))),
        Some(Output::Yaml) => print_line(yaml::render(&objects(&rows))),
        Some(Output::Name) => rows.iter().for_each(|row| print_line(format_args!("{}/{}", row.pod, row.container))),
        None if rows.is_empty() => print_note("No debug sessions found."),
        None => lines(&rows, args.all_namespaces, Timestamp::now()).iter().for_each(print_line),
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(rows: &[SessionRow], namespaces: bool, now: Timestamp) -> Vec<String> {
    let headers = ["namespace", "pod", "container", "image", "target", "state", "by", "age"].map(str::to_owned);
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    let cells = rows.iter().map(|row| {
        let age = row.started.map_or_else(|| "<none>".to_owned(), |started| remora_debug::age(started, now));
        let texts = [&row.namespace, &row.pod, &row.container, &row.image, &row.target, &row.state, &row.by];
        texts.into_iter().map(|text| or_none(text)).chain([age]).collect::<Vec<_>>()
    });
    let shown: Vec<Vec<String>> = cells.map(|row| row[usize::from(!namespaces)..].to_vec()).collect();
    table::render(Some(&headers[usize::from(!namespaces)..]), &shown)
}

fn objects(rows: &[SessionRow]) -> Value {
    let object = |row: &SessionRow| {
        json!({
            "namespace": row.namespace, "pod": row.pod, "container": row.container, "image": row.image, "target": row.target,
            "state": row.state, "running": row.is_running, "by": row.by, "started": row.started.map(|time| time.to_string()),
        })
    };
    rows.iter().map(object).collect()
}

async fn attach(cluster: &Cluster, args: &SessionArgs) -> Result<ExitCode, CommandError> {
    let (pods, row) = running(cluster, args).await?;
    let talk = Talk { quiet: args.quiet, verbose: false };
    let session = Session::existing(pods, &row.pod, &row.container, &row.image);
    let tty = row.tty && std::io::stdin().is_terminal();
    if tty {
        talk.note("If you don't see a command prompt, try pressing enter.");
    }
    let input = if row.stdin { super::Typed::Passed(terminal::Input::new()) } else { super::Typed::Not };
    super::converse(&session, tty, talk, input, None).await.map(super::exit_code)
}

async fn stop(cluster: &Cluster, args: &SessionArgs) -> Result<ExitCode, CommandError> {
    let (pods, row) = running(cluster, args).await?;
    let session = Session::existing(pods.clone(), &row.pod, &row.container, &row.image);
    signal(&pods, &row, "HUP").await?;
    if tokio::time::timeout(GRACE, session.exit_code()).await.is_err() {
        signal(&pods, &row, "KILL").await?;
        if tokio::time::timeout(GRACE, session.exit_code()).await.is_err() {
            let still = format!("container {} of pod {} still runs", row.container, row.pod);
            return Err(CommandError::failed(still).hint("it may belong to another user than the one that exec gets"));
        }
    }
    Talk { quiet: args.quiet, verbose: false }
        .note(&format!("Container {} has ended. The API keeps its entry until the pod is gone.", row.container));
    Ok(ExitCode::SUCCESS)
}

async fn signal(pods: &Api<Pod>, row: &SessionRow, signal: &str) -> Result<(), CommandError> {
    let command = ["sh", "-c", STOP, "sh", signal];
    let params = AttachParams::default().container(&row.container).stdin(false).stdout(true).stderr(true);
    let mut process = pods.exec(&row.pod, command, &params).await?;
    let status = match process.take_status() {
        Some(status) => status.await,
        None => None,
    };
    match status {
        // The end of the container cuts the answer off.
        None => Ok(()),
        Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
        // 137: the shell went with the rest.
        Some(status) if status.message.as_deref().is_some_and(|message| message.contains("137")) => Ok(()),
        Some(status) => {
            let why = status.message.unwrap_or_default();
            let place = format!("container {} cannot be stopped: {why}", row.container);
            let hint = "without a shell in its image it ends with its own program, its pod, or --ttl";
            Err(CommandError::of(Kind::CannotStart, place).hint(hint))
        }
    }
}

async fn logs(cluster: &Cluster, args: &LogsArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = cluster.api::<Pod>();
    let container = match &args.container {
        Some(container) => container.clone(),
        None => {
            let newest = remora_debug::sessions(&pods.get(name).await?).pop();
            newest.ok_or_else(|| CommandError::failed(format_args!("pod {name} has had no debug session")))?.container
        }
    };
    let params = LogParams { container: Some(container), follow: args.follow, ..LogParams::default() };
    terminal::print_log(pods.log_stream(name, &params).await?).await?;
    Ok(ExitCode::SUCCESS)
}

/// The session that is meant: the named one, or the only one that runs.
async fn running(cluster: &Cluster, args: &SessionArgs) -> Result<(Api<Pod>, SessionRow), CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = cluster.api::<Pod>();
    let all = remora_debug::sessions(&pods.get(name).await?);
    Ok((pods, choose(all, name, args.container.as_deref())?))
}

fn choose(all: Vec<SessionRow>, pod: &str, container: Option<&str>) -> Result<SessionRow, CommandError> {
    if let Some(container) = container {
        let found = all.into_iter().find(|row| row.container == container);
        let found =
            found.ok_or_else(|| CommandError::failed(format_args!("pod {pod} has no debug session {container}")))?;
        let is_over = format!("session {container} of pod {pod} does not run: {}", found.state);
        return if found.is_running { Ok(found) } else { Err(CommandError::of(Kind::PodEnded, is_over)) };
    }
    let mut running: Vec<SessionRow> = all.into_iter().filter(|row| row.is_running).collect();
    match running.len() {
        0 => Err(CommandError::failed(format_args!("no debug session runs in pod {pod}"))
            .hint(format_args!("remora debug {pod} begins one"))),
        1 => Ok(running.remove(0)),
        _ => {
            let names: Vec<&str> = running.iter().map(|row| row.container.as_str()).collect();
            Err(CommandError::usage(format_args!(
                "{} debug sessions run in pod {pod}: {}",
                names.len(),
                names.join(", ")
            ))
            .hint("name one with -c"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(container: &str, is_running: bool) -> SessionRow {
        SessionRow {
            namespace: "shop".to_owned(),
            pod: "web".to_owned(),
            container: container.to_owned(),
            image: "busybox".to_owned(),
            target: "app".to_owned(),
            state: if is_running { "running" } else { "ended (0)" }.to_owned(),
            is_running,
            by: String::new(),
            started: Timestamp::from_second(1000).ok(),
            tty: true,
            stdin: true,
        }
    }

    #[test]
    fn sessions_are_listed_as_kubectl_lists() {
        let rows = [row("debugger-a", true), row("d", false)];
        let now = Timestamp::from_second(1090).unwrap();
        let expected = [
            "NAMESPACE   POD   CONTAINER    IMAGE     TARGET   STATE       BY       AGE",
            "shop        web   debugger-a   busybox   app      running     <none>   90s",
            "shop        web   d            busybox   app      ended (0)   <none>   90s",
        ];
        assert_eq!(lines(&rows, true, now), expected);
        assert_eq!(lines(&rows[..1], false, now)[0], "POD   CONTAINER    IMAGE     TARGET   STATE     BY       AGE");
    }

    #[test]
    fn a_session_is_never_guessed() {
        let check = |rows: &[SessionRow], container: Option<&str>, expected: Result<&str, &str>| {
            let chosen =
                choose(rows.to_vec(), "web", container).map(|row| row.container).map_err(|error| error.message);
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
        };
        check(&[row("a", true), row("b", false)], None, Ok("a"));
        check(&[row("a", true), row("b", true)], None, Err("2 debug sessions run in pod web: a, b"));
        check(&[row("a", true), row("b", true)], Some("b"), Ok("b"));
        check(&[row("a", false)], None, Err("no debug session runs in pod web"));
        check(&[row("a", false)], Some("a"), Err("session a of pod web does not run: ended (0)"));
        check(&[], Some("x"), Err("pod web has no debug session x"));
    }
}
