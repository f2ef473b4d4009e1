//! The cluster that is judged: namespaces of our own, pods of every shape in them, and questions about both.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::shapes;

/// How long a pod may take to become what its shape says.
const PATIENCE: Duration = Duration::from_secs(90);

/// The Pod Security levels, each a namespace.
pub(crate) const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

/// Anything in a namespace.
trait Object:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Object for K where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug
{
}

pub(crate) struct Cluster {
    client: Client,
    prefix: String,
    /// A node's name.
    pub(crate) node: String,
    /// Its nodes are Remora's.
    pub(crate) is_remora: bool,
}

impl Cluster {
    pub(crate) async fn connect(kubeconfig: &Path, prefix: String) -> Result<Cluster> {
        let read = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("listing nodes")?;
        let node = nodes.items.into_iter().next().context("the cluster has no node")?;
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let is_remora = info.is_some_and(|info| info.container_runtime_version.starts_with("remora://"));
        Ok(Cluster { client, prefix, node: node.name_any(), is_remora })
    }

    /// The namespace of a Pod Security level, or of another purpose.
    pub(crate) fn namespace(&self, purpose: &str) -> String {
        format!("{}-{purpose}", self.prefix)
    }

    pub(crate) fn pods(&self, purpose: &str) -> Api<Pod> {
        self.api(purpose)
    }

    fn api<K: Object>(&self, purpose: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace(purpose))
    }

    /// Makes namespaces and pods; the levels are enforced when the pods are there, since not all of them would be admitted.
    pub(crate) async fn prepare(&self) -> Result<()> {
        for purpose in LEVELS.into_iter().chain(["quota"]) {
            self.make_namespace(purpose).await?;
        }
        for level in LEVELS {
            let shapes = shapes::ALL.iter().filter(|shape| level == "privileged" || shape.in_matrix);
            for shape in shapes.clone() {
                self.make_pod(level, shape.name, &(shape.spec)()).await?;
            }
            for shape in shapes {
                self.await_pod(level, shape.name, shape.until).await?;
            }
            let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
            let namespaces = Api::<Namespace>::all(self.client.clone());
            namespaces.patch(&self.namespace(level), &PatchParams::default(), &Patch::Merge(label)).await?;
        }
        self.make_pod("quota", "plain", &shapes::plain()).await?;
        self.await_pod("quota", "plain", shapes::Until::Running).await?;
        let quota = json!({"metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}});
        self.create::<ResourceQuota>("quota", quota).await?;
        self.until::<ResourceQuota>("quota", "one", |quota| quota["status"]["used"]["pods"] == "1").await
    }

    async fn make_namespace(&self, purpose: &str) -> Result<()> {
        let name = self.namespace(purpose);
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        self.until::<ServiceAccount>(purpose, "default", |_| true).await?;
        let settings = json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "green"}});
        self.create::<ConfigMap>(purpose, settings).await
    }

    async fn create<K: Object>(&self, purpose: &str, object: Value) -> Result<()> {
        self.api::<K>(purpose).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    pub(crate) async fn make_pod(&self, purpose: &str, name: &str, spec: &Value) -> Result<()> {
        let metadata = json!({"name": name, "labels": {"shape": name}, "annotations": shapes::annotations(name)});
        self.create::<Pod>(purpose, json!({"metadata": metadata, "spec": spec})).await
    }

    pub(crate) async fn await_pod(&self, purpose: &str, name: &str, until: shapes::Until) -> Result<()> {
        self.until::<Pod>(purpose, name, move |pod| until.is_reached(pod)).await
    }

    /// Deletes a pod at once.
    pub(crate) async fn delete_pod(&self, purpose: &str, name: &str) -> Result<()> {
        self.pods(purpose).delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Watches an object until it is as it should be.
    async fn until<K: Object>(&self, purpose: &str, name: &str, is_reached: impl Fn(&Value) -> bool) -> Result<()> {
        let wanted = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(PATIENCE.as_secs() as u32);
        let mut events = Box::pin(self.api::<K>(purpose).watch(&wanted, "0").await?);
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && is_reached(&serde_json::to_value(&object)?)
            {
                return Ok(());
            }
        }
        bail!("{name} in {} has not become what it should within {PATIENCE:?}", self.namespace(purpose))
    }

    /// The pod as JSON; null if it is not there.
    pub(crate) async fn pod(&self, purpose: &str, name: &str) -> Result<Value> {
        let found = self.pods(purpose).get_opt(name).await?;
        Ok(found.map(serde_json::to_value).transpose()?.unwrap_or(Value::Null))
    }

    /// The events of a pod as JSON.
    pub(crate) async fn events(&self, purpose: &str, pod: &str) -> Result<Vec<Value>> {
        let of_pod = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={pod}"));
        let events = self.api::<Event>(purpose).list(&of_pod).await?;
        Ok(events.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// A user who may debug pods, and nothing else.
    pub(crate) async fn allow_sessions(&self, purpose: &str, user: &str) -> Result<()> {
        let resources = ["pods", "pods/ephemeralcontainers", "pods/log", "pods/attach"];
        let rule = json!({"apiGroups": [""], "resources": resources, "verbs": ["get", "list", "watch", "patch"]});
        self.create::<Role>(purpose, json!({"metadata": {"name": user}, "rules": [rule]})).await?;
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user});
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
        self.create::<RoleBinding>(purpose, json!({"metadata": {"name": user}, "roleRef": role, "subjects": [subject]}))
            .await
    }

    /// Waits until the first debug container of a pod runs.
    pub(crate) async fn await_entry(&self, purpose: &str, name: &str) -> Result<()> {
        self.until::<Pod>(purpose, name, |pod| {
            pod.pointer("/status/ephemeralContainerStatuses/0/state/running").is_some_and(Value::is_object)
        })
        .await
    }

    /// Names of the pods that are not being deleted.
    pub(crate) async fn living_pods(&self, purpose: &str) -> Result<Vec<String>> {
        let pods = self.pods(purpose).list(&ListParams::default()).await?;
        let living = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(living.map(|pod| pod.name_any()).collect())
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for purpose in LEVELS.into_iter().chain(["quota"]) {
            namespaces.delete(&self.namespace(purpose), &DeleteParams::background()).await?;
        }
        Ok(())
    }
}
