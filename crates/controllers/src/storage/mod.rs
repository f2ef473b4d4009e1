//! Claims get volumes: bound to those that are there, or to folders of the node that are made for them. What each claim and volume is to say, is in [`plan`]. Woken by
//! [`crate::workloads`].
//!
//! One look is at all claims and volumes: they are few, and which claim gets which volume depends on all of them.

mod plan;

use kube::Client;
use remora_model::{Kind, kinds};
use remora_rules::object::{list, text};
use serde_json::Value;

use self::plan::{Seen, Step, plan};
use crate::Account;
use crate::objects::{Called, Objects, unless_changed};
use crate::per_object::{CallError, answered};
use crate::recorder::{About, Recorder};
use crate::turns::{Looked, Next};

pub use self::plan::Place;

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:persistent-volume-binder");

fn claims() -> &'static Kind {
    kinds::core("persistentvolumeclaims")
}

fn volumes() -> &'static Kind {
    kinds::core("persistentvolumes")
}

/// Binds claims and volumes.
#[derive(Clone)]
pub(crate) struct Binder {
    objects: Objects,
    recorder: Recorder,
    place: Place,
}

/// There is one look only, at everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Everything;

impl std::fmt::Display for Everything {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("all claims")
    }
}

impl Binder {
    pub(crate) fn new(client: Client, place: Place) -> Self {
        let objects = Objects::new(client);
        Self { recorder: Recorder::new(objects.clone(), "persistentvolume-controller"), objects, place }
    }

    /// One look at everything.
    pub(crate) async fn look(self, _: Everything) -> Looked {
        let done = async {
            for step in plan(&self.see().await?, &self.place) {
                self.take(&step).await?;
            }
            Called::Ok(Next::Done)
        };
        done.await.map_err(CallError::new("bind claims and volumes"))
    }

    async fn see(&self) -> Called<Seen> {
        let claims = self.objects.list(claims(), "").await?;
        if claims.is_empty() {
            // Volumes still say that they are free.
            return Ok(Seen { volumes: self.objects.list(volumes(), "").await?, ..Seen::default() });
        }
        let volumes = self.objects.list(volumes(), "").await?;
        let classes = self.objects.list(kinds::storage_classes(), "").await?;
        let is_open = |claim: &Value| text(claim, &["status", "phase"]) == "Pending";
        let pods = match claims.iter().any(is_open) {
            true => self.objects.list(kinds::core("pods"), "").await?,
            false => Vec::new(),
        };
        Ok(Seen { claims, volumes, classes, used: pods.iter().flat_map(used).collect() })
    }

    async fn take(&self, step: &Step) -> Called<()> {
        match step {
            Step::Create(volume) => match self.objects.create(volumes(), "", volume).await {
                Err(error) if answered(&error, 409) => Ok(()),
                made => made.map(drop),
            },
            Step::Volume(volume) => unless_changed(self.objects.replace(volumes(), "", volume).await),
            Step::VolumeStatus(volume) => unless_changed(self.objects.replace(volumes(), "status", volume).await),
            Step::Claim(claim) => unless_changed(self.objects.replace(claims(), "", claim).await),
            Step::ClaimStatus(claim) => unless_changed(self.objects.replace(claims(), "status", claim).await),
            Step::Tell(claim, reason, message) => {
                let about = About { kind: claims(), object: claim };
                self.recorder.tell(about, "Normal", reason, message).await;
                Ok(())
            }
        }
    }
}

/// The claims that a pod uses.
fn used(pod: &Value) -> impl Iterator<Item = (String, String)> {
    let namespace = text(pod, &["metadata", "namespace"]);
    let names =
        list(pod, &["spec", "volumes"]).iter().map(|volume| text(volume, &["persistentVolumeClaim", "claimName"]));
    names.filter(|name| !name.is_empty()).map(move |name| (namespace.to_owned(), name.to_owned()))
}
