//! Static pods: which run is what the files of a folder say, and each has a mirror in the API, by which people see it.
//!
//! ```text
//!   folder ──inotify──▶ keeper ──start, end──▶ actors
//!                        │  ▲
//!          mirrors ◀─────┘  └── mirrors as the watch of pods sees them
//! ```
//! The keeper owns which file's pod runs under a name, and the name's mirror; what becomes of a pod is its actor's. It waits for no answer of the API:
//! pods run without it. What to do about a mirror is decided in `remora-decide`.

mod folder;
mod mirror;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use remora_decide::{MirrorAction, NoteType, mirror_action};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::folder::Folder;
use self::mirror::MirrorError;
use crate::actor::{Adopted, Handle, Origin, Wake, sleep_until};
use crate::context::{Context, id_of};
use crate::node::NodeError;
use crate::pods::Pods;

const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);
/// For how long a mirror that somebody has deleted is seen to be gone. `kubectl delete` looks at the name, then lists and watches it: one that is back
/// between the two would never be gone for it.
const ABSENCE: SignedDuration = SignedDuration::from_secs(2);

/// What the watch of pods sees of mirrors.
#[derive(Debug)]
pub(crate) enum MirrorNews {
    /// These are all.
    All(Vec<Arc<Pod>>),
    /// This is how one is now.
    Is(Arc<Pod>),
    /// This one is gone.
    Gone(Arc<Pod>),
}

/// The keeper of static pods.
pub(crate) struct Statics {
    context: Context,
    pods: Pods,
    folder: Option<Folder>,
    names: BTreeMap<Name, Slot>,
    /// Whether it is known which mirrors there are: before, none is made.
    listed: bool,
    work: JoinSet<Done>,
}

/// Namespace and name.
type Name = (String, String);

/// What is known of one name.
#[derive(Default)]
struct Slot {
    /// The pod that is to run.
    wanted: Option<Arc<Pod>>,
    /// The pod that runs or ends.
    running: Option<Running>,
    mirror: Option<Arc<Pod>>,
    /// Its mirror is being made or deleted.
    busy: bool,
    /// How often in a row that has failed.
    failures: u32,
    /// Nothing is done about its mirror before: that has failed, or people are to see that it is gone.
    retry: Option<Timestamp>,
}

struct Running {
    pod: Arc<Pod>,
    handle: Handle,
    /// It has been told to end.
    ends: bool,
}

enum Done {
    Ended(Name),
    Mirror(Name, Result<Option<Arc<Pod>>, MirrorError>),
}

enum Event {
    Files,
    Mirrors(MirrorNews),
    Done(Done),
    Retry,
}

impl Statics {
    /// Follows the folder, if there is one.
    pub(crate) fn open(context: Context, pods: Pods) -> Result<Self, NodeError> {
        let config = context.config.static_pods.clone();
        let open = |config: crate::config::StaticPods| {
            let path = config.folder.display().to_string();
            Folder::open(config).map_err(|why| NodeError::StaticPods { path, why })
        };
        let folder = config.map(open).transpose()?;
        Ok(Self { context, pods, folder, names: BTreeMap::new(), listed: false, work: JoinSet::new() })
    }

    /// Starts the pods of all files, with what the runtime has of them.
    pub(crate) async fn begin(&mut self, adopted: &mut HashMap<String, Adopted>) {
        self.read_files();
        self.settle_all(adopted).await;
    }

    /// Keeps pods and mirrors as they should be until the agent stops.
    pub(crate) async fn run(mut self, mut mirrors: mpsc::Receiver<MirrorNews>) {
        let stop = self.context.stop.clone();
        let mut listens = true;
        loop {
            let retry = self.names.values().filter_map(|slot| slot.retry).min();
            // Each arm is cancel-safe: what is not taken now is there at the next look.
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                news = mirrors.recv(), if listens => match news {
                    Some(news) => Event::Mirrors(news),
                    // The watch has ended; files are followed all the same.
                    None => {
                        listens = false;
                        continue;
                    }
                },
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => Event::Done(done),
                    Err(error) => {
                        tracing::error!(%error, "work on a static pod ended badly");
                        continue;
                    }
                },
                changed = changed(self.folder.as_mut()) => {
                    if let Err(why) = changed {
                        self.give_up(&why);
                        continue;
                    }
                    Event::Files
                }
                () = sleep_until(&self.context, retry) => Event::Retry,
            };
            self.take(event).await;
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Files => self.read_files(),
            Event::Mirrors(news) => self.take_news(news).await,
            Event::Done(Done::Ended(name)) => {
                let slot = self.names.entry(name).or_default();
                slot.running = slot.running.take().filter(|running| !running.handle.has_ended());
            }
            Event::Done(Done::Mirror(name, result)) => self.mirror_done(&name, result).await,
            Event::Retry => {
                let now = self.context.now();
                let due = |slot: &&mut Slot| slot.retry.is_some_and(|retry| retry <= now);
                self.names.values_mut().filter(due).for_each(|slot| slot.retry = None);
            }
        }
        self.settle_all(&mut HashMap::new()).await;
    }

    fn read_files(&mut self) {
        let Some(folder) = &mut self.folder else { return };
        let mut problems = folder.read();
        self.names.values_mut().for_each(|slot| slot.wanted = None);
        for (path, pod) in folder.pods() {
            let slot = self.names.entry(name_of(pod)).or_default();
            let runs = slot.running.as_ref().is_some_and(|running| id_of(&running.pod).uid == id_of(pod).uid);
            // Of two files the one whose pod runs already has the name, else the first.
            match &slot.wanted {
                None => slot.wanted = Some(Arc::clone(pod)),
                Some(_) if runs => slot.wanted = Some(Arc::clone(pod)),
                Some(_) => problems.push(format!("{}: another file has a pod of this name", path.display())),
            }
        }
        for problem in problems {
            tell(&self.context, &problem);
        }
    }

    fn give_up(&mut self, why: &str) {
        let Some(folder) = self.folder.take() else { return };
        tell(&self.context, &format!("{} cannot be followed any more: {why}", folder.path().display()));
    }

    async fn take_news(&mut self, news: MirrorNews) {
        match news {
            MirrorNews::All(all) => {
                self.listed = true;
                let names: Vec<Name> = self.names.keys().cloned().collect();
                for name in names {
                    if !all.iter().any(|mirror| name_of(mirror) == name) {
                        self.put_mirror(&name, None).await;
                    }
                }
                for mirror in all {
                    self.put_mirror(&name_of(&mirror), Some(mirror)).await;
                }
            }
            MirrorNews::Is(mirror) => self.put_mirror(&name_of(&mirror), Some(mirror)).await,
            MirrorNews::Gone(gone) => {
                let name = name_of(&gone);
                let now = self.context.now();
                let Some(slot) = self.names.get_mut(&name) else { return };
                if slot.mirror.as_ref().is_some_and(|mirror| mirror.metadata.uid == gone.metadata.uid) {
                    // What was waited for is over, but others may be waiting for just this.
                    slot.retry = if slot.busy && !is_marked(&gone) { None } else { now.checked_add(ABSENCE).ok() };
                    self.put_mirror(&name, None).await;
                }
            }
        }
    }

    /// Notes how a name's mirror is now, and lets the pod's actor know of it: there its status is written.
    async fn put_mirror(&mut self, name: &Name, mirror: Option<Arc<Pod>>) {
        let slot = self.names.entry(name.clone()).or_default();
        if let (Some(new), Some(old)) = (&mirror, &slot.mirror)
            && mirror::revision(new) < mirror::revision(old)
        {
            return;
        }
        let uid_of = |mirror: &Option<Arc<Pod>>| mirror.as_ref().map(|mirror| id_of(mirror).uid.to_owned());
        if let Some(old) = uid_of(&slot.mirror).filter(|old| Some(old) != uid_of(&mirror).as_ref()) {
            self.pods.remove_mirror(&old);
        }
        slot.mirror = mirror;
        let Some(running) = &slot.running else { return };
        let shown = slot
            .mirror
            .as_ref()
            .filter(|mirror| mirror_action(Some(&running.pod), running.ends, Some(mirror)) == MirrorAction::Keep);
        if let Some(mirror) = shown {
            self.pods.add_mirror(id_of(mirror).uid, id_of(&running.pod).uid);
        }
        running.handle.wake(Wake::Mirror(shown.cloned())).await;
    }

    async fn mirror_done(&mut self, name: &Name, result: Result<Option<Arc<Pod>>, MirrorError>) {
        let now = self.context.now();
        let slot = self.names.entry(name.clone()).or_default();
        slot.busy = false;
        match result {
            Ok(mirror) => {
                slot.failures = 0;
                if mirror.is_none() && slot.mirror.as_deref().is_some_and(is_marked) {
                    slot.retry = now.checked_add(ABSENCE).ok();
                }
                self.put_mirror(name, mirror).await;
            }
            Err(error) => {
                let wait = (SignedDuration::from_secs(1) * (1 << slot.failures.min(10))).min(LONGEST_WAIT);
                slot.failures += 1;
                slot.retry = now.checked_add(wait).ok();
                tracing::warn!(%error, pod = name.1, "the mirror of a static pod is not as it should be");
            }
        }
    }

    async fn settle_all(&mut self, adopted: &mut HashMap<String, Adopted>) {
        let names: Vec<Name> = self.names.keys().cloned().collect();
        for name in &names {
            self.settle_pod(name, adopted).await;
            self.settle_mirror(name);
        }
        self.names.retain(|_, slot| !slot.is_idle());
    }

    /// A pod that is not wanted any more ends; the one that has its name next starts when nothing of it is left.
    async fn settle_pod(&mut self, name: &Name, adopted: &mut HashMap<String, Adopted>) {
        let Some(slot) = self.names.get_mut(name) else { return };
        match (&mut slot.running, &slot.wanted) {
            (Some(running), wanted) if !running.ends => {
                let uid = id_of(&running.pod).uid;
                if wanted.as_ref().is_none_or(|wanted| id_of(wanted).uid != uid) {
                    running.ends = true;
                    running.handle.wake(Wake::Removed(Arc::clone(&running.pod))).await;
                }
            }
            (None, Some(wanted)) => {
                let uid = id_of(wanted).uid;
                // One that an agent before has left under this UID, and that ends.
                let before = self.pods.get(uid).filter(|handle| !handle.has_ended());
                let handle = before.unwrap_or_else(|| {
                    let known = adopted.remove(uid).unwrap_or_default();
                    self.pods.start(&self.context, (**wanted).clone(), Origin::File, known)
                });
                slot.running = Some(Running { pod: Arc::clone(wanted), handle: handle.clone(), ends: false });
                let name = name.clone();
                self.work.spawn(async move {
                    handle.ended().await;
                    Done::Ended(name)
                });
            }
            _ => {}
        }
    }

    /// Begins to make or delete the name's mirror, if it is not as it should be.
    fn settle_mirror(&mut self, name: &Name) {
        let Some(slot) = self.names.get_mut(name) else { return };
        if !self.listed || slot.busy || slot.retry.is_some() {
            return;
        }
        let (of, ends) = slot.running.as_ref().map_or((None, false), |r| (Some(Arc::clone(&r.pod)), r.ends));
        let action = mirror_action(of.as_deref(), ends, slot.mirror.as_deref());
        let (context, name, mirror) = (self.context.clone(), name.clone(), slot.mirror.clone());
        match (action, of, mirror) {
            (MirrorAction::Create, Some(pod), _) => {
                slot.busy = true;
                let made = async move { mirror::create(&context, &pod).await.map(Some) };
                self.work.spawn(outcome(name, made));
            }
            (MirrorAction::Delete, _, Some(mirror)) => {
                slot.busy = true;
                let deleted = async move { mirror::delete(&context, &mirror).await };
                self.work.spawn(outcome(name, deleted));
            }
            _ => {}
        }
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.wanted.is_none() && self.running.is_none() && self.mirror.is_none() && !self.busy
    }
}

/// What became of work on a name's mirror. A panic is a failure like others: the name would stay busy for ever.
async fn outcome(name: Name, work: impl Future<Output = Result<Option<Arc<Pod>>, MirrorError>>) -> Done {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    Done::Mirror(name, result.unwrap_or(Err(MirrorError::Panicked)))
}

/// Whether somebody has asked for its end.
fn is_marked(mirror: &Pod) -> bool {
    mirror.metadata.deletion_timestamp.is_some()
}

/// Never, without a folder.
async fn changed(folder: Option<&mut Folder>) -> Result<(), String> {
    match folder {
        Some(folder) => folder.changed().await,
        None => std::future::pending().await,
    }
}

/// Nobody sees the file in the API: its node tells what is wrong with it.
fn tell(context: &Context, problem: &str) {
    tracing::warn!(problem, "a static pod cannot be read");
    let metadata = ObjectMeta { name: Some(context.config.node_name.clone()), ..ObjectMeta::default() };
    let node = Node { metadata, ..Node::default() };
    context.recorder.node(&node, NoteType::Warning, "InvalidStaticPod", problem.to_owned());
}

fn name_of(pod: &Pod) -> Name {
    let id = id_of(pod);
    (id.namespace.to_owned(), id.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_a_mirror_that_panics_has_failed_under_its_name() {
        let name = || ("default".to_owned(), "web".to_owned());
        let done = outcome(name(), async { panic!("a fault of ours") }).await;
        assert!(matches!(done, Done::Mirror(of, Err(MirrorError::Panicked)) if of == name()));
        let done = outcome(name(), async { Ok(None) }).await;
        assert!(matches!(done, Done::Mirror(of, Ok(None)) if of == name()));
    }
}
