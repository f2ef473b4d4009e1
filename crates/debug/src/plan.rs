//! From arguments, the pod as it is, and what is known of its node, to a ladder of entries: the most capable first. Pure.

use k8s_openapi::api::core::v1::{Container, EnvVar, EphemeralContainer, Pod};
use serde_json::{Value, json};

use crate::choose::{self, Image, ImageChoice};
use crate::mirror::{self, Mirrored};
use crate::profile::LEGACY_WARNING;
use crate::{DebugRequest, MAKER, Mirror, Profile, Root, TargetChoice, custom};

/// What is known beside the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its node is one of Remora's: the variables `REMORA_…` of an entry mean something there.
    pub is_remora: bool,
    /// The images that the node says it has.
    pub images: Vec<String>,
    /// Who asks, as the API server knows them.
    pub user: Option<String>,
    /// The image if none is named and the node has none that fits.
    pub default_image: String,
}

/// What to do, ready to be shown or carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct DebugPlan {
    /// The new container's name.
    pub container: String,
    /// Its image.
    pub image: Image,
    /// The container that it is for.
    pub target: Option<String>,
    /// What to ask for, the most capable first. Never empty.
    pub rungs: Vec<Rung>,
    /// Things worth saying whichever is admitted, one line each.
    pub notices: Vec<String>,
    /// Names of the ephemeral containers that are there, in their order.
    present: Vec<String>,
}

/// One thing to ask the server for.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// What it is called: its profile, and what it does without.
    pub name: String,
    /// The rights.
    pub profile: Profile,
    /// What it takes over from the target.
    pub mirror: Mirror,
    /// The container.
    pub entry: EphemeralContainer,
    /// Things worth saying if this one is admitted.
    pub notices: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// kubectl's words.
    #[error("invalid image name {0:?}: invalid reference format")]
    ImageName(String),
    /// A terminal without input is of no use.
    #[error("-i/--stdin is required for containers with -t/--tty=true")]
    TerminalWithoutInput,
    /// kubectl's words.
    #[error("invalid image pull policy: {0}")]
    PullPolicy(String),
    /// kubectl's words.
    #[error("{}", custom::REFUSAL)]
    Custom,
    /// The entry that came of a custom profile is none.
    #[error("the custom profile does not make a container: {0}")]
    NoContainer(String),
    /// Another's root is only known to our node.
    #[error("--root works on Remora's own nodes only: here the target's files are at /proc/1/root")]
    RootElsewhere,
    /// Another's root needs the other.
    #[error("--root needs a target: leave --no-target away, or name one with --target")]
    RootWithoutTarget,
    /// Entrypoints are the image's: nothing can be put around them.
    #[error(
        "--ttl and --idle-timeout need a command that is known here: give the whole command, without --arguments-only"
    )]
    UnknownCommand,
    /// Only a terminal's device tells when it was used.
    #[error(
        "--idle-timeout needs a terminal on this node (-it): only Remora's own nodes know when other streams were used"
    )]
    IdleWithoutTerminal,
    /// A copy of something must change something: kubectl's words.
    #[error("{0}")]
    Copy(&'static str),
}

impl DebugPlan {
    /// The strategic merge patch for `pods/NAME/ephemeralcontainers`.
    ///
    /// Sends the new entry and the order of all: without the order, a strategic merge puts new entries first.
    pub fn patch(&self, rung: &Rung) -> Value {
        let names = self.present.iter().chain([&self.container]);
        let order: Vec<Value> = names.map(|name| json!({"name": name})).collect();
        json!({"spec": {"$setElementOrder/ephemeralContainers": order, "ephemeralContainers": [rung.entry]}})
    }

    /// An entry of this name is there. One that says the same would be accepted, change nothing, and never start again.
    pub(crate) fn is_taken(&self) -> bool {
        self.present.contains(&self.container)
    }
}

/// What is worked out once, for all rungs.
struct Subject<'p> {
    request: &'p DebugRequest,
    pod: &'p Pod,
    container: String,
    image: Image,
    target: Option<&'p Container>,
    target_name: Option<String>,
    target_runs: bool,
    root: Root,
    facts: &'p Facts,
}

/// Plans an ephemeral container. `suffix` are five random lower-case characters for a defaulted name.
///
/// What the server refuses (an unknown target, a taken name) is left to it: its words are the contract.
///
/// # Errors
/// [`PlanError`] for what can be told without asking a server.
pub fn plan(request: &DebugRequest, pod: &Pod, facts: &Facts, suffix: &str) -> Result<DebugPlan, PlanError> {
    check(request)?;
    let target_name = match &request.target {
        TargetChoice::Named(name) => Some(name.clone()),
        TargetChoice::Default => choose::default_container(pod).map(str::to_owned),
        TargetChoice::None => None,
    };
    if !facts.is_remora {
        check_limits(request)?;
    }
    let image = choose::image(request.image.as_deref(), &facts.images, &facts.default_image);
    let root = root(request, pod, facts, target_name.as_deref(), &image)?;
    let subject = Subject {
        target: target_name.as_deref().and_then(|name| choose::container(pod, name)),
        target_runs: target_name.as_deref().is_none_or(|name| runs(pod, name)),
        container: request.name.clone().unwrap_or_else(|| format!("debugger-{suffix}")),
        request,
        pod,
        image,
        target_name,
        root,
        facts,
    };
    let rungs = ladder(request).into_iter().map(|(profile, mirror)| subject.rung(profile, mirror));
    let present = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    Ok(DebugPlan {
        rungs: rungs.collect::<Result<_, _>>()?,
        notices: subject.notices(),
        present: present.map(|c| c.name.clone()).collect(),
        container: subject.container,
        image: subject.image,
        target: subject.target_name,
    })
}

/// What holds for pods, copies and nodes alike.
pub(crate) fn check(request: &DebugRequest) -> Result<(), PlanError> {
    if let Some(image) = request.image.as_ref().filter(|image| !is_reference(image)) {
        return Err(PlanError::ImageName(image.clone()));
    }
    if let Some(policy) =
        request.image_pull_policy.as_ref().filter(|p| !["Always", "IfNotPresent", "Never"].contains(&p.as_str()))
    {
        return Err(PlanError::PullPolicy(policy.clone()));
    }
    if request.tty && !request.stdin {
        return Err(PlanError::TerminalWithoutInput);
    }
    match &request.custom {
        Some(custom) if !custom::is_allowed(custom) => Err(PlanError::Custom),
        _ => Ok(()),
    }
}

/// What a shell in the container cannot keep.
fn check_limits(request: &DebugRequest) -> Result<(), PlanError> {
    if !request.limits.is_empty() && request.as_arguments {
        return Err(PlanError::UnknownCommand);
    }
    if request.limits.idle.is_some() && !request.tty {
        return Err(PlanError::IdleWithoutTerminal);
    }
    Ok(())
}

/// The shape of a reference (grammar: distribution/reference): no upper case in the path, no blanks, no empty parts.
pub(crate) fn is_reference(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let parts: Vec<&str> = name.split('/').collect();
    let has_host = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    let path = &parts[usize::from(has_host)..];
    let is_plain =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_path = |text: &str| is_plain(text) && !text.bytes().any(|b| b.is_ascii_uppercase());
    let Some((last, folders)) = path.split_last() else { return false };
    let (last, tag) = last.split_once(':').map_or((*last, None), |(last, tag)| (last, Some(tag)));
    let is_digest = |digest: &str| digest.split_once(':').is_some_and(|(kind, hex)| is_plain(kind) && is_plain(hex));
    folders.iter().all(|folder| is_path(folder))
        && is_path(last)
        && tag.is_none_or(is_plain)
        && digest.is_none_or(is_digest)
}

/// A named profile is what is asked for; else what Pod Security admits decides. The last resort takes over nothing that a policy could mind.
fn ladder(request: &DebugRequest) -> Vec<(Profile, Mirror)> {
    let wanted = request.mirror;
    let bare = Mirror { user: wanted.user, ..Mirror::NONE };
    match request.profile {
        Some(profile) => vec![(profile, wanted)],
        None if bare == wanted => {
            [Profile::General, Profile::Baseline, Profile::Restricted].map(|p| (p, wanted)).to_vec()
        }
        None => vec![
            (Profile::General, wanted),
            (Profile::Baseline, wanted),
            (Profile::Restricted, wanted),
            (Profile::Restricted, bare),
        ],
    }
}

fn runs(pod: &Pod, name: &str) -> bool {
    choose::status(pod, name).is_none_or(|status| status.state.as_ref().is_none_or(|state| state.running.is_some()))
}

fn has_crashed(pod: &Pod, name: &str) -> bool {
    let states = choose::status(pod, name).map(|status| [&status.state, &status.last_state]);
    states.into_iter().flatten().flatten().any(|state| state.terminated.is_some())
}

fn root(
    request: &DebugRequest,
    pod: &Pod,
    facts: &Facts,
    target: Option<&str>,
    image: &Image,
) -> Result<Root, PlanError> {
    match (request.root, target) {
        (Root::Image, _) => Ok(Root::Image),
        (Root::Target | Root::Crashed, _) if !facts.is_remora => Err(PlanError::RootElsewhere),
        (Root::Target | Root::Crashed, None) => Err(PlanError::RootWithoutTarget),
        (root @ (Root::Target | Root::Crashed), Some(_)) => Ok(root),
        // Whoever names an image gets what kubectl gives. Programs that need a loader would look for it in the target's root.
        (Root::Auto, Some(target))
            if facts.is_remora && image.choice != ImageChoice::Named && choose::is_static(&image.name) =>
        {
            if runs(pod, target) {
                Ok(Root::Target)
            } else {
                Ok(if has_crashed(pod, target) { Root::Crashed } else { Root::Image })
            }
        }
        (Root::Auto, _) => Ok(Root::Image),
    }
}

impl Subject<'_> {
    fn rung(&self, profile: Profile, mirror: Mirror) -> Result<Rung, PlanError> {
        let wanted = DebugRequest { mirror, ..self.request.clone() };
        let (context, note) = mirror::user(&wanted, self.pod, self.target, profile);
        let uid = context.run_as_user;
        let readable = note.is_none() && self.may_read(profile, mirror, uid);
        let context = Some(profile.grant(context)).filter(|context| *context != Default::default());
        let mirrored = self.target.map(|target| mirror::mirror(target, mirror, profile, self.root)).unwrap_or_default();
        let notices =
            self.summary(uid, readable, &mirrored).into_iter().chain(note).chain(self.left_out(&mirrored)).collect();
        let entry = EphemeralContainer { security_context: context, ..self.entry(mirrored) };
        let without = if mirror == self.request.mirror { "" } else { " without variables and volumes" };
        let name = format!("{}{without}", profile.name());
        Ok(Rung { name, profile, mirror, entry: custom::applied(&entry, self.request.custom.as_ref())?, notices })
    }

    fn entry(&self, mirrored: Mirrored) -> EphemeralContainer {
        let request = self.request;
        let by_shell = !request.limits.is_empty() && !self.facts.is_remora;
        let words = some(if by_shell { request.limits.wrapped(&request.command) } else { request.command.clone() });
        let (command, args) = if request.as_arguments && !by_shell { (None, words) } else { (words, None) };
        // An image that is on the node by its tag is not pulled anew.
        let on_node = (self.image.choice != ImageChoice::Named).then(|| "IfNotPresent".to_owned());
        let joins = self.target_runs || self.root == Root::Crashed || matches!(request.target, TargetChoice::Named(_));
        EphemeralContainer {
            name: self.container.clone(),
            image: Some(self.image.name.clone()),
            image_pull_policy: request.image_pull_policy.clone().or(on_node),
            command,
            args,
            env: some(self.variables(mirrored.env)),
            env_from: some(mirrored.env_from),
            working_dir: request.working_dir.clone().or(mirrored.working_dir),
            volume_mounts: some(mirrored.mounts),
            target_container_name: self.target_name.clone().filter(|_| joins),
            termination_message_policy: Some("File".to_owned()),
            stdin: request.stdin.then_some(true),
            // What is piped in has an end, and only so does the tool learn of it; a terminal may be left and joined again.
            stdin_once: (request.stdin && request.attach && !request.tty).then_some(true),
            tty: request.tty.then_some(true),
            ..EphemeralContainer::default()
        }
    }

    /// The user's own win; a node of ours reads its part from the same list.
    fn variables(&self, mirrored: Vec<EnvVar>) -> Vec<EnvVar> {
        let own = &self.request.env;
        let root = match self.root {
            Root::Target => Some(variable("REMORA_ROOT", "target")),
            Root::Crashed => Some(variable("REMORA_ROOT", "crashed")),
            Root::Auto | Root::Image => None,
        };
        let limits = if self.facts.is_remora { self.request.limits.variables() } else { Vec::new() };
        let maker = self.facts.user.as_deref().map(|user| variable(MAKER, user));
        let all = mirrored.into_iter().chain(root).chain(limits).chain(maker);
        let kept = all.filter(|variable| !own.iter().any(|o| o.name == variable.name));
        kept.chain(own.iter().cloned()).collect()
    }

    fn notices(&self) -> Vec<String> {
        let legacy = (self.request.profile == Some(Profile::Legacy)).then(|| LEGACY_WARNING.to_owned());
        let image = &self.image.name;
        let image = match self.image.choice {
            ImageChoice::Named => None,
            ImageChoice::OnNode => Some(format!("Using image {image}, which the node has already (--image chooses).")),
            ImageChoice::Default => Some(format!("Using image {image} (--image chooses).")),
        };
        let name = &self.container;
        let guard = "Its time is kept by a shell in the container, since the node knows no limits: the image needs sh, sleep and stat.";
        let guarded = (!self.request.limits.is_empty() && !self.facts.is_remora).then(|| guard.to_owned());
        let named = self.request.name.is_none().then(|| format!("Defaulting debug container name to {name}."));
        [legacy, self.targeting(), image, guarded, named].into_iter().flatten().collect()
    }

    fn targeting(&self) -> Option<String> {
        let target = self.target_name.as_deref()?;
        if matches!(self.request.target, TargetChoice::Named(_)) {
            return Some(format!(
                "Targeting container \"{target}\". If you don't see processes from this container it may be because the \
                 container runtime doesn't support this feature."
            ));
        }
        let all = self.pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.as_str()).collect::<Vec<_>>();
        if !self.target_runs {
            return Some(format!(
                "Targeting container \"{target}\", which does not run: its processes cannot be joined."
            ));
        }
        (all.len() > 1)
            .then(|| format!("Defaulted target container \"{target}\" out of: {} (--target chooses).", all.join(", ")))
    }

    /// What is as in the target, in one line, and where its files are.
    fn summary(&self, uid: Option<i64>, readable: bool, mirrored: &Mirrored) -> Vec<String> {
        let Some(target) = self.target_name.as_deref() else { return Vec::new() };
        let count = |n: usize, one: &str| (n > 0).then(|| format!("{n} {one}{}", if n == 1 { "" } else { "s" }));
        let sources = |n: usize| (n > 0).then(|| format!("variables from {n} source{}", if n == 1 { "" } else { "s" }));
        let user = uid.filter(|_| self.request.user.is_none()).map(|uid| format!("user {uid}"));
        let parts = [
            user,
            count(mirrored.env.len(), "variable"),
            sources(mirrored.env_from.len()),
            mirrored.working_dir.as_ref().map(|dir| format!("working directory {dir}")),
            count(mirrored.mounts.len(), "volume mount"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let as_in = (!parts.is_empty()).then(|| format!("As in {target}: {}.", parts.join(", ")));
        as_in.into_iter().chain([self.files(target, readable)].into_iter().flatten()).collect()
    }

    fn files(&self, target: &str, readable: bool) -> Option<String> {
        let spec = self.pod.spec.as_ref()?;
        let shares = spec.share_process_namespace == Some(true) || spec.host_pid == Some(true);
        match self.root {
            Root::Target => Some(format!(
                "/ is the root of {target}: what you change there is changed. The image's programs come first in PATH."
            )),
            Root::Crashed => Some(format!(
                "/ is what the last ended instance of {target} has left; /dev/remora/crashed.json tells how it ended."
            )),
            _ if !self.target_runs => None,
            _ if shares => Some(format!("The files of {target} are at /proc/PID/root, with PID one of its processes.")),
            _ if readable => Some(format!("The files of {target} are at /proc/1/root.")),
            _ => Some(format!("The files of {target} are at /proc/1/root, if {target} runs as the same user.")),
        }
    }

    /// The kernel lets into another process' root who is the same user, or root with `SYS_PTRACE` (ptrace(2), access modes).
    fn may_read(&self, profile: Profile, mirror: Mirror, uid: Option<i64>) -> bool {
        let context = self.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let uid = uid.or(context.and_then(|context| context.run_as_user));
        let is_same = mirror.user && self.request.user.is_none() && uid.is_some();
        let traces = matches!(profile, Profile::General | Profile::Sysadmin) && uid.unwrap_or(0) == 0;
        is_same || traces
    }

    fn left_out(&self, mirrored: &Mirrored) -> Vec<String> {
        let line = |(path, why): &(String, &str)| format!("Not mounted: {path} ({why}).");
        mirrored.left_out.iter().map(line).collect()
    }
}

/// A variable with a value.
pub(crate) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
