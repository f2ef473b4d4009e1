//! `remora exec`

use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;

use crate::cluster::Cluster;
use crate::output::print_note;
use crate::resource::pod_name;
use crate::{ClusterArgs, CommandError, terminal};

/// Arguments of `remora exec`. The exit status is that of the command.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The pod.
    pub(crate) pod: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    pub(crate) container: Option<String>,
    /// Pass standard input on.
    #[arg(long, short = 'i')]
    pub(crate) stdin: bool,
    /// Standard streams are a terminal.
    #[arg(long, short = 't')]
    pub(crate) tty: bool,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: ExecArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = Cluster::connect(cluster).await?.api::<Pod>();
    let offer = offer(name, &args.container, &args.command);
    let container = match args.container {
        Some(container) => container,
        None => default_container(&pods.get(name).await?, name)?,
    };
    let tty = terminal::wanted(args.tty);
    let params = AttachParams::default().container(container).stdin(args.stdin).stdout(true).stderr(!tty).tty(tty);
    let ended = async { terminal::relay(pods.exec(name, args.command, &params).await?, tty).await };
    match ended.await {
        // A runtime's way to say that there is no such program. The program itself may also have said so: it is an offer.
        Ok(code) if code == ExitCode::from(126) => {
            print_note(format_args!("hint: {offer}"));
            Ok(code)
        }
        Err(error) if is_missing_program(&error.message) => Err(error.hint(offer)),
        ended => ended,
    }
}

/// Real Kubernetes says it as an error of its own.
fn is_missing_program(message: &str) -> bool {
    message.contains("executable file not found") || message.contains("no such file or directory")
}

/// The command that brings the program along.
fn offer(pod: &str, container: &Option<String>, command: &[String]) -> String {
    let target = container.as_ref().map(|container| format!(" --target={container}")).unwrap_or_default();
    let is_shell = command
        .first()
        .is_some_and(|word| ["sh", "bash", "ash", "zsh"].contains(&word.rsplit('/').next().unwrap_or_default()));
    let words = if is_shell && command.len() == 1 { String::new() } else { format!(" -- {}", command.join(" ")) };
    format!("if the container has no such program, bring one: remora debug {pod}{target}{words}")
}

/// The container that a command without `-c` means; says which if there are several.
pub(crate) fn default_container(pod: &Pod, name: &str) -> Result<String, CommandError> {
    let chosen = remora_debug::default_container(pod)
        .ok_or_else(|| CommandError::failed(format_args!("pod {name} has no containers")))?;
    let all = pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.as_str()).collect::<Vec<_>>();
    if all.len() > 1 {
        print_note(format_args!("Defaulted container \"{chosen}\" out of: {}", all.join(", ")));
    }
    Ok(chosen.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_offered_beside_the_container() {
        let check = |container: Option<&str>, command: &[&str], expected: &str| {
            let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            let offer = offer("web", &container.map(str::to_owned), &command);
            assert_eq!(offer.split_once(": ").unwrap().1, expected);
        };
        check(None, &["sh"], "remora debug web");
        check(Some("app"), &["/bin/bash"], "remora debug web --target=app");
        check(None, &["ps", "-ef"], "remora debug web -- ps -ef");
        assert!(is_missing_program("exec: \"sh\": executable file not found in $PATH"));
    }
}
