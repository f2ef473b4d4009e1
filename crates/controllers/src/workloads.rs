//! What runs the controllers of workloads, and those that send pods away: one watch of each kind's metadata, for all of them; whom a change concerns ([`concerns`], pure); a
//! queue of turns for each controller. Started by [`run`](crate::run).

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::runtime::{WatchStreamExt, watcher};
use remora_model::kinds::{KINDS, Storage, Verb};
use remora_model::{Kind, kinds};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::deployment::Deployments;
use crate::disruption::Budgets;
use crate::endpoints::{Endpoints, Look};
use crate::garbage::Garbage;
use crate::objects::{Key, Objects};
use crate::replica_set::ReplicaSets;
use crate::storage::{Binder, Everything, Place};
use crate::taint_eviction::TaintEviction;
use crate::turns;
use crate::world::{Change, Entry, Reference, Seen, World};

/// A client for each.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) garbage: Client,
    pub(crate) replica_set: Client,
    pub(crate) deployment: Client,
    pub(crate) disruption: Client,
    pub(crate) endpoint: Client,
    pub(crate) endpoint_slice: Client,
    pub(crate) storage: Client,
    pub(crate) taint_eviction: Client,
}

/// Every kind of object that can have owners or be one, once: of two views of the same objects the first is enough. Events are neither.
pub(crate) fn watched_kinds() -> impl Iterator<Item = &'static Kind> {
    let mut seen = Vec::new();
    KINDS.iter().filter(move |kind| {
        let Storage::Stored(place) = kind.storage else { return false };
        let is_new = !seen.contains(&place);
        seen.push(place);
        is_new && place != "events" && kind.verbs.contains(&Verb::Watch)
    })
}

/// Who is to look at what.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wake {
    Garbage(Reference),
    ReplicaSet(Key),
    Deployment(Key),
    Budget(Key),
    Endpoints(Look),
    Claims,
    Node(Key),
}

/// Runs until dropped. Volumes are made at this place.
pub(crate) async fn run(clients: Clients, place: Place) {
    let world = Arc::new(Mutex::new(World::default()));
    let (garbage, garbage_wakes) = mpsc::unbounded_channel();
    let (replica_set, replica_set_wakes) = mpsc::unbounded_channel();
    let (deployment, deployment_wakes) = mpsc::unbounded_channel();
    let (budget, budget_wakes) = mpsc::unbounded_channel();
    let (endpoints, endpoint_wakes) = mpsc::unbounded_channel();
    let (node, node_wakes) = mpsc::unbounded_channel();
    let objects = Objects::new(clients.garbage.clone());
    let collector = Garbage::new(clients.garbage, Arc::clone(&world), garbage.clone());
    let replica_sets = ReplicaSets::new(clients.replica_set);
    let deployments = Deployments::new(clients.deployment);
    let budgets = Budgets::new(clients.disruption);
    let behind = Endpoints::new(clients.endpoint, clients.endpoint_slice);
    let (claims, claim_wakes) = mpsc::unbounded_channel();
    let binder = Binder::new(clients.storage, place);
    let eviction = TaintEviction::new(clients.taint_eviction);
    let wakes = Wakes { garbage, replica_set, deployment, budget, endpoints, claims, node, eviction: eviction.clone() };
    tokio::join!(
        watch(&objects, &world, &wakes),
        turns::run("garbage-collector", garbage_wakes, move |of| collector.clone().look(of)),
        turns::run("replica-set", replica_set_wakes, move |key| replica_sets.clone().look(key)),
        turns::run("deployment", deployment_wakes, move |key| deployments.clone().look(key)),
        turns::run("disruption", budget_wakes, move |key| budgets.clone().look(key)),
        turns::run("endpoint", endpoint_wakes, move |at| behind.clone().look(at)),
        turns::run("persistent-volume-binder", claim_wakes, move |all| binder.clone().look(all)),
        turns::run("taint-eviction", node_wakes, move |key| eviction.clone().look(key)),
    );
}

struct Wakes {
    garbage: UnboundedSender<Reference>,
    replica_set: UnboundedSender<Key>,
    deployment: UnboundedSender<Key>,
    budget: UnboundedSender<Key>,
    endpoints: UnboundedSender<Look>,
    claims: UnboundedSender<Everything>,
    node: UnboundedSender<Key>,
    eviction: TaintEviction,
}

impl Wakes {
    fn send(&self, wake: Wake) {
        // Receivers go when all controllers do.
        let _ends = match wake {
            Wake::Garbage(of) => self.garbage.send(of).is_ok(),
            Wake::ReplicaSet(key) => self.replica_set.send(key).is_ok(),
            Wake::Deployment(key) => self.deployment.send(key).is_ok(),
            Wake::Budget(key) => self.budget.send(key).is_ok(),
            Wake::Endpoints(look) => self.endpoints.send(look).is_ok(),
            Wake::Claims => self.claims.send(Everything).is_ok(),
            Wake::Node(key) => self.node.send(key).is_ok(),
        };
    }
}

type Watched = (&'static Kind, Result<Seen, watcher::Error>);

async fn watch(objects: &Objects, world: &Mutex<World>, wakes: &Wakes) {
    let mut watches: SelectAll<BoxStream<'static, Watched>> =
        watched_kinds().map(|kind| watch_kind(objects, kind)).collect();
    let mut unlisted: Vec<&Kind> = watched_kinds().collect();
    while let Some((kind, seen)) = watches.next().await {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
                tracing::warn!(controller = "workloads", watch = kind.plural, error, "will be tried again");
                continue;
            }
        };
        let ends = matches!(seen, Seen::ListEnds);
        let tainted = wakes.eviction.tainted();
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        for change in world.step(kind, seen) {
            let known = Known { world: &world, all_listed: unlisted.is_empty(), tainted: &tainted };
            concerns(&known, &change).into_iter().for_each(|wake| wakes.send(wake));
        }
        if ends && !unlisted.is_empty() {
            unlisted.retain(|other| *other != kind);
            if unlisted.is_empty() {
                garbage_of(&world).for_each(|of| wakes.send(Wake::Garbage(of)));
            }
        }
    }
}

fn watch_kind(objects: &Objects, kind: &'static Kind) -> BoxStream<'static, Watched> {
    let watched = watcher(objects.api(kind), watcher::Config::default()).default_backoff();
    let known = |meta: ObjectMeta| {
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        (Key { namespace: word(&meta.namespace), name: word(&meta.name) }, Entry::of(&meta))
    };
    let told = watched.map(move |event| {
        let seen = event.map(|event| match event {
            watcher::Event::Init => Seen::ListBegins,
            watcher::Event::InitDone => Seen::ListEnds,
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                let (key, entry) = known(object.metadata);
                Seen::Is(key, entry)
            }
            watcher::Event::Delete(object) => Seen::IsGone(known(object.metadata).0),
        });
        (kind, seen)
    });
    told.boxed()
}

/// All that has owners of which one is not known to be there.
fn garbage_of(world: &World) -> impl Iterator<Item = Reference> {
    world.owned().filter(|(of, entry)| lacks_owner(world, of, entry)).map(|(of, _)| of)
}

fn lacks_owner(world: &World, of: &Reference, entry: &Entry) -> bool {
    let owners = entry.owners.iter().filter_map(|owner| owner.reference(&of.key));
    owners.into_iter().any(|owner| !world.has(&owner))
}

/// By what it is known whom a change concerns.
struct Known<'a> {
    world: &'a World,
    /// Until all kinds have been listed, nobody is known to lack an owner.
    all_listed: bool,
    /// The nodes that pods may have to go from.
    tainted: &'a [Key],
}

/// Whom a change concerns.
fn concerns(known: &Known<'_>, change: &Change) -> Vec<Wake> {
    let world = known.world;
    let mut wakes = garbage_concerns(world, change, known.all_listed);
    match (change.kind.group, change.kind.plural) {
        ("", "pods") => {
            wakes.extend(pod_concerns(world, change));
            wakes.extend(known.tainted.iter().filter(|_| change.now.is_some()).cloned().map(Wake::Node));
        }
        ("", "nodes") => wakes.push(Wake::Node(change.key.clone())),
        ("apps", "replicasets") => {
            wakes.push(Wake::ReplicaSet(change.key.clone()));
            wakes.extend(of_controller(world, change, kinds::v1("apps", "deployments")).map(Wake::Deployment));
        }
        ("apps", "deployments") => wakes.push(Wake::Deployment(change.key.clone())),
        ("policy", "poddisruptionbudgets") => wakes.push(Wake::Budget(change.key.clone())),
        ("", "persistentvolumes" | "persistentvolumeclaims") | ("storage.k8s.io", "storageclasses") => {
            wakes.push(Wake::Claims);
        }
        _ => {}
    }
    wakes.extend(endpoint_concerns(world, change).map(Wake::Endpoints));
    // How many pods there are, and how many there should be.
    if change.kind.group == "apps" || change.kind == kinds::core("pods") {
        let all = world.of(kinds::v1("policy", "poddisruptionbudgets"), &change.key.namespace);
        wakes.extend(all.map(|(key, _)| Wake::Budget(key.clone())));
    }
    wakes
}

/// The one of a kind that controls it, or did; or all in its namespace that could come to.
fn of_controller<'w>(world: &'w World, change: &'w Change, kind: &'static Kind) -> impl Iterator<Item = Key> + use<'w> {
    let controllers: Vec<_> =
        [&change.before, &change.now].into_iter().flatten().filter_map(Entry::controller).collect();
    let is_free = change.now.as_ref().is_some_and(|now| now.controller().is_none());
    let named: Vec<Key> = controllers
        .into_iter()
        .filter_map(|owner| owner.reference(&change.key))
        .filter(|owner| owner.kind == kind)
        .map(|owner| owner.key)
        .collect();
    let any = world.of(kind, &change.key.namespace).filter(move |_| is_free).map(|(key, _)| key.clone());
    named.into_iter().chain(any)
}

fn pod_concerns(world: &World, change: &Change) -> Vec<Wake> {
    let sets = kinds::v1("apps", "replicasets");
    let keys: Vec<Key> = of_controller(world, change, sets).collect();
    let mut wakes = Vec::new();
    // A deployment that recreates its pods waits for the last of them.
    if change.now.is_none() {
        let owners = keys.iter().filter_map(|key| world.get(sets, key)?.controller()?.reference(key));
        let deployments = owners.filter(|owner| owner.kind == kinds::v1("apps", "deployments"));
        wakes.extend(deployments.map(|owner| Wake::Deployment(owner.key)));
    }
    wakes.extend(keys.into_iter().map(Wake::ReplicaSet));
    // A claim may have waited for its first pod.
    let is_first = change.before.is_none();
    let claims = kinds::core("persistentvolumeclaims");
    if is_first && world.of(claims, &change.key.namespace).next().is_some() {
        wakes.push(Wake::Claims);
    }
    wakes
}

/// What endpoints may have to be written anew, or go. What a user writes about a service that is not there concerns nobody, but for the first time that it is seen: it may be what
/// is left of a service that went while no controllers ran.
fn endpoint_concerns(world: &World, change: &Change) -> Option<Look> {
    let services = kinds::core("services");
    let is_concerned = match (change.kind.group, change.kind.plural) {
        ("", "services") if change.now.is_none() => return Some(Look::Gone(change.key.clone())),
        ("", "services") => true,
        ("", "pods") => world.of(services, &change.key.namespace).next().is_some(),
        ("", "endpoints") => change.before.is_none() || world.get(services, &change.key).is_some(),
        ("discovery.k8s.io", "endpointslices") => {
            let owner = change.last().and_then(Entry::controller).and_then(|owner| owner.reference(&change.key));
            owner.is_some_and(|of| of.kind == services && world.get(services, &of.key).is_some())
        }
        _ => false,
    };
    is_concerned.then(|| Look::Namespace(change.key.namespace.clone()))
}

fn garbage_concerns(world: &World, change: &Change, all_listed: bool) -> Vec<Wake> {
    let Some(last) = change.last() else { return Vec::new() };
    let itself = Reference { kind: change.kind, key: change.key.clone(), uid: last.uid.clone() };
    let mut found = Vec::new();
    match &change.now {
        None => {
            found.extend(world.dependents(&last.uid));
            found.extend(owners_that_wait(world, change, last));
        }
        Some(now) => {
            let is_news = change.before.as_ref().is_none_or(|before| before.owners != now.owners);
            if now.waits_for_dependents || (is_news && all_listed && lacks_owner(world, &itself, now)) {
                found.push(itself);
            }
            // It may have forgotten them, or block them no longer.
            if let Some(before) = change.before.as_ref().filter(|_| is_news) {
                found.extend(owners_that_wait(world, change, before));
            }
        }
    }
    found.into_iter().map(Wake::Garbage).collect()
}

/// Of these owners of what has changed, those that wait for their dependents.
fn owners_that_wait(world: &World, change: &Change, dependent: &Entry) -> impl Iterator<Item = Reference> {
    let owners = dependent.owners.iter().filter_map(|owner| owner.reference(&change.key));
    owners.filter(|owner| world.get(owner.kind, &owner.key).is_some_and(|entry| entry.waits_for_dependents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Owner;

    fn key(name: &str) -> Key {
        Key { namespace: "a".to_owned(), name: name.to_owned() }
    }

    fn entry(uid: &str, owner: Option<(&'static Kind, &str, &str)>) -> Entry {
        let owner = owner.map(|(kind, name, uid)| Owner {
            uid: uid.to_owned(),
            kind: Some(kind),
            name: name.to_owned(),
            controls: true,
            blocks: true,
        });
        Entry {
            uid: uid.to_owned(),
            owners: owner.into_iter().collect(),
            is_ending: false,
            waits_for_dependents: false,
        }
    }

    /// A deployment, its replica set, and another one that nobody owns.
    fn world() -> World {
        let mut world = World::default();
        let (deployments, sets) = (kinds::v1("apps", "deployments"), kinds::v1("apps", "replicasets"));
        world.step(deployments, Seen::Is(key("web"), entry("d", None)));
        world.step(sets, Seen::Is(key("web-1"), entry("rs", Some((deployments, "web", "d")))));
        world.step(sets, Seen::Is(key("free"), entry("free", None)));
        world
    }

    fn told(world: &mut World, kind: &'static Kind, seen: Seen) -> Vec<String> {
        told_beside(&[], world, kind, seen)
    }

    fn told_beside(tainted: &[Key], world: &mut World, kind: &'static Kind, seen: Seen) -> Vec<String> {
        let shown = |wake: &Wake| match wake {
            Wake::Garbage(of) => format!("garbage {of}"),
            Wake::ReplicaSet(key) => format!("replica set {key}"),
            Wake::Deployment(key) => format!("deployment {key}"),
            Wake::Budget(key) => format!("budget {key}"),
            Wake::Endpoints(at) => at.to_string(),
            Wake::Claims => "all claims".to_owned(),
            Wake::Node(key) => format!("node {}", key.name),
        };
        let changes = world.step(kind, seen);
        let known = Known { world, all_listed: true, tainted };
        changes.iter().flat_map(|change| concerns(&known, change)).map(|wake| shown(&wake)).collect()
    }

    #[test]
    fn a_pod_concerns_its_owner_or_all_that_could_own_it() {
        let (pods, sets) = (kinds::core("pods"), kinds::v1("apps", "replicasets"));
        let mut world = world();
        let own = entry("p", Some((sets, "web-1", "rs")));
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), own.clone())), ["replica set a/web-1"]);
        let all = ["replica set a/web-1", "replica set a/free", "replica set a/web-1"];
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), entry("p", None))), all);
        told(&mut world, pods, Seen::Is(key("p"), own));
        assert_eq!(told(&mut world, pods, Seen::IsGone(key("p"))), ["deployment a/web", "replica set a/web-1"]);
    }

    #[test]
    fn a_reference_that_leads_elsewhere_concerns_nobody() {
        let (pods, sets) = (kinds::core("pods"), kinds::v1("apps", "replicasets"));
        let mut world = world();
        let other = entry("p", Some((sets, "kube-system/secrets?watch=true", "x")));
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), other)), [""; 0]);
        assert_eq!(garbage_of(&world).count(), 0);
    }

    #[test]
    fn a_node_that_changes_is_looked_at_and_a_tainted_one_when_a_pod_does() {
        let (nodes, pods) = (kinds::core("nodes"), kinds::core("pods"));
        let mut world = World::default();
        let node = Key { namespace: String::new(), name: "n".to_owned() };
        assert_eq!(told(&mut world, nodes, Seen::Is(node.clone(), entry("n", None))), ["node n"]);
        let pod = || Seen::Is(key("p"), entry("p", None));
        assert_eq!(told(&mut world, pods, pod()), [""; 0]);
        assert_eq!(told_beside(std::slice::from_ref(&node), &mut world, pods, pod()), ["node n"]);
        assert_eq!(told_beside(&[node], &mut world, pods, Seen::IsGone(key("p"))), [""; 0]);
    }

    #[test]
    fn a_pod_concerns_the_budgets_of_its_namespace() {
        let budgets = kinds::v1("policy", "poddisruptionbudgets");
        let mut world = World::default();
        assert_eq!(told(&mut world, budgets, Seen::Is(key("b"), entry("b", None))), ["budget a/b"]);
        let seen = told(&mut world, kinds::core("pods"), Seen::Is(key("p"), entry("p", None)));
        assert_eq!(seen, ["budget a/b"]);
    }

    #[test]
    fn pods_and_what_is_written_of_endpoints_concern_the_services_of_their_namespace() {
        let [services, pods, endpoints] = ["services", "pods", "endpoints"].map(kinds::core);
        let slices = kinds::v1("discovery.k8s.io", "endpointslices");
        let mut world = World::default();
        let all = ["the services of a"];
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), entry("p", None))), [""; 0]);
        for name in ["web", "other"] {
            assert_eq!(told(&mut world, services, Seen::Is(key(name), entry(name, None))), all);
        }
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), entry("p", None))), all);
        let elsewhere = Key { namespace: "b".to_owned(), name: "p".to_owned() };
        assert_eq!(told(&mut world, pods, Seen::Is(elsewhere, entry("q", None))), [""; 0]);
        for _ in 0..2 {
            assert_eq!(told(&mut world, endpoints, Seen::Is(key("web"), entry("e", None))), all);
        }
        let of = |name: &str| entry("x", Some((services, name, name)));
        assert_eq!(told(&mut world, slices, Seen::Is(key("web-1"), of("web"))), all);
        assert_eq!(told(&mut world, slices, Seen::Is(key("web-2"), of("gone"))), ["garbage endpointslice a/web-2"]);
        let gone = ["garbage endpointslice a/web-1", "the service a/web, which is gone"];
        assert_eq!(told(&mut world, services, Seen::IsGone(key("web"))), gone);
    }

    #[test]
    fn endpoints_without_a_service_are_looked_at_when_they_are_first_seen() {
        let endpoints = kinds::core("endpoints");
        let mut world = World::default();
        let seen = || Seen::Is(key("left"), entry("l", None));
        assert_eq!(told(&mut world, endpoints, seen()), ["the services of a"]);
        assert_eq!(told(&mut world, endpoints, seen()), [""; 0]);
        assert_eq!(told(&mut world, endpoints, Seen::IsGone(key("left"))), [""; 0]);
    }

    #[test]
    fn a_new_pod_concerns_the_claims_of_its_namespace() {
        let (claims, pods) = (kinds::core("persistentvolumeclaims"), kinds::core("pods"));
        let mut world = World::default();
        assert_eq!(told(&mut world, claims, Seen::Is(key("data"), entry("c", None))), ["all claims"]);
        assert_eq!(told(&mut world, pods, Seen::Is(key("p"), entry("p", None))), ["all claims"]);
        let again = told(&mut world, pods, Seen::Is(key("p"), entry("p", None)));
        assert!(!again.iter().any(|wake| wake == "all claims"), "{again:?}");
    }

    #[test]
    fn a_replica_set_concerns_its_deployment() {
        let (deployments, sets) = (kinds::v1("apps", "deployments"), kinds::v1("apps", "replicasets"));
        let mut world = world();
        let own = entry("rs", Some((deployments, "web", "d")));
        let seen = told(&mut world, sets, Seen::Is(key("web-1"), own));
        assert_eq!(seen, ["replica set a/web-1", "deployment a/web", "deployment a/web"]);
        let free = told(&mut world, sets, Seen::Is(key("free"), entry("free", None)));
        assert_eq!(free, ["replica set a/free", "deployment a/web"]);
    }

    #[test]
    fn what_loses_an_owner_may_be_garbage() {
        let (deployments, sets) = (kinds::v1("apps", "deployments"), kinds::v1("apps", "replicasets"));
        let mut world = world();
        let gone = told(&mut world, deployments, Seen::IsGone(key("web")));
        assert_eq!(gone, ["garbage replicaset a/web-1", "deployment a/web"]);
        let late = entry("late", Some((deployments, "web", "d")));
        let seen = told(&mut world, sets, Seen::Is(key("late"), late));
        assert_eq!(seen, ["garbage replicaset a/late", "replica set a/late", "deployment a/web"]);
        assert_eq!(garbage_of(&world).count(), 2);
    }

    #[test]
    fn an_owner_that_waits_is_told_when_a_dependent_goes() {
        let (deployments, sets) = (kinds::v1("apps", "deployments"), kinds::v1("apps", "replicasets"));
        let mut world = world();
        let waits = Entry { is_ending: true, waits_for_dependents: true, ..entry("d", None) };
        let marked = told(&mut world, deployments, Seen::Is(key("web"), waits));
        assert_eq!(marked, ["garbage deployment a/web", "deployment a/web"]);
        let gone = told(&mut world, sets, Seen::IsGone(key("web-1")));
        assert_eq!(gone, ["garbage deployment a/web", "replica set a/web-1", "deployment a/web"]);
    }

    #[test]
    fn an_owner_that_waits_is_told_when_a_dependent_forgets_it_or_blocks_it_no_longer() {
        let (deployments, sets) = (kinds::v1("apps", "deployments"), kinds::v1("apps", "replicasets"));
        let blocking = entry("rs", Some((deployments, "web", "d")));
        let mut freeing = blocking.clone();
        freeing.owners[0].blocks = false;
        for now in [freeing, entry("rs", None)] {
            let mut world = world();
            let waits = Entry { is_ending: true, waits_for_dependents: true, ..entry("d", None) };
            told(&mut world, deployments, Seen::Is(key("web"), waits));
            let same = told(&mut world, sets, Seen::Is(key("web-1"), blocking.clone()));
            assert!(!same.contains(&"garbage deployment a/web".to_owned()), "{same:?}");
            let seen = told(&mut world, sets, Seen::Is(key("web-1"), now));
            assert!(seen.contains(&"garbage deployment a/web".to_owned()), "{seen:?}");
        }
    }
}
