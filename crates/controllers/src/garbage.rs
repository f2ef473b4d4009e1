//! Garbage collection: what has owners goes with the last of them. An owner that is deleted in the foreground goes after its dependents; one that
//! is deleted as an orphan maker after they have forgotten it. Source of the rules: upstream's `garbagecollector.go`. Woken by
//! [`crate::workloads`].
//!
//! Whether an owner is there, and who depends on one that waits, is asked of the API, not of what watches have told: an object must not go
//! because news of another one is late. **Deliberately absent:** owners that cannot be asked for, since their kind is not served here or no object can
//! have their name; they count as being there, as upstream keeps what it cannot judge.

use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use remora_model::Kind;
use remora_rules::object::{at, list, text};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::Account;
use crate::objects::{Called, Key, Objects, PatchKind, owners, unless_changed};
use crate::per_object::{CallError, answered};
use crate::turns::{Looked, Next};
use crate::workloads::watched_kinds;
use crate::world::{FOREGROUND, ORPHAN, Owner, Reference, World};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:generic-garbage-collector");

/// Collects what nobody owns any more.
#[derive(Clone)]
pub(crate) struct Garbage {
    objects: Objects,
    world: Arc<Mutex<World>>,
    wakes: UnboundedSender<Reference>,
}

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    IsThere,
    IsGone,
    /// It goes when its dependents have gone.
    Waits,
}

/// What becomes of a dependent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// It stays, and forgets these owners.
    Forgets(Vec<String>),
    /// It goes, in this way.
    Goes(&'static str),
}

/// What becomes of an object whose owners have these fates.
fn judge(item: &Value, fates: &[(String, Fate)], has_dependents: bool) -> Verdict {
    let of = |fate: Fate| fates.iter().filter(move |(_, is)| *is == fate);
    if fates.is_empty() || of(Fate::IsThere).count() == fates.len() {
        return Verdict::Stays;
    }
    if of(Fate::IsThere).next().is_some() {
        return Verdict::Forgets(of(Fate::IsGone).chain(of(Fate::Waits)).map(|(uid, _)| uid.clone()).collect());
    }
    let holds = |name: &str| list(item, &["metadata", "finalizers"]).iter().any(|finalizer| finalizer == name);
    Verdict::Goes(match () {
        () if of(Fate::Waits).next().is_some() && has_dependents => "Foreground",
        () if holds(ORPHAN) => "Orphan",
        () if holds(FOREGROUND) => "Foreground",
        () => "Background",
    })
}

/// A patch by which an object forgets owners; the uid says which object is meant.
fn forgetting(item: &Value, uids: &[String]) -> Value {
    let gone: Vec<Value> = uids.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
    json!({"metadata": {"ownerReferences": gone, "uid": item["metadata"]["uid"]}})
}

/// The object without one of its finalizers, as it was read.
fn released(item: &Value, finalizer: &str) -> Value {
    let kept: Vec<&Value> = list(item, &["metadata", "finalizers"]).iter().filter(|name| *name != finalizer).collect();
    let meta = &item["metadata"];
    json!({"metadata": {"finalizers": kept, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}})
}

/// Whether a dependent keeps this owner from going.
fn blocks(dependent: &Value, uid: &str) -> bool {
    owners(dependent).iter().any(|owner| owner["uid"] == uid && owner["blockOwnerDeletion"] == true)
}

fn waits_for_dependents(item: &Value) -> bool {
    let holds = list(item, &["metadata", "finalizers"]).iter().any(|name| name == FOREGROUND);
    holds && !at(item, &["metadata", "deletionTimestamp"]).is_null()
}

impl Garbage {
    pub(crate) fn new(client: Client, world: Arc<Mutex<World>>, wakes: UnboundedSender<Reference>) -> Self {
        Self { objects: Objects::new(client), world, wakes }
    }

    /// One look at an object.
    pub(crate) async fn look(self, of: Reference) -> Looked {
        let looked = self.try_look(&of).await;
        looked.map_err(CallError::new(format!("see whether the {of} is garbage")))
    }

    async fn try_look(&self, of: &Reference) -> Called<Next> {
        let found = self.objects.get(of.kind, &of.key).await?;
        let Some(item) = found.filter(|item| text(item, &["metadata", "uid"]) == of.uid) else { return Ok(Next::Done) };
        if !at(&item, &["metadata", "deletionTimestamp"]).is_null() {
            return self.end(of, &item).await;
        }
        let fates = self.fates(of, &item).await?;
        let dependents = self.world.lock().unwrap_or_else(PoisonError::into_inner).dependents(&of.uid);
        match judge(&item, &fates, !dependents.is_empty()) {
            Verdict::Stays => Ok(Next::Done),
            Verdict::Forgets(uids) => {
                let patch = forgetting(&item, &uids);
                self.objects.patch(of.kind, &of.key, PatchKind::Strategic, &patch).await.map(|_| Next::Done)
            }
            Verdict::Goes(how) => self.delete(of, &item, how).await,
        }
    }

    async fn fates(&self, of: &Reference, item: &Value) -> Called<Vec<(String, Fate)>> {
        let mut fates = Vec::new();
        for owner in owners(item) {
            let named = Owner::of(owner);
            let fate = match named.reference(&of.key) {
                None => Fate::IsThere,
                Some(owner) => self.fate(&owner).await?,
            };
            fates.push((named.uid, fate));
        }
        Ok(fates)
    }

    async fn fate(&self, owner: &Reference) -> Called<Fate> {
        let found = self.objects.get(owner.kind, &owner.key).await?;
        Ok(match found.filter(|found| text(found, &["metadata", "uid"]) == owner.uid) {
            None => Fate::IsGone,
            Some(found) if waits_for_dependents(&found) => Fate::Waits,
            Some(_) => Fate::IsThere,
        })
    }

    async fn delete(&self, of: &Reference, item: &Value, how: &str) -> Called<Next> {
        match self.try_delete(of, item, how).await {
            Err(error) if answered(&error, 409) => Ok(Next::Anew),
            deleted => deleted.map(|()| Next::Done),
        }
    }

    async fn try_delete(&self, of: &Reference, item: &Value, how: &str) -> Called<()> {
        let patched = if how == "Foreground" { self.break_circle(of, item).await? } else { None };
        // Its owners are those that were judged, or else it is judged anew.
        let version = at(patched.as_ref().unwrap_or(item), &["metadata", "resourceVersion"]);
        let preconditions = json!({"uid": of.uid, "resourceVersion": version});
        let options = json!({"propagationPolicy": how, "preconditions": preconditions});
        self.objects.delete(of.kind, &of.key, &options).await
    }

    /// Where a dependent waits for its own dependents too, they might wait for each other: this one blocks nobody any more. The object as it is
    /// then, if it had to be changed.
    async fn break_circle(&self, of: &Reference, item: &Value) -> Called<Option<Value>> {
        let waits = {
            let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = |of: &Reference| world.get(of.kind, &of.key).is_some_and(|entry| entry.waits_for_dependents);
            world.dependents(&of.uid).iter().any(entry)
        };
        if !waits {
            return Ok(None);
        }
        let unblocked = |owner: &Value| json!({"uid": owner["uid"], "blockOwnerDeletion": false});
        let all: Vec<Value> = owners(item).iter().map(unblocked).collect();
        let version = &item["metadata"]["resourceVersion"];
        let patch = json!({"metadata": {"ownerReferences": all, "uid": of.uid, "resourceVersion": version}});
        self.objects.patch(of.kind, &of.key, PatchKind::Strategic, &patch).await
    }

    /// An object that is deleted: it may wait for its dependents.
    async fn end(&self, of: &Reference, item: &Value) -> Called<Next> {
        let holds = |name: &str| list(item, &["metadata", "finalizers"]).iter().any(|finalizer| finalizer == name);
        let finalizer = match (holds(ORPHAN), holds(FOREGROUND)) {
            (true, _) => ORPHAN,
            (_, true) => FOREGROUND,
            _ => return Ok(Next::Done),
        };
        let dependents = self.dependents(of).await?;
        if finalizer == ORPHAN {
            for (kind, dependent) in &dependents {
                let patch = forgetting(dependent, std::slice::from_ref(&of.uid));
                let forgotten = self.objects.patch(kind, &Key::of(dependent), PatchKind::Strategic, &patch).await;
                unless_changed(forgotten)?;
            }
        } else {
            let blocking: Vec<_> = dependents.iter().filter(|(_, dependent)| blocks(dependent, &of.uid)).collect();
            for (kind, dependent) in &blocking {
                let uid = text(dependent, &["metadata", "uid"]).to_owned();
                // The receiver goes when all controllers do.
                let _ends = self.wakes.send(Reference { kind, key: Key::of(dependent), uid });
            }
            if !blocking.is_empty() {
                return Ok(Next::Done);
            }
        }
        let patch = released(item, finalizer);
        match self.objects.patch(of.kind, &of.key, PatchKind::Merge, &patch).await {
            Err(error) if answered(&error, 409) => Ok(Next::Anew),
            patched => patched.map(|_| Next::Done),
        }
    }

    /// All that name it as an owner now.
    async fn dependents(&self, of: &Reference) -> Called<Vec<(&'static Kind, Value)>> {
        let mut found = Vec::new();
        for kind in watched_kinds().filter(|kind| kind.namespaced || of.key.namespace.is_empty()) {
            let all = self.objects.list(kind, &of.key.namespace).await?;
            let depends = |item: &Value| owners(item).iter().any(|owner| owner["uid"] == *of.uid);
            found.extend(all.into_iter().filter(depends).map(|item| (kind, item)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;
    use crate::world::{Entry, Seen};

    #[test]
    fn what_nobody_owns_any_more_goes() {
        use Fate::{IsGone, IsThere, Waits};
        let check = |fates: &[Fate], finalizers: &[&str], has_dependents: bool, expected: Verdict| {
            let fates: Vec<_> = fates.iter().enumerate().map(|(i, fate)| (i.to_string(), *fate)).collect();
            let item = json!({"metadata": {"finalizers": finalizers}});
            assert_eq!(judge(&item, &fates, has_dependents), expected, "{fates:?}");
        };
        let forgets = |uids: &[&str]| Verdict::Forgets(uids.iter().map(|uid| (*uid).to_owned()).collect());
        check(&[], &[], false, Verdict::Stays);
        check(&[IsThere, IsThere], &[], true, Verdict::Stays);
        check(&[IsThere, IsGone, Waits], &[], true, forgets(&["1", "2"]));
        check(&[IsGone, IsGone], &[], true, Verdict::Goes("Background"));
        check(&[IsGone], &[ORPHAN], true, Verdict::Goes("Orphan"));
        check(&[IsGone], &[FOREGROUND], true, Verdict::Goes("Foreground"));
        check(&[Waits], &[], true, Verdict::Goes("Foreground"));
        check(&[Waits], &[], false, Verdict::Goes("Background"));
    }

    /// A look at a replica set whose owner waits, and whose pod may wait too: how it ends, and with what its deletion was sent.
    async fn look_at_one_whose_owner_waits(pod_waits: bool, deletion: u16) -> (Next, Value) {
        let (sets, pods) = (remora_model::kinds::v1("apps", "replicasets"), remora_model::kinds::core("pods"));
        let key = |name: &str| Key { namespace: "a".to_owned(), name: name.to_owned() };
        let owned =
            Owner { uid: "u".to_owned(), kind: Some(sets), name: "web-1".to_owned(), controls: true, blocks: true };
        let entry =
            Entry { uid: "p".to_owned(), owners: vec![owned], is_ending: pod_waits, waits_for_dependents: pod_waits };
        let world: Arc<Mutex<World>> = Arc::default();
        world.lock().unwrap().step(pods, Seen::Is(key("p"), entry));
        let owner = json!({"kind": "Deployment", "metadata": {"namespace": "a", "name": "web", "uid": "d",
            "finalizers": [FOREGROUND], "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let owners = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "blockOwnerDeletion": true}]);
        let set = move |version: &str| json!({"kind": "ReplicaSet", "metadata": {"namespace": "a", "name": "web-1", "uid": "u", "resourceVersion": version, "ownerReferences": owners}});
        let (client, calls) = scripted::client(move |call, _| match call.split_once(' ').unwrap() {
            ("GET", path) if path.ends_with("/deployments/web") => (200, owner.clone()),
            ("GET", _) => (200, set("7")),
            ("PATCH", _) => (200, set("8")),
            _ if deletion == 200 => (200, json!({})),
            _ => scripted::refused(deletion),
        });
        let (wakes, _woken) = tokio::sync::mpsc::unbounded_channel();
        let of = Reference { kind: sets, key: key("web-1"), uid: "u".to_owned() };
        let next = Garbage::new(client, world, wakes).try_look(&of).await.unwrap();
        (next, calls.sent("DELETE").unwrap())
    }

    #[tokio::test]
    async fn only_what_was_judged_is_deleted() {
        let options = |version: &str| json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "u", "resourceVersion": version}});
        assert_eq!(look_at_one_whose_owner_waits(false, 200).await, (Next::Done, options("7")));
        assert_eq!(look_at_one_whose_owner_waits(true, 200).await, (Next::Done, options("8")));
        assert_eq!(look_at_one_whose_owner_waits(false, 409).await.0, Next::Anew);
    }

    #[tokio::test]
    async fn a_reference_is_not_followed_to_where_its_author_may_not_go() {
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "p", "uid": "u", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "../../kube-system/secrets?watch=true", "uid": "1"},
            {"apiVersion": "v1", "kind": "Pod", "name": "mine:80/proxy/x", "uid": "2"},
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "name": "x", "uid": "3"},
        ]}});
        let (client, calls) = scripted::client(move |_, _| (200, pod.clone()));
        let (wakes, _woken) = tokio::sync::mpsc::unbounded_channel();
        let of = Reference {
            kind: remora_model::kinds::core("pods"),
            key: Key { namespace: "a".to_owned(), name: "p".to_owned() },
            uid: "u".to_owned(),
        };
        let looked = Garbage::new(client, Arc::default(), wakes).try_look(&of).await;
        assert_eq!(looked.unwrap(), Next::Done);
        assert_eq!(calls.all(), ["GET /api/v1/namespaces/a/pods/p"]);
    }

    #[test]
    fn an_owner_is_forgotten_and_a_finalizer_taken_of_this_object_only() {
        let item = json!({"metadata": {"uid": "u", "resourceVersion": "7", "finalizers": ["a/b", ORPHAN]}});
        let forgotten = json!({"metadata": {"uid": "u", "ownerReferences": [{"$patch": "delete", "uid": "1"}]}});
        assert_eq!(forgetting(&item, &["1".to_owned()]), forgotten);
        let expected = json!({"metadata": {"uid": "u", "resourceVersion": "7", "finalizers": ["a/b"]}});
        assert_eq!(released(&item, ORPHAN), expected);
    }
}
