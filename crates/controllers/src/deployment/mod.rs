//! Deployments replace pods: each template has a replica set, whose sizes go up and down until all pods are of the present one. What is to be done
//! is decided in [`plan`], [`rollout`] and [`status`], by what [`sets`] reads of the objects; only this file calls the API. Woken by
//! [`crate::workloads`].

mod plan;
mod rollout;
mod sets;
mod status;

use jiff::Timestamp;
use kube::Client;
use remora_model::{Kind, kinds};
use remora_rules::object::{at, text};
use serde_json::{Value, json};

use self::plan::Plan;
use crate::Account;
use crate::objects::{Called, Key, Objects, PatchKind, controller_of, message, namespace_goes, unless_changed};
use crate::per_object::{CallError, answered};
use crate::recorder::{About, Recorder};
use crate::turns::{Looked, Next};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:deployment-controller");

fn deployments() -> &'static Kind {
    kinds::v1("apps", "deployments")
}

fn replica_sets() -> &'static Kind {
    kinds::v1("apps", "replicasets")
}

/// Looks after deployments.
#[derive(Clone)]
pub(crate) struct Deployments {
    objects: Objects,
    recorder: Recorder,
}

impl Deployments {
    pub(crate) fn new(client: Client) -> Self {
        let objects = Objects::new(client);
        Self { recorder: Recorder::new(objects.clone(), "deployment-controller"), objects }
    }

    /// One look at a deployment.
    pub(crate) async fn look(self, key: Key) -> Looked {
        let what = || format!("look at the deployment {key}");
        let found = self.objects.get(deployments(), &key).await.map_err(CallError::new(what()))?;
        let Some(deployment) = found else { return Ok(Next::Done) };
        let observed = self.observe(&deployment, &key).await.map_err(CallError::new(what()))?;
        let Some((own, pods)) = observed else { return Ok(Next::Anew) };
        let plan = plan::plan(&deployment, own, &pods, Timestamp::now());
        let written = self.write(&deployment, &plan).await;
        written.map_err(CallError::new(format!("roll out the deployment {key}")))?;
        Ok(Next::at(plan.again, Timestamp::now()))
    }

    /// Its own replica sets, and the pods of its namespace where they matter; none if what has been read has changed meanwhile.
    async fn observe(&self, deployment: &Value, key: &Key) -> Called<Option<(Vec<Value>, Vec<Value>)>> {
        let all = self.objects.list(replica_sets(), &key.namespace).await?;
        let claim = plan::claim(deployment, all);
        for set in &claim.release {
            let patch = plan::release(deployment, set);
            let patched = self.objects.patch(replica_sets(), &Key::of(set), PatchKind::Strategic, &patch).await;
            unless_changed(patched)?;
        }
        let owner = (deployments(), deployment);
        if !self.objects.take(owner, replica_sets(), &claim.adopt, plan::adoption).await? {
            return Ok(None);
        }
        let needs_pods = text(deployment, &["spec", "strategy", "type"]) == "Recreate";
        let pods = if needs_pods { self.objects.list(kinds::core("pods"), &key.namespace).await? } else { Vec::new() };
        Ok(Some((claim.own, pods)))
    }

    /// Replica sets first: the status tells of them.
    async fn write(&self, deployment: &Value, plan: &Plan) -> Called<()> {
        if let Some(set) = &plan.create
            && !self.create(deployment, set).await?
        {
            return Ok(());
        }
        for (old, new) in &plan.update {
            self.resize(deployment, old, new).await?;
        }
        for set in &plan.delete {
            let options = json!({"preconditions": {"uid": at(set, &["metadata", "uid"])}});
            unless_changed(self.objects.delete(replica_sets(), &Key::of(set), &options).await)?;
        }
        match &plan.status {
            Some(changed) => self.put_status(changed).await,
            None => Ok(()),
        }
    }

    async fn put_status(&self, deployment: &Value) -> Called<()> {
        unless_changed(self.objects.replace(deployments(), "status", deployment).await)
    }

    /// Whether it is there now; if not, the status says why, or a next look makes one of another name.
    async fn create(&self, deployment: &Value, set: &Value) -> Called<bool> {
        let namespace = text(set, &["metadata", "namespace"]);
        let error = match self.objects.create(replica_sets(), namespace, set).await {
            Ok(_) => {
                self.tell_size(deployment, set, 0).await;
                return Ok(true);
            }
            Err(error) if namespace_goes(&error) => return Ok(false),
            Err(error) => error,
        };
        let name = text(set, &["metadata", "name"]);
        if answered(&error, 409) {
            let there = self.objects.get(replica_sets(), &Key::of(set)).await?;
            let is_own = |there: &Value| {
                controller_of(there).is_some_and(|owner| owner["uid"] == deployment["metadata"]["uid"])
                    && there["spec"]["template"] == set["spec"]["template"]
            };
            if there.as_ref().is_some_and(|there| !is_own(there)) {
                self.put_status(&status::collided(deployment)).await?;
            }
            return Ok(false);
        }
        let why = message(&error);
        let note = format!("Failed to create new replica set \"{name}\": {why}");
        let about = About { kind: deployments(), object: deployment };
        self.recorder.tell(about, "Warning", "ReplicaSetCreateError", &note).await;
        if let Some(failed) = status::failed(deployment, name, &why, Timestamp::now()) {
            self.put_status(&failed).await?;
        }
        Err(error)
    }

    async fn resize(&self, deployment: &Value, old: &Value, new: &Value) -> Called<()> {
        match self.objects.replace(replica_sets(), "", new).await {
            Ok(_) => {
                self.tell_size(deployment, new, sets::replicas(old)).await;
                Ok(())
            }
            written => unless_changed(written),
        }
    }

    async fn tell_size(&self, deployment: &Value, set: &Value, before: i64) {
        let now = sets::replicas(set);
        if now == before {
            return;
        }
        let way = if now > before { "up" } else { "down" };
        let note = format!("Scaled {way} replica set {} from {before} to {now}", text(set, &["metadata", "name"]));
        let about = About { kind: deployments(), object: deployment };
        self.recorder.tell(about, "Normal", "ScalingReplicaSet", &note).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted;

    #[tokio::test]
    async fn one_that_goes_takes_nothing_more() {
        let deployment = json!({
            "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "namespace": "a", "uid": "d"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {}}, "status": {},
        });
        let set = json!({"metadata": {"name": "web-1", "namespace": "a", "uid": "rs", "labels": {"app": "web"}}});
        let mut going = deployment.clone();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let (client, calls) = scripted::client(move |call, before| match call {
            "GET /apis/apps/v1/namespaces/a/deployments/web" if before > 0 => (200, going.clone()),
            "GET /apis/apps/v1/namespaces/a/deployments/web" => (200, deployment.clone()),
            "GET /apis/apps/v1/namespaces/a/replicasets" => (200, json!({"items": [set]})),
            _ => (200, json!({})),
        });
        let key = Key { namespace: "a".to_owned(), name: "web".to_owned() };
        assert_eq!(Deployments::new(client).look(key).await.unwrap(), Next::Anew);
        assert_eq!(calls.all().iter().filter(|call| !call.starts_with("GET")).count(), 0, "{:?}", calls.all());
    }
}
