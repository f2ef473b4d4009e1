//! `remora exec`: a program in a container; where the container lacks it, and somebody sits at a terminal, in a debug container beside it.

use std::cell::RefCell;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;

use crate::cluster::Cluster;
use crate::commands::debug::{self, DebugArgs};
use crate::output::print_note;
use crate::resource::pod_name;
use crate::terminal::{self, Input};
use crate::{ClusterArgs, CommandError};

const FALLBACK: &str = "\
If the container lacks the program, a session on a terminal (-t) goes on in a debug container that is added to the pod. Without one, exec
fails and shows the command that brings the program along.";

/// Arguments of `remora exec`. The exit status is that of the command.
#[derive(Debug, Args)]
#[command(after_help = FALLBACK)]
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
    /// Fail if the container lacks the program, on a terminal too, instead of running it in a debug container that is added to the pod.
    #[arg(long)]
    pub(crate) no_fallback: bool,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: ExecArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = Cluster::connect(cluster).await?.api::<Pod>();
    let container = match &args.container {
        Some(container) => container.clone(),
        None => default_container(&pods.get(name).await?, name)?,
    };
    let tty = terminal::wanted(args.tty);
    let params = AttachParams::default().container(&container).stdin(args.stdin).stdout(true).stderr(!tty).tty(tty);
    let mut input = Input::new();
    let head = RefCell::new(Vec::new());
    let heard = |bytes: &[u8]| keep_head(&mut head.borrow_mut(), bytes);
    let ended = async {
        let process = pods.exec(name, &args.command, &params).await?;
        terminal::relay_once(process, tty, &mut input, &heard).await
    };
    let program = args.command.first().map(String::as_str).unwrap_or_default();
    let ended = match ended.await {
        Ok(status) if !is_refusal(status.as_ref(), &head.borrow(), program) => return terminal::exit_code(status),
        Err(error) if !is_missing_program(&error.message, program) => return Err(error),
        ended => ended,
    };
    // On most clusters, another root is `/` beside the container: a script would change that one and never know. And what is piped in is on its
    // way to a program that never began: another one would get the rest of it. Who sits at a terminal reads the note first.
    if tty && !args.no_fallback {
        print_note(format_args!(
            "Container {container} has no {program}: a debug container runs it. Its entry stays in the pod (--no-fallback prevents that)."
        ));
        let beside = DebugArgs::beside(name, &container, (args.stdin, args.tty), &args.command, input)?;
        return debug::run(cluster, beside).await;
    }
    let offer = offer(name, &container, &args.command);
    match ended {
        Ok(status) => {
            // Where the node gives no exit status, its words become an error, which has a hint of its own.
            let ended = terminal::exit_code(status).map_err(|error| error.hint(&offer))?;
            print_note(format_args!("hint: {offer}"));
            Ok(ended)
        }
        Err(error) => Err(error.hint(offer)),
    }
}

/// So much is kept of what a process has shown: more than any refusal is long.
const HEAD: usize = 4 << 10;

fn keep_head(head: &mut Vec<u8>, bytes: &[u8]) {
    let room = (HEAD + 1).saturating_sub(head.len());
    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Real Kubernetes on containerd never begins what is not there, and says so in the stream's last word. Other nodes begin, and end it with a
/// runtime's words and 126 or 127: the same status with anything else is the program's own.
fn is_refusal(status: Option<&Status>, shown: &[u8], program: &str) -> bool {
    let Some(status) = status else { return false };
    match terminal::code_of(status) {
        None => status.message.as_deref().is_some_and(|message| is_missing_program(message, program)),
        Some(126 | 127) => {
            let shown = String::from_utf8_lossy(shown);
            shown.len() <= HEAD && shown.starts_with("OCI runtime exec failed") && is_missing_program(&shown, program)
        }
        Some(_) => false,
    }
}

/// Whether it was said of this program. A working directory or an interpreter that is not there is another failure, which a debug container does
/// not mend.
fn is_missing_program(message: &str, program: &str) -> bool {
    let Some((_, why)) = message.split_once(&format!("exec: {program:?}: ")) else { return false };
    let why = why.strip_prefix(&format!("stat {program}: ")).unwrap_or(why);
    why.starts_with("executable file not found") || why.starts_with("no such file or directory")
}

/// The command that brings the program along.
fn offer(pod: &str, container: &str, command: &[String]) -> String {
    format!("bring the program along: remora debug {pod} --target={container} -- {}", command.join(" "))
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
    fn only_words_about_the_program_itself_say_that_it_is_missing() {
        let check = |why: &str, program: &str, expected: bool| {
            let words = format!(
                "Internal error occurred: OCI runtime exec failed: exec failed: unable to start container process: {why}"
            );
            assert_eq!(is_missing_program(&words, program), expected, "{why} {program}");
        };
        check("exec: \"sh\": executable file not found in $PATH: unknown", "sh", true);
        check("exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown", "/bin/sh", true);
        check("exec: \"/bin/sh\": no such file or directory", "/bin/sh", true);
        check("exec: \"sh\": executable file not found in $PATH: unknown", "bash", false);
        check("chdir to cwd (\"/gone\") set in config.json failed: no such file or directory: unknown", "sh", false);
        check("exec /script: no such file or directory: unknown", "/script", false);
        check("exec: \"/script\": permission denied: unknown", "/script", false);
        check("open /dev/pts/0: no such file or directory", "sh", false);
    }

    #[test]
    fn only_a_runtimes_own_words_are_a_refusal() {
        let check = |code: &str, shown: &str, program: &str, expected: bool| {
            let status = serde_json::json!({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": code}]}});
            let status: Status = serde_json::from_value(status).unwrap();
            let mut head = Vec::new();
            shown.as_bytes().chunks(100).for_each(|bytes| keep_head(&mut head, bytes));
            assert_eq!(is_refusal(Some(&status), &head, program), expected, "{code} {shown}");
        };
        let refusal = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH";
        check("126", refusal, "sh", true);
        check("127", "OCI runtime exec failed: exec: \"/x\": stat /x: no such file or directory", "/x", true);
        check("1", refusal, "sh", false);
        let words = format!("Internal error occurred: error executing command in container: {refusal}");
        let unbegun: Status =
            serde_json::from_value(serde_json::json!({"status": "Failure", "message": words})).unwrap();
        assert!(is_refusal(Some(&unbegun), b"", "sh"));
        check("126", "sh: can't execute 'x': Permission denied", "sh", false);
        check("126", &format!("much work done\n{refusal}"), "sh", false);
        check("126", &format!("{refusal}{}", "x".repeat(2 * HEAD)), "sh", false);
    }

    #[test]
    fn what_a_debug_container_runs_is_what_was_typed() {
        let command = ["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
        let args = DebugArgs::beside("ls", "app", (true, true), &command, Input::new()).unwrap();
        assert!(format!("{args:?}").contains(r#"what: Some("pod/ls")"#), "{args:?}");
        assert!(format!("{args:?}").contains(r#"command: ["sh", "-c", "exit 3"]"#), "{args:?}");
    }
}
