//! What can be typed after `remora debug`, and what of it the library is asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use k8s_openapi::api::core::v1::EnvVar;
use remora_debug::{CopyRequest, DebugRequest, Keep, Limits, Mirror, Profile, Root, TargetChoice, User};
use serde_json::Value;

use super::plan::Output;
use super::sessions::Action;
use crate::CommandError;
use crate::commands::{parse_duration, parse_user, parse_variable};
use crate::terminal::Input;

const EXIT_CODES: &str = "\
Exit status:
  that of the tool, if one attaches to it; else
  1    failed: what the server said
  2    the command line makes no sense, or it is not clear which pod is meant
  3    no cluster answers
  240  refused by admission, a policy or a quota
  241  you may not do this (RBAC)
  242  the image cannot be pulled
  243  the container cannot be created or started
  244  the node is not ready, or the pod is not scheduled
  245  the pod has ended or is gone
  246  time-out (--timeout)
  247  the connection was lost and could not be made again

Examples:
  remora debug web                                 a shell beside the first container of pod web
  remora debug deploy/web --target=app             beside container app of the deployment's pod
  remora debug web --image=busybox -- ps           as kubectl debug
  remora debug web --copy-to=web-debug --rm -it --image=busybox
  remora debug web --plan                          what would be created, and why; nothing is
  remora debug -l app=web -- cat /proc/loadavg     beside every pod of a selector, at once
  remora debug ls -A                               sessions: who, what, how they are
  remora debug node/anchor                         a shell on a node; its pod is removed afterwards";

/// Arguments of `remora debug`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DebugArgs {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    /// The pod: `web`, `pod/web`, or whatever has pods: `deploy/web`, `svc/web`; or `node/NAME`.
    #[arg(value_name = "POD | TYPE/NAME", required_unless_present_any = ["selector", "filename"])]
    pub(super) what: Option<String>,
    /// The pod with these labels; with a command after `--`: all of them at once, each line of output with its pod's name.
    #[arg(long, short = 'l', value_name = "SELECTOR", conflicts_with_all = ["what", "filename"])]
    pub(super) selector: Option<String>,
    /// The pod or node that this file (YAML or JSON) describes.
    #[arg(long, short, value_name = "FILE", conflicts_with = "what")]
    pub(super) filename: Option<PathBuf>,
    /// The tool container's image [default: one that the node has already, else a small public one].
    #[arg(long)]
    image: Option<String>,
    /// The image if none is named and the node has none that fits.
    #[arg(long, value_name = "IMAGE", env = "REMORA_DEBUG_IMAGE", hide_env_values = true, default_value = remora_debug::DEFAULT_IMAGE)]
    pub(super) default_image: String,
    /// The container whose processes the tool shall see [default: the pod's annotated one, or its first].
    #[arg(long, value_name = "CONTAINER")]
    target: Option<String>,
    /// See no other container's processes.
    #[arg(long, conflicts_with = "target")]
    no_target: bool,
    /// The tool container's name [default: debugger-xxxxx].
    #[arg(long, short)]
    container: Option<String>,
    /// Pass standard input on, and attach [default: on a terminal].
    #[arg(long, short = 'i')]
    stdin: bool,
    /// Standard streams are a terminal [default: on a terminal].
    #[arg(long, short = 't')]
    tty: bool,
    /// Show what the tool says, and wait for its end [default: on a terminal, with -i, and without --image].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    attach: Option<bool>,
    /// An environment variable, NAME=VALUE. May be repeated.
    #[arg(long, value_delimiter = ',', value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// When to pull the image: Always, IfNotPresent or Never [default: by the image's tag].
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// What the tool may do [default: the most that the cluster admits of general, baseline, restricted].
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    /// A file (YAML or JSON) with parts of a container, laid over what the profile gives.
    #[arg(long, value_name = "FILE")]
    custom: Option<PathBuf>,
    /// What to take over from the target: any of user, env, workdir, volumes; or all, none.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", default_value = "all")]
    mirror: Vec<Part>,
    /// Run as this user, whatever the target's: UID or UID:GID.
    #[arg(long, value_parser = parse_user)]
    user: Option<User>,
    /// The working directory, whatever the target's.
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Whose files are `/`: on Remora's own nodes also the target's, or what a crashed one has left. auto: the target's there, if no image is named.
    #[arg(long, value_enum, default_value = "auto")]
    root: RootArg,
    /// What follows `--` are arguments for the image's entrypoint.
    #[arg(long)]
    arguments_only: bool,
    /// Say only what goes wrong.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Say also what does not matter to the session, such as why it is not in the pod's events.
    #[arg(long, short, conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// End it so long after its start, such as 30m or 1h30m. Elsewhere than on Remora's nodes a shell in the image keeps the time.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// End it when nothing was typed or said for so long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,
    /// Join a session of yours that runs and is of the same shape, if there is one, instead of adding one more entry to the pod.
    #[arg(long)]
    pub(super) reuse: bool,
    /// Write what the terminal shows to this file, in asciicast v2; `remora play` plays it.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Give up if it does not run after so long, such as 90s or 5m [default: as long as there is hope].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Only show what would be done, and why: nothing is created.
    #[arg(long)]
    pub(super) plan: bool,
    /// How to show a plan.
    #[arg(long, short, value_enum, requires = "plan")]
    pub(super) output: Option<Output>,
    /// The command to run instead of the image's own, after `--`.
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    copy: CopyArgs,
    /// What another command has begun to read, if it has.
    #[arg(skip)]
    pub(super) input: RefCell<Option<Input>>,
}

/// The arguments alone, to be parsed by other commands.
#[derive(Debug, Parser)]
struct DebugCommand {
    #[command(flatten)]
    args: DebugArgs,
}

/// Arguments for a copy of the pod.
#[derive(Debug, Args)]
#[command(next_help_heading = "A copy instead of the pod itself")]
struct CopyArgs {
    /// Debug a copy of the pod with this name.
    #[arg(long, value_name = "NAME")]
    copy_to: Option<String>,
    /// Remove the copy when the session ends.
    #[arg(long, requires = "copy_to")]
    rm: bool,
    /// Delete the original.
    #[arg(long)]
    replace: bool,
    /// On the node of the original.
    #[arg(long)]
    same_node: bool,
    /// New images of containers: NAME=IMAGE, separated by commas; `*` is every container.
    #[arg(long, value_name = "NAME=IMAGE", value_delimiter = ',', value_parser = parse_variable)]
    set_image: Vec<(String, String)>,
    /// All containers of the copy see each other's processes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    share_processes: Option<bool>,
    /// Keep the labels: services and controllers will count the copy.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    keep_labels: bool,
    /// Keep the annotations.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    keep_annotations: bool,
    /// Keep liveness probes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    keep_liveness: bool,
    /// Keep readiness probes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    keep_readiness: bool,
    /// Keep startup probes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    keep_startup: bool,
    /// Keep init containers.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    keep_init_containers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileArg {
    General,
    Baseline,
    Restricted,
    Netadmin,
    Sysadmin,
    Legacy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    All,
    None,
    User,
    Env,
    Workdir,
    Volumes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RootArg {
    Auto,
    Image,
    Target,
    Crashed,
}

/// What standard input and output are, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminals {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
}

/// How the tool's streams are joined to the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    stdin: bool,
    tty: bool,
    attach: bool,
}

/// What a copy needs beside what every session needs.
pub(super) struct Copy {
    pub(super) request: CopyRequest,
    pub(super) replace: bool,
    pub(super) remove: bool,
}

impl DebugArgs {
    /// A command beside a container, as if this had been typed; it goes on with what was read for another.
    pub(crate) fn beside(
        pod: &str,
        target: &str,
        (stdin, tty): (bool, bool),
        command: &[String],
        input: Input,
    ) -> Result<DebugArgs, CommandError> {
        let pod = format!("pod/{pod}");
        let flags = [(stdin, "-i"), (tty, "-t")].into_iter().filter_map(|(given, flag)| given.then_some(flag));
        let words = ["debug", &pod, "--target", target, "--attach"].into_iter().chain(flags).chain(["--"]);
        let words = words.map(str::to_owned).chain(command.iter().cloned());
        let parsed = DebugCommand::try_parse_from(words).map_err(CommandError::usage)?;
        Ok(DebugArgs { input: RefCell::new(Some(input)), ..parsed.args })
    }

    /// The library's request.
    pub(super) fn request(&self, terminals: Terminals) -> Result<DebugRequest, CommandError> {
        let Streams { stdin, tty, attach } = self.streams(terminals);
        if self.attach == Some(true) && self.copy.copy_to.is_some() && self.image.is_none() && self.container.is_none()
        {
            let why = "you must specify --container or create a new container using --image in order to attach.";
            return Err(CommandError::usage(why));
        }
        if self.record.is_some() && !(tty && attach) {
            return Err(CommandError::usage("--record needs a terminal: there is nothing else to show"));
        }
        Ok(DebugRequest {
            image: self.image.clone(),
            name: self.container.clone(),
            target: self.target(),
            command: self.command.clone(),
            as_arguments: self.arguments_only,
            stdin,
            tty,
            attach,
            env: self.env.iter().map(variable).collect(),
            image_pull_policy: self.image_pull_policy.clone(),
            profile: self.profile.map(ProfileArg::profile),
            mirror: mirror(&self.mirror),
            user: self.user,
            working_dir: self.workdir.clone(),
            root: self.root(),
            limits: Limits { ttl: self.ttl, idle: self.idle_timeout },
            custom: self.custom.as_deref().map(read_custom).transpose()?,
        })
    }

    fn target(&self) -> TargetChoice {
        match &self.target {
            _ if self.no_target => TargetChoice::None,
            Some(name) if name.is_empty() => TargetChoice::None,
            Some(name) => TargetChoice::Named(name.clone()),
            None => TargetChoice::Default,
        }
    }

    fn root(&self) -> Root {
        match self.root {
            RootArg::Auto => Root::Auto,
            RootArg::Image => Root::Image,
            RootArg::Target => Root::Target,
            RootArg::Crashed => Root::Crashed,
        }
    }

    /// `-i` and `-t` are kubectl's. Without them, a terminal is used where there is one, and an image that is not named stands for "show me".
    fn streams(&self, terminals: Terminals) -> Streams {
        if self.stdin || self.tty {
            let tty = self.tty && terminals.stdin;
            return Streams { stdin: self.stdin, tty, attach: self.attach.unwrap_or(self.stdin) };
        }
        let interactive = terminals.stdin && terminals.stdout && self.attach != Some(false);
        let attach = self.attach.unwrap_or(interactive || self.image.is_none());
        Streams { stdin: interactive, tty: interactive, attach }
    }

    /// `-t` was asked for and cannot be had.
    pub(super) fn lacks_terminal(&self, terminals: Terminals) -> bool {
        self.tty && !terminals.stdin
    }

    /// The copy that is asked for, if one is.
    pub(super) fn copy(&self) -> Result<Option<Copy>, CommandError> {
        let copy = &self.copy;
        let Some(name) = &copy.copy_to else {
            let only_with =
                [("replace", copy.replace), ("same-node", copy.same_node), ("set-image", !copy.set_image.is_empty())];
            return match only_with.iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(CommandError::usage(format_args!("--{flag} may only be used with --copy-to."))),
                None => Ok(None),
            };
        };
        let keep = Keep {
            labels: copy.keep_labels,
            annotations: copy.keep_annotations,
            liveness: copy.keep_liveness,
            readiness: copy.keep_readiness,
            startup: copy.keep_startup,
            init_containers: copy.keep_init_containers,
        };
        let set_images: BTreeMap<String, String> = copy.set_image.iter().cloned().collect();
        let (same_node, share_processes) = (copy.same_node, copy.share_processes);
        let request = CopyRequest { name: name.clone(), same_node, share_processes, set_images, keep };
        Ok(Some(Copy { request, replace: copy.replace, remove: copy.rm }))
    }
}

impl ProfileArg {
    fn profile(self) -> Profile {
        match self {
            ProfileArg::General => Profile::General,
            ProfileArg::Baseline => Profile::Baseline,
            ProfileArg::Restricted => Profile::Restricted,
            ProfileArg::Netadmin => Profile::Netadmin,
            ProfileArg::Sysadmin => Profile::Sysadmin,
            ProfileArg::Legacy => Profile::Legacy,
        }
    }
}

fn variable((name, value): &(String, String)) -> EnvVar {
    EnvVar { name: name.clone(), value: Some(value.clone()), value_from: None }
}

fn mirror(parts: &[Part]) -> Mirror {
    let has = |part: Part| parts.contains(&Part::All) || parts.contains(&part);
    if parts.contains(&Part::None) {
        return Mirror::NONE;
    }
    Mirror { user: has(Part::User), env: has(Part::Env), working_dir: has(Part::Workdir), volumes: has(Part::Volumes) }
}

fn read_custom(path: &std::path::Path) -> Result<Value, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandError::caused(
            format_args!("must pass a container spec json file for custom profile: {}", path.display()),
            &error,
        )
    })?;
    serde_norway::from_str(&text).map_err(|error| {
        CommandError::caused(format_args!("{} does not contain a valid container spec", path.display()), &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cli, Command};

    const TERMINAL: Terminals = Terminals { stdin: true, stdout: true };
    const PIPES: Terminals = Terminals { stdin: false, stdout: false };

    fn parsed(line: &str) -> DebugArgs {
        let cli = Cli::try_parse_from(["remora", "debug"].into_iter().chain(line.split_whitespace())).unwrap();
        let Command::Debug(args) = cli.command else { panic!("parsed as another command") };
        *args
    }

    #[test]
    fn a_terminal_is_used_where_there_is_one() {
        let check = |line: &str, terminals: Terminals, (stdin, tty, attach): (bool, bool, bool)| {
            assert_eq!(parsed(line).streams(terminals), Streams { stdin, tty, attach }, "{line} {terminals:?}");
        };
        check("web", TERMINAL, (true, true, true));
        check("web", PIPES, (false, false, true));
        check("web --image=x -- ps", PIPES, (false, false, false));
        check("web --image=x -- ps", TERMINAL, (true, true, true));
        check("web --image=x --attach=false", TERMINAL, (false, false, false));
        check("web --attach -- ps", PIPES, (false, false, true));
        check("web -i", TERMINAL, (true, false, true));
        check("web -it", PIPES, (true, false, true));
        check("web -it", TERMINAL, (true, true, true));
        check("web -it --attach=false", TERMINAL, (true, true, false));
    }

    #[test]
    fn flags_reach_the_request() {
        let line = "web --target=app --user 7:8 --mirror=env,volumes --root target --profile baseline --env A=1,B=2 --workdir /x";
        let request = parsed(line).request(PIPES).unwrap();
        assert_eq!(request.target, TargetChoice::Named("app".to_owned()));
        assert_eq!(request.user, Some(User { uid: 7, gid: Some(8) }));
        assert_eq!(request.mirror, Mirror { env: true, volumes: true, ..Mirror::NONE });
        assert_eq!((request.root, request.profile), (Root::Target, Some(Profile::Baseline)));
        assert_eq!((request.env.len(), request.working_dir.as_deref()), (2, Some("/x")));
        assert_eq!(parsed("web --mirror=none").request(PIPES).unwrap().mirror, Mirror::NONE);
        assert_eq!(parsed("web --no-target").request(PIPES).unwrap().target, TargetChoice::None);
    }

    #[test]
    fn flags_of_copies_need_a_copy() {
        let check = |line: &str, expected: Option<&str>| {
            let refused = parsed(line).copy().err().map(|error| error.message);
            assert_eq!(refused.as_deref(), expected, "{line}");
        };
        check("web --replace", Some("--replace may only be used with --copy-to."));
        check("web --same-node", Some("--same-node may only be used with --copy-to."));
        check("web --set-image=a=b", Some("--set-image may only be used with --copy-to."));
        check("web --copy-to=x --set-image=a=b,c=d --rm --share-processes=false --keep-labels", None);
        let copy = parsed("web --copy-to=x --set-image=a=b,c=d --share-processes=false --keep-labels")
            .copy()
            .unwrap()
            .unwrap();
        assert_eq!((copy.request.set_images.len(), copy.request.share_processes), (2, Some(false)));
        assert!(copy.request.keep.labels && copy.request.keep.init_containers && !copy.request.keep.liveness);
    }

    #[test]
    fn the_help_tells_all_of_it() {
        let mut remora = <Cli as clap::CommandFactory>::command().term_width(110);
        remora.build();
        let debug = remora.find_subcommand_mut("debug").unwrap();
        insta::assert_snapshot!(debug.render_help());
    }

    #[test]
    fn a_pod_may_be_called_as_an_action_is() {
        assert!(matches!(parsed("ls -A").action, Some(Action::Ls(_))));
        assert!(matches!(parsed("stop web -c d").action, Some(Action::Stop(_))));
        let pod = parsed("pod/ls --ttl 30m");
        assert_eq!(
            (pod.action.is_none(), pod.what.as_deref(), pod.ttl),
            (true, Some("pod/ls"), Some(Duration::from_secs(1800)))
        );
    }

    #[test]
    fn something_must_be_named() {
        for line in
            ["", "web -l app=web", "web -f pod.yaml", "web --target=a --no-target", "web --rm", "web --user root"]
        {
            let words = ["remora", "debug"].into_iter().chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
