//! `remora debug`: a tool container beside, in a copy of, or on the node of what does not tell what is wrong with it.
//!
//! What is asked of the server is the plan of `remora_debug`; here it is parsed, carried out and told.

mod args;
pub(crate) mod facts;
pub(crate) mod find;
mod many;
mod own_pod;
mod plan;
mod sessions;
mod talk;

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rand::Rng;
use remora_debug::event::Told;
use remora_debug::{Admitted, DebugPlan, DebugRequest, Progress, Session, SessionError, Trial};

pub(crate) use args::DebugArgs;

use self::args::Terminals;
use self::facts::Known;
use self::find::Subject;
use self::talk::Talk;
use crate::cluster::Cluster;
use crate::output::{print_note, print_raw};
use crate::record::Recorder;
use crate::terminal::{self, Input};
use crate::witness::Witness;
use crate::{ClusterArgs, CommandError, Kind};

/// Between tries to reach a tool again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// After so long a pause the connection is lost.
const LAST_PAUSE: Duration = Duration::from_secs(30);

pub(crate) async fn run(cluster: &ClusterArgs, mut args: DebugArgs) -> Result<ExitCode, CommandError> {
    if let Some(action) = args.action.take() {
        return sessions::run(&Cluster::connect(cluster).await?, action).await;
    }
    let terminals = Terminals { stdin: terminal::stdin_is_terminal(), stdout: terminal::stdout_is_terminal() };
    let talk = Talk { quiet: args.quiet, verbose: args.verbose };
    let copy = args.copy()?;
    let request = args.request(terminals)?;
    // An entry stays for good: a transcript that cannot be is told before there is one.
    if let Some(file) = args.record.as_deref().filter(|file| file.exists()) {
        return Err(CommandError::usage(format_args!("--record: {} is there already", file.display())));
    }
    if args.lacks_terminal(terminals) {
        talk.note("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let cluster = Cluster::connect(cluster).await?;
    if let Some(selector) =
        args.selector.as_deref().filter(|_| copy.is_none() && !args.plan && !request.command.is_empty())
    {
        return many::run(&cluster, &args, &request, &find::all(&cluster, selector).await?).await;
    }
    match (find::subject(&cluster, &args).await?, copy) {
        (Subject::Pod(pod), None) => beside(&cluster, &args, &request, &pod, talk).await,
        (Subject::Pod(pod), Some(copy)) => own_pod::copy(&cluster, &args, &request, &copy, &pod, talk).await,
        (Subject::Node(_), Some(_)) => Err(CommandError::usage("a node cannot be copied: leave --copy-to away")),
        (Subject::Node(node), None) => own_pod::on_node(&cluster, &args, &request, &node, talk).await,
    }
}

/// An ephemeral container in the pod itself.
async fn beside(
    cluster: &Cluster,
    args: &DebugArgs,
    request: &DebugRequest,
    pod: &Pod,
    talk: Talk,
) -> Result<ExitCode, CommandError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let known = facts::of_pod(cluster, pod, &args.default_image).await;
    let plan = remora_debug::plan(request, pod, &known.facts, &suffix()).map_err(CommandError::usage)?;
    if args.plan {
        return plan::show(cluster, request, pod, known, &plan, args.output).await;
    }
    stop_early(request, &known)?;
    let pods = cluster.api::<Pod>();
    if let Some(running) = same_shape(pod, &plan, request) {
        if args.reuse {
            talk.note(&format!("Joining session {running}, which runs already."));
            let session = Session::existing(pods, &name, &running, &plan.image.name);
            return follow(&session, pod, args, request, talk, None).await.map(exit_code);
        }
        talk.note(&format!("Session {running} of the same shape runs already: --reuse joins it."));
    }
    plan.notices.iter().for_each(|line| talk.note(line));
    let admitted = remora_debug::admit(&pods, &name, &plan, Trial::Real).await;
    let Admitted { rung, refused, pod } = match admitted {
        Err(SessionError::Refused(refused)) => {
            return Err(plan::refusal(cluster, request, pod, &known.facts, refused).await);
        }
        admitted => admitted?,
    };
    talk.refusals(&refused, &rung.name);
    rung.notices.iter().for_each(|line| talk.note(line));
    let session = Session::existing(pods.clone(), &name, &plan.container, &plan.image.name);
    let mut witness = Witness::of(pods, &name, Told::of(&plan, &rung, request, &known.facts));
    if !request.attach {
        talk.untold(witness.begun().await);
        return Ok(ExitCode::SUCCESS);
    }
    let ended = tokio::select! {
        // Cancel-safe as far as it matters: the terminal is restored when the session is dropped, and the tool goes on.
        ended = follow(&session, &pod, args, request, talk, Some(&mut witness)) => ended?,
        () = terminal::told_to_end() => return Err(CommandError::failed("told to end by a signal; the tool goes on")),
    };
    talk.untold(witness.end(Some(ended)).await);
    talk.note(&format!("Container {} has ended. The API keeps its entry until the pod is gone.", session.container()));
    Ok(exit_code(ended))
}

/// A session of the same maker that could be joined instead: the shape holds the maker's name.
fn same_shape(pod: &Pod, plan: &DebugPlan, request: &DebugRequest) -> Option<String> {
    let present = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let mut same = present.filter(|c| plan.rungs.iter().any(|rung| remora_debug::is_same_shape(&rung.entry, c)));
    let runs = |name: &str| remora_debug::progress(pod, name) == Progress::Running;
    same.find(|c| request.stdin && runs(&c.name)).map(|c| c.name.clone())
}

/// An entry stays for good: none is made that could not start, or not be reached.
pub(crate) fn stop_early(request: &DebugRequest, known: &Known) -> Result<(), CommandError> {
    if let Some(obstacle) = &known.obstacle {
        return Err(CommandError::of(Kind::NodeNotReady, obstacle).hint("kubectl describe node tells more"));
    }
    if request.attach && request.stdin && known.may_attach == Some(false) {
        return Err(CommandError::of(
            Kind::NoRight,
            "you may not attach to pods here (get pods/attach): nothing was created",
        )
        .hint("ask an administrator, or run a command whose log you may read: --attach -- COMMAND"));
    }
    Ok(())
}

/// Waits for the container, joins its streams to the user's, and gives its exit status. That it runs is witnessed meanwhile.
async fn follow(
    session: &Session,
    pod: &Pod,
    args: &DebugArgs,
    request: &DebugRequest,
    talk: Talk,
    witness: Option<&mut Witness>,
) -> Result<i32, CommandError> {
    if request.tty {
        talk.note("If you don't see a command prompt, try pressing enter.");
    }
    let progress = session.ready(pod, args.timeout, |line| talk.note(line)).await?;
    if let Some(witness) = witness {
        witness.begin();
    }
    match progress {
        Progress::Running if request.stdin => {
            let title = format!("remora debug, container {}", session.container());
            let mut recorder = args.record.as_deref().map(|path| Recorder::begin(path, &title)).transpose()?;
            let input = Typed::Passed(args.input.take().unwrap_or_else(Input::new));
            let ended = converse(session, request.tty, talk, input, recorder.as_mut()).await;
            if let Some(error) = recorder.as_ref().and_then(Recorder::failure) {
                print_note(format_args!("the transcript is not whole: {error}"));
            }
            ended
        }
        // A tool that nobody types to is read from its log: there the first byte is, too.
        Progress::Running | Progress::Terminated(_) => {
            let told = session.told(print_raw).await?;
            if let Some(why) = told.unread {
                print_note(format_args!("The tool's last lines may be missing: {why}."));
            }
            Ok(told.code)
        }
        // `ready` returns when there is nothing more to wait for.
        Progress::Waiting(_) | Progress::Never(_) => {
            Err(CommandError::of(Kind::CannotStart, "the tool container did not start"))
        }
    }
}

/// Whether what is typed is passed on.
enum Typed {
    Passed(Input),
    Not,
}

/// Relays until the tool has ended. A connection that breaks off is made again: the tool has not noticed.
async fn converse(
    session: &Session,
    tty: bool,
    talk: Talk,
    input: Typed,
    recorder: Option<&mut Recorder>,
) -> Result<i32, CommandError> {
    let (stdin, mut input) = match input {
        Typed::Passed(input) => (true, input),
        Typed::Not => (false, Input::new()),
    };
    let recorder = RefCell::new(recorder);
    let heard = |bytes: &[u8]| {
        if let Some(recorder) = recorder.borrow_mut().as_mut() {
            recorder.output(bytes);
        }
    };
    let mut pause = FIRST_PAUSE;
    loop {
        match session.attach(stdin, tty).await {
            Ok(process) => {
                if terminal::relay_once(process, tty, &mut input, &heard).await?.is_some() {
                    return Ok(session.exit_code().await?);
                }
                pause = FIRST_PAUSE;
            }
            Err(refused @ SessionError::Api(kube::Error::Api(_))) => return Err(refused.into()),
            Err(_) if pause > LAST_PAUSE => {
                let lost = "the connection to the API server is lost; the tool still runs";
                return Err(CommandError::of(Kind::Lost, lost).hint("remora debug attach reaches it again"));
            }
            Err(_) => {}
        }
        if let Ok(Progress::Terminated(state)) = session.now().await {
            return Ok(state.exit_code);
        }
        // Such an input closes with the connection (`stdinOnce`): what would be sent now would follow a hole.
        if stdin && !tty {
            let lost = "the connection to the API server is lost, and the tool has got only a part of its input";
            return Err(CommandError::of(Kind::Lost, lost).hint("run it again"));
        }
        talk.note("The connection is lost; attaching again …");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn exit_code(of_the_tool: i32) -> ExitCode {
    ExitCode::from(u8::try_from(of_the_tool).unwrap_or(1))
}

/// Five characters as Kubernetes picks them for generated names: no vowels, nothing that looks like another.
pub(crate) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
