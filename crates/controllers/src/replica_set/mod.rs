//! Replica sets have as many pods as they want: pods that they select become theirs, missing ones are made, those that are too many are deleted.
//! What is to be done is decided in [`plan`]; only this file calls the API. Woken by [`crate::workloads`].
//!
//! **Deliberately absent:** upstream's expectations of what its cache does not show yet. A look reads what is there, with all that has been
//! written, and there is one look at a time for each.

mod plan;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use kube::Client;
use remora_model::{Kind, kinds};
use remora_rules::object::{at, text};
use serde_json::{Value, json};

use self::plan::{Failure, Plan};
use crate::Account;
use crate::objects::{Called, Key, Objects, PatchKind, controller_of, message, namespace_goes, unless_changed};
use crate::per_object::{CallError, answered};
use crate::recorder::{About, Recorder};
use crate::turns::{Looked, Next};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:replicaset-controller");

/// Calls for one replica set at one time.
const CALLS: usize = 16;

fn replica_sets() -> &'static Kind {
    kinds::v1("apps", "replicasets")
}

/// Looks after replica sets.
#[derive(Clone)]
pub(crate) struct ReplicaSets {
    objects: Objects,
    recorder: Recorder,
}

impl ReplicaSets {
    pub(crate) fn new(client: Client) -> Self {
        let objects = Objects::new(client);
        Self { recorder: Recorder::new(objects.clone(), "replicaset-controller"), objects }
    }

    /// One look at a replica set.
    pub(crate) async fn look(self, key: Key) -> Looked {
        let what = || format!("look at the replica set {key}");
        let found = self.objects.get(replica_sets(), &key).await.map_err(CallError::new(what()))?;
        let Some(set) = found else { return Ok(Next::Done) };
        let pods = self.objects.list(kinds::core("pods"), &key.namespace).await.map_err(CallError::new(what()))?;
        let related = self.related(&set).await.map_err(CallError::new(what()))?;
        let plan = plan::plan(&set, &pods, &related, Timestamp::now());
        let claimed = self.claim(&set, &plan).await;
        if !claimed.map_err(CallError::new(format!("take or let go pods of the replica set {key}")))? {
            return Ok(Next::Anew);
        }
        let managed = self.manage(&set, &plan).await;
        let failure = managed.as_ref().err().map(|(reason, error)| (*reason, message(error)));
        self.report(&set, &plan, failure).await.map_err(CallError::new(format!("write the status of {key}")))?;
        managed.map_err(|(_, error)| CallError::new(format!("keep the replica set {key} at its size"))(error))?;
        let now = Timestamp::now();
        Ok(Next::at(plan::look_again(&set, &plan.active, now), now))
    }

    /// The replica sets of the same owner: those whose pods it shares nodes with.
    async fn related(&self, set: &Value) -> Called<Vec<String>> {
        let uid = |of: &Value| text(of, &["metadata", "uid"]).to_owned();
        let Some(owner) = controller_of(set) else { return Ok(vec![uid(set)]) };
        let all = self.objects.list(replica_sets(), text(set, &["metadata", "namespace"])).await?;
        let is_sibling = |other: &&Value| controller_of(other).is_some_and(|of| of["uid"] == owner["uid"]);
        Ok(all.iter().filter(is_sibling).map(uid).collect())
    }

    /// Whether the plan holds: not if a pod that it counts on could not be taken.
    async fn claim(&self, set: &Value, plan: &Plan) -> Called<bool> {
        let pods = kinds::core("pods");
        for pod in &plan.release {
            let patch = plan::release(set, pod);
            let patched = self.objects.patch(pods, &Key::of(pod), PatchKind::Strategic, &patch).await;
            // Another one of that name, or one that has been let go by now.
            if let Err(error) = patched
                && !answered(&error, 409)
                && !answered(&error, 422)
            {
                return Err(error);
            }
        }
        self.objects.take((replica_sets(), set), pods, &plan.adopt, plan::adoption).await
    }

    /// Makes what is missing, deletes what is too much; says what has failed first.
    async fn manage(&self, set: &Value, plan: &Plan) -> Result<(), (&'static str, kube::Error)> {
        if plan.create > 0 {
            return self.create(set, plan.create).await.map_err(|error| ("FailedCreate", error));
        }
        let deletions = plan.delete.iter().map(|pod| self.delete(set, pod).boxed()).collect();
        all(deletions).await.map_err(|error| ("FailedDelete", error))
    }

    /// First one, then two, four, …: if the first cannot be made, the others could not either.
    async fn create(&self, set: &Value, count: usize) -> Called<()> {
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let now = batch.min(left);
            all((0..now).map(|_| self.create_one(set).boxed()).collect()).await?;
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, set: &Value) -> Called<()> {
        let namespace = text(set, &["metadata", "namespace"]);
        let about = About { kind: replica_sets(), object: set };
        match self.objects.create(kinds::core("pods"), namespace, &plan::pod(set)).await {
            Ok(pod) => {
                let note = format!("Created pod: {}", text(&pod, &["metadata", "name"]));
                self.recorder.tell(about, "Normal", "SuccessfulCreate", &note).await;
                Ok(())
            }
            Err(error) if namespace_goes(&error) => Ok(()),
            Err(error) => {
                let note = format!("Error creating: {}", message(&error));
                self.recorder.tell(about, "Warning", "FailedCreate", &note).await;
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &Value, pod: &Value) -> Called<()> {
        let options = json!({"preconditions": {"uid": at(pod, &["metadata", "uid"])}});
        let about = About { kind: replica_sets(), object: set };
        let name = text(pod, &["metadata", "name"]);
        match self.objects.delete(kinds::core("pods"), &Key::of(pod), &options).await {
            Ok(()) => {
                self.recorder.tell(about, "Normal", "SuccessfulDelete", &format!("Deleted pod: {name}")).await;
                Ok(())
            }
            Err(error) if answered(&error, 409) => Ok(()),
            Err(error) => {
                let note = format!("Error deleting: {}", message(&error));
                self.recorder.tell(about, "Warning", "FailedDelete", &note).await;
                Err(error)
            }
        }
    }

    async fn report(&self, set: &Value, plan: &Plan, failure: Option<(&'static str, String)>) -> Called<()> {
        let failure = failure.as_ref().map(|(reason, message)| Failure { reason, message });
        let Some(changed) = plan::with_status(set, &plan.active, failure, Timestamp::now()) else { return Ok(()) };
        unless_changed(self.objects.replace(replica_sets(), "status", &changed).await)
    }
}

/// Makes all calls, some at a time; the first failure is told when all have been made.
async fn all(calls: Vec<BoxFuture<'_, Called<()>>>) -> Called<()> {
    let done: Vec<Called<()>> = stream::iter(calls).buffer_unordered(CALLS).collect().await;
    done.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;

    /// A look at a set of one pod that has one and finds another one, which it selects too: how it ends, and what it has written.
    async fn look(later: Value, adopted: u16) -> (Next, Vec<String>) {
        let set = json!({
            "kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"name": "web", "namespace": "a", "uid": "rs"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {}}, "status": {},
        });
        let pod = |name: &str, owners: Value| json!({"metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"}, "ownerReferences": owners}});
        let pods = [pod("own", json!([{"uid": "rs", "controller": true}])), pod("orphan", json!([]))];
        let (client, calls) = scripted::client(move |call, before| match call {
            "GET /apis/apps/v1/namespaces/a/replicasets/web" if before > 0 && !later.is_null() => (200, later.clone()),
            "GET /apis/apps/v1/namespaces/a/replicasets/web" => (200, set.clone()),
            "GET /api/v1/namespaces/a/pods" => (200, json!({"items": pods})),
            "PATCH /api/v1/namespaces/a/pods/orphan" if adopted != 200 => scripted::refused(adopted),
            _ => (200, json!({})),
        });
        let key = Key { namespace: "a".to_owned(), name: "web".to_owned() };
        let next = ReplicaSets::new(client).look(key).await.unwrap();
        let writes = calls.all().into_iter().filter(|call| !call.starts_with("GET") && !call.contains("/events"));
        (next, writes.collect())
    }

    #[tokio::test]
    async fn what_has_become_somebody_elses_meanwhile_is_not_counted_on() {
        const ADOPTION: &str = "PATCH /api/v1/namespaces/a/pods/orphan";
        let (next, writes) = look(Value::Null, 200).await;
        assert_eq!((next, &writes[0]), (Next::Done, &ADOPTION.to_owned()));
        assert!(writes[1].starts_with("DELETE /api/v1/namespaces/a/pods/"), "{writes:?}");
        for refusal in [404, 409, 422] {
            assert_eq!(look(Value::Null, refusal).await, (Next::Anew, vec![ADOPTION.to_owned()]));
        }
    }

    #[tokio::test]
    async fn one_that_goes_takes_nothing_more() {
        let kind = |metadata: Value| json!({"kind": "ReplicaSet", "metadata": metadata});
        let going = json!({"name": "web", "namespace": "a", "uid": "rs", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let another = json!({"name": "web", "namespace": "a", "uid": "new"});
        for later in [going, another] {
            assert_eq!(look(kind(later), 200).await, (Next::Anew, Vec::new()));
        }
    }
}
