//! Disruption budgets are counted, so that evictions know what they may do. How, is `rules`' business; evictions spend what is allowed
//! themselves. Woken by [`crate::workloads`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::Client;
use remora_model::{Kind, kinds};
use remora_rules::disruption;
use remora_rules::object::{integer, text};
use serde_json::Value;

use crate::Account;
use crate::objects::{Called, Key, Objects, controller_of, unless_changed};
use crate::per_object::CallError;
use crate::turns::{Looked, Next};
use crate::world::Owner;

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:disruption-controller");

fn budgets() -> &'static Kind {
    kinds::v1("policy", "poddisruptionbudgets")
}

/// Counts disruption budgets.
#[derive(Clone)]
pub(crate) struct Budgets {
    objects: Objects,
}

impl Budgets {
    pub(crate) fn new(client: Client) -> Self {
        Self { objects: Objects::new(client) }
    }

    /// One look at a budget.
    pub(crate) async fn look(self, key: Key) -> Looked {
        self.count(&key).await.map_err(CallError::new(format!("count the disruption budget {key}")))
    }

    async fn count(&self, key: &Key) -> Called<Next> {
        let Some(budget) = self.objects.get(budgets(), key).await? else { return Ok(Next::Done) };
        let all = self.objects.list(kinds::core("pods"), &key.namespace).await?;
        let pods: Vec<&Value> = all.iter().filter(|pod| disruption::covers(&budget, pod)).collect();
        let scale = if disruption::needs_scale(&budget) { self.scale(&pods, key).await? } else { 0 };
        let counted = disruption::count(&budget, &pods, scale, Timestamp::now());
        if let Some(changed) = counted.changed {
            unless_changed(self.objects.replace(budgets(), "status", &changed).await)?;
        }
        Ok(Next::at(counted.again, Timestamp::now()))
    }

    /// How many pods the owners of these want together: their replica sets, or the deployments of those.
    async fn scale(&self, pods: &[&Value], key: &Key) -> Called<i64> {
        let mut scales: BTreeMap<String, i64> = BTreeMap::new();
        // Most pods have the same few owners: each is asked for once.
        let mut asked = BTreeSet::new();
        for owner in pods.iter().filter_map(|pod| controller_of(pod)) {
            if !asked.insert(["apiVersion", "kind", "name", "uid"].map(|field| text(owner, &[field]))) {
                continue;
            }
            let Some(set) = self.owner(owner, "replicasets", key).await? else { continue };
            let deployment = match controller_of(&set) {
                Some(above) if scales.contains_key(text(above, &["uid"])) => continue,
                Some(above) => self.owner(above, "deployments", key).await?,
                None => None,
            };
            let top = deployment.unwrap_or(set);
            let wanted = integer(&top, &["spec", "replicas"]).unwrap_or_default();
            scales.insert(text(&top, &["metadata", "uid"]).to_owned(), wanted);
        }
        Ok(scales.values().sum())
    }

    async fn owner(&self, owner: &Value, plural: &str, key: &Key) -> Called<Option<Value>> {
        let kind = kinds::v1("apps", plural);
        let Some(owner) = Owner::of(owner).reference(key).filter(|owner| owner.kind == kind) else { return Ok(None) };
        let found = self.objects.get(kind, &owner.key).await?;
        Ok(found.filter(|found| text(found, &["metadata", "uid"]) == owner.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;
    use serde_json::json;

    #[tokio::test]
    async fn owners_of_many_pods_are_asked_for_once() {
        let owned = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true}]);
        let object = |kind: &str, name: &str, replicas: i64, owners: Value| {
            let metadata = json!({"namespace": "a", "name": name, "uid": name, "ownerReferences": owners});
            (200, json!({"kind": kind, "metadata": metadata, "spec": {"replicas": replicas}}))
        };
        let pod = |owner: &str| json!({"metadata": {"ownerReferences": owned("ReplicaSet", owner)}});
        // A reference that misleads by its name does not hide the owner that has its uid.
        let mut misleading = pod("old");
        misleading["metadata"]["ownerReferences"][0]["name"] = "gone".into();
        let pods = ["old", "new", "old", "new", "free", "gone", "free", "gone", "../x"].map(pod);
        let pods: Vec<&Value> = std::iter::once(&misleading).chain(&pods).collect();
        let (client, calls) = scripted::client(move |call, _| match call.rsplit_once('/').unwrap().1 {
            name @ ("old" | "new") => object("ReplicaSet", name, 2, owned("Deployment", "web")),
            "free" => object("ReplicaSet", "free", 1, Value::Null),
            "web" => object("Deployment", "web", 4, Value::Null),
            _ => scripted::refused(404),
        });
        let key = Key { namespace: "a".to_owned(), name: "budget".to_owned() };
        let scale = Budgets::new(client).scale(&pods, &key).await;
        assert_eq!(scale.unwrap(), 5);
        let names: Vec<String> =
            calls.all().iter().filter_map(|call| Some(call.rsplit_once('/')?.1.to_owned())).collect();
        assert_eq!(names, ["gone", "old", "web", "new", "free", "gone"]);
    }
}
