//! Pods go from nodes that have a taint `NoExecute` which they do not tolerate, or no longer (upstream: `pkg/controller/tainteviction`). Whether and
//! when is decided by [`fate`], which is pure. Woken by [`crate::workloads`] when a node changes, and when a pod does while some node is tainted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use remora_model::kinds;
use remora_rules::object::{at, integer, list, text};
use remora_rules::time;
use serde_json::{Value, json};

use crate::Account;
use crate::objects::{Called, Key, Objects, PatchKind, unless_changed};
use crate::per_object::CallError;
use crate::recorder::{About, Recorder};
use crate::turns::{Looked, Next};

/// As whom: upstream's, too, has no account of its own.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:node-controller");

const REASON: &str = "TaintManagerEviction";

/// A pod that goes later, and since when that is known.
#[derive(Clone, Debug)]
struct Marked {
    pod: Key,
    since: Timestamp,
}

/// The pods that go later, by their uids; of each node that has such a taint. Lost with the process, as upstream's: then time begins anew.
type Waiting = HashMap<Key, HashMap<String, Marked>>;

/// Sends pods away.
#[derive(Clone)]
pub(crate) struct TaintEviction {
    objects: Objects,
    recorder: Recorder,
    waiting: Arc<Mutex<Waiting>>,
}

impl TaintEviction {
    pub(crate) fn new(client: Client) -> Self {
        let objects = Objects::new(client);
        let recorder = Recorder::new(objects.clone(), "taint-eviction-controller");
        Self { objects, recorder, waiting: Arc::default() }
    }

    /// The nodes whose pods may have to go. A change of a pod concerns all of these: which one it is on, its metadata does not say.
    pub(crate) fn tainted(&self) -> Vec<Key> {
        self.waiting().keys().cloned().collect()
    }

    /// One look at a node.
    pub(crate) async fn look(self, node: Key) -> Looked {
        self.send_away(&node).await.map_err(CallError::new(format!("send pods away from the node {node}")))
    }

    async fn send_away(&self, key: &Key) -> Called<Next> {
        let node = self.objects.get(kinds::core("nodes"), key).await?;
        let taints = node.as_ref().map(driving_away).unwrap_or_default();
        if taints.is_empty() {
            let marked = self.waiting().remove(key).unwrap_or_default();
            self.tell_that_they_stay(marked).await;
            return Ok(Next::Done);
        }
        let mut marked = self.waiting().entry(key.clone()).or_default().clone();
        let (mut now_marked, mut again) = (HashMap::new(), None);
        for pod in self.objects.pods_on(&key.name).await? {
            let (uid, now) = (text(&pod, &["metadata", "uid"]).to_owned(), Timestamp::now());
            let before = marked.get(&uid).map(|marked| marked.since);
            match fate(&pod, &taints, before.unwrap_or(now)) {
                Fate::Stays => {}
                Fate::Goes(at) if at <= now => {
                    marked.remove(&uid);
                    self.evict(&pod).await?;
                }
                Fate::Goes(at) => {
                    marked.remove(&uid);
                    now_marked.insert(uid, Marked { pod: Key::of(&pod), since: before.unwrap_or(now) });
                    again = again.into_iter().chain([at]).min();
                }
            }
        }
        self.waiting().insert(key.clone(), now_marked);
        self.tell_that_they_stay(marked).await;
        Ok(Next::at(again, Timestamp::now()))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why in the pod's status, and deletes it: this very one, if it is there still.
    async fn evict(&self, pod: &Value) -> Called<()> {
        let (pods, key) = (kinds::core("pods"), Key::of(pod));
        self.tell(&key, pod, &format!("Marking for deletion Pod {key}")).await;
        let uid = text(pod, &["metadata", "uid"]);
        let status = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition(pod, Timestamp::now())]}});
        unless_changed(self.objects.patch_part(pods, &key, "status", PatchKind::Strategic, &status).await)?;
        unless_changed(self.objects.delete(pods, &key, &json!({"preconditions": {"uid": uid}})).await)
    }

    /// Of those that went meanwhile, too, as upstream does.
    async fn tell_that_they_stay(&self, marked: HashMap<String, Marked>) {
        for (uid, Marked { pod, .. }) in marked {
            let about = json!({"metadata": {"namespace": pod.namespace, "name": pod.name, "uid": uid}});
            self.tell(&pod, &about, &format!("Cancelling deletion of Pod {pod}")).await;
        }
    }

    async fn tell(&self, key: &Key, pod: &Value, message: &str) {
        let about = About { kind: kinds::core("pods"), object: pod };
        tracing::debug!(pod = %key, message);
        self.recorder.tell(about, "Normal", REASON, message).await;
    }
}

/// What becomes of a pod on a tainted node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes(Timestamp),
}

/// Of the node's taints those that pods must go for.
fn driving_away(node: &Value) -> Vec<Value> {
    let all = list(node, &["spec", "taints"]).iter();
    all.filter(|taint| text(taint, &["effect"]) == "NoExecute").cloned().collect()
}

/// Decides. `since` is when it was first seen that the pod would have to go.
fn fate(pod: &Value, taints: &[Value], since: Timestamp) -> Fate {
    if !at(pod, &["metadata", "deletionTimestamp"]).is_null() {
        return Fate::Stays;
    }
    let tolerations = list(pod, &["spec", "tolerations"]);
    let mut patience: Option<i64> = None;
    for taint in taints {
        // Of several that match a taint the first counts, as upstream: one that comes later neither shortens nor prolongs it.
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Fate::Goes(since);
        };
        patience = patience.into_iter().chain(integer(toleration, &["tolerationSeconds"])).min();
    }
    match patience {
        None => Fate::Stays,
        Some(seconds) => {
            let at = since.checked_add(SignedDuration::from_secs(seconds.max(0)));
            // Beyond all clocks is for ever.
            at.map_or(Fate::Stays, Fate::Goes)
        }
    }
}

/// core/v1 `Toleration.ToleratesTaint`.
fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let word = |of: &Value, field: &str| text(of, &[field]).to_owned();
    let any_or_same = |field: &str| {
        let wanted = word(toleration, field);
        wanted.is_empty() || wanted == word(taint, field)
    };
    let matches = match word(toleration, "operator").as_str() {
        "Exists" => true,
        "Equal" | "" => word(toleration, "value") == word(taint, "value"),
        _ => false,
    };
    matches && any_or_same("key") && any_or_same("effect")
}

fn condition(pod: &Value, now: Timestamp) -> Value {
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": time::seconds(now),
    });
    if let Some(generation) = integer(pod, &["metadata", "generation"]) {
        condition["observedGeneration"] = generation.into();
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;
    use std::time::Duration;

    fn since() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn taint(value: &str) -> Value {
        json!({"key": "down", "value": value, "effect": "NoExecute"})
    }

    fn pod(tolerations: Value) -> Value {
        json!({
            "metadata": {"namespace": "a", "name": "web", "uid": "u", "generation": 1}, "spec": {"tolerations": tolerations},
        })
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let check = |tolerations: Value, taints: &[Value], seconds: Option<i64>| {
            let expected =
                seconds.map_or(Fate::Stays, |seconds| Fate::Goes(since() + SignedDuration::from_secs(seconds)));
            assert_eq!(fate(&pod(tolerations.clone()), taints, since()), expected, "{tolerations}");
        };
        let one = [taint("yes")];
        check(Value::Null, &one, Some(0));
        check(json!([{"operator": "Exists"}]), &one, None);
        check(json!([{"key": "down", "operator": "Exists", "effect": "NoExecute"}]), &one, None);
        check(json!([{"key": "down", "operator": "Exists", "effect": "NoSchedule"}]), &one, Some(0));
        check(json!([{"key": "down", "value": "no"}]), &one, Some(0));
        check(json!([{"key": "down", "value": "yes", "tolerationSeconds": 7}]), &one, Some(7));
        check(json!([{"key": "down", "value": "yes", "tolerationSeconds": -7}]), &one, Some(0));
        check(json!([{"operator": "Exists", "tolerationSeconds": i64::MAX}]), &one, None);
        let both = [taint("yes"), taint("no")];
        check(json!([{"key": "down", "value": "yes"}]), &both, Some(0));
        let (any, no) = (
            json!({"operator": "Exists", "tolerationSeconds": 9}),
            json!({"key": "down", "value": "no", "tolerationSeconds": 3}),
        );
        check(json!([no, any]), &both, Some(3));
        // The first that matches a taint counts, whatever a later one says.
        check(json!([any, no]), &both, Some(9));
        check(json!([any, {"operator": "Exists"}]), &one, Some(9));
        check(json!([{"operator": "Exists"}, any]), &one, None);
        check(json!([{"key": "down", "value": "no", "tolerationSeconds": 1}, {"operator": "Exists"}]), &one, None);
        let mut going = pod(Value::Null);
        going["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        assert_eq!(fate(&going, &one, since()), Fate::Stays);
    }

    fn node(taints: &[Value]) -> Value {
        json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {"taints": taints}})
    }

    fn key() -> Key {
        Key { namespace: String::new(), name: "n".to_owned() }
    }

    #[tokio::test]
    async fn a_pod_that_tolerates_nothing_goes_and_its_status_says_why() {
        let (client, calls) = scripted::client(|call, _| match call {
            "GET /api/v1/nodes/n" => (200, node(&[taint("yes")])),
            "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn" => (200, json!({"items": [pod(Value::Null)]})),
            _ => (200, json!({"kind": "Pod", "metadata": {"namespace": "a", "name": "web"}})),
        });
        assert_eq!(TaintEviction::new(client).look(key()).await.unwrap(), Next::Done);
        let sent = calls.sent("PATCH /api/v1/namespaces/a/pods/web/status").unwrap();
        assert_eq!(sent["status"]["conditions"][0]["reason"], "DeletionByTaintManager");
        let options = calls.sent("DELETE /api/v1/namespaces/a/pods/web").unwrap();
        assert_eq!(options["preconditions"]["uid"], "u");
        assert_eq!(calls.sent("POST /api/v1/namespaces/a/events").unwrap()["reason"], REASON);
    }

    #[tokio::test]
    async fn a_pod_that_tolerates_for_a_while_stays_if_the_taint_goes() {
        let (client, calls) = scripted::client(|call, before| match call {
            "GET /api/v1/nodes/n" if before == 0 => (200, node(&[taint("yes")])),
            "GET /api/v1/nodes/n" => (200, node(&[])),
            "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn" => {
                (200, json!({"items": [pod(json!([{"operator": "Exists", "tolerationSeconds": 60}]))]}))
            }
            _ => (200, json!({})),
        });
        let eviction = TaintEviction::new(client);
        let next = eviction.clone().look(key()).await.unwrap();
        assert!(matches!(next, Next::Later(pause) if pause > Duration::from_secs(50)), "{next:?}");
        assert_eq!(eviction.tainted(), [key()]);
        assert_eq!(eviction.clone().look(key()).await.unwrap(), Next::Done);
        assert_eq!(eviction.tainted(), []);
        assert!(calls.all().iter().all(|call| !call.starts_with("DELETE")));
        let told = calls.sent("POST /api/v1/namespaces/a/events").unwrap();
        assert_eq!(told["message"], "Cancelling deletion of Pod a/web");
    }
}
