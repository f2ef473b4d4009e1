//! Claims get volumes: bound to those that are there, or to folders of the node that are made for them. What each claim and volume is to say, is in [`plan`]. Woken by
//! [`crate::workloads`].
//!
//! One look is at all claims and volumes: they are few, and which claim gets which volume depends on all of them.

mod plan;
mod told;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::Client;
use remora_model::{Kind, kinds};
use remora_rules::object::{list, text};
use serde_json::Value;

use self::plan::{Seen, Step, Tell, plan};
use self::told::Told;
use crate::Account;
use crate::objects::{Called, Key, Objects, message, unless_changed};
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
    /// What people know by now.
    told: Arc<Mutex<Told>>,
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
        let recorder = Recorder::new(objects.clone(), "persistentvolume-controller");
        Self { recorder, objects, place, told: Arc::default() }
    }

    /// One look at everything. What goes wrong with one claim or volume keeps no other one waiting: what the API refuses for what the object itself is like is told of it and
    /// taken up when something changes, and only what may be better next time is a failure of the look. People are told last: binding does not wait for events.
    pub(crate) async fn look(self, _: Everything) -> Looked {
        let failed = || CallError::new("bind claims and volumes");
        let seen = self.see().await.map_err(failed())?;
        let (mut tells, mut failure) = (Vec::new(), None);
        for step in plan(&seen, &self.place) {
            let Some((object, taken)) = self.take(&step).await else {
                tells.extend(step.tell());
                continue;
            };
            match taken {
                Ok(()) => {}
                Err(error) if is_refusal(&error) => tells.push(Tell {
                    about: object.clone(),
                    reason: REFUSED,
                    message: format!("cannot be bound: {}", message(&error)),
                }),
                Err(error) if failure.is_none() => failure = Some(error),
                Err(error) => {
                    let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
                    tracing::warn!(object = %Key::of(object), error, "cannot be bound, will be tried again");
                }
            }
        }
        self.tell(tells).await;
        failure.map_or(Ok(Next::Done), |error| Err(failed()(error)))
    }

    async fn tell(&self, tells: Vec<Tell>) {
        let news = self.told.lock().unwrap_or_else(PoisonError::into_inner).news(tells, Timestamp::now());
        for Tell { about: object, reason, message } in news {
            if reason == REFUSED {
                tracing::warn!(object = %Key::of(&object), message, "the API refuses what binding would write");
            }
            // Volumes have no namespace to have events in.
            if text(&object, &["kind"]) == claims().kind {
                let about = About { kind: claims(), object: &object };
                self.recorder.tell(about, type_of(reason), reason, &message).await;
            }
        }
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

    /// Writes the object of this step; none if there is nothing to write but an event.
    async fn take<'s>(&self, step: &'s Step) -> Option<(&'s Value, Called<()>)> {
        let (kind, part, object) = match step {
            Step::Create(volume) => {
                let made = match self.objects.create(volumes(), "", volume).await {
                    Err(error) if answered(&error, 409) => Ok(()),
                    made => made.map(drop),
                };
                return Some((volume, made));
            }
            Step::Volume(volume) => (volumes(), "", volume),
            Step::VolumeStatus(volume) => (volumes(), "status", volume),
            Step::Claim(claim) => (claims(), "", claim),
            Step::ClaimStatus(claim) => (claims(), "status", claim),
            Step::Tell(_) => return None,
        };
        Some((object, unless_changed(self.objects.replace(kind, part, object).await)))
    }
}

/// The reason of what the API refuses.
const REFUSED: &str = "BindingRefused";

/// Whether it is the object that is at fault, so that nothing is better before that changes.
fn is_refusal(error: &kube::Error) -> bool {
    [400, 413, 422].into_iter().any(|code| answered(error, code))
}

/// What is nobody's fault is normal; as upstream has it.
fn type_of(reason: &str) -> &'static str {
    match reason {
        REFUSED | "VolumeMismatch" | "ProvisioningFailed" => "Warning",
        _ => "Normal",
    }
}

/// The claims that a pod uses.
fn used(pod: &Value) -> impl Iterator<Item = (String, String)> {
    let namespace = text(pod, &["metadata", "namespace"]);
    let names =
        list(pod, &["spec", "volumes"]).iter().map(|volume| text(volume, &["persistentVolumeClaim", "claimName"]));
    names.filter(|name| !name.is_empty()).map(move |name| (namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scripted;

    fn claim(name: &str) -> Value {
        let metadata = json!({"name": name, "namespace": "a", "uid": format!("uid-{name}")});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeMode": "Filesystem", "volumeName": format!("v-{name}"),
            "resources": {"requests": {"storage": "1Gi"}}});
        json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})
    }

    fn volume(of: &str) -> Value {
        let reference = json!({"namespace": "a", "name": of, "uid": format!("uid-{of}")});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": reference});
        json!({"metadata": {"name": format!("v-{of}")}, "spec": spec, "status": {"phase": "Bound"}})
    }

    /// Whether two looks fail if this is what the first claim's volume comes to, and how often each call was made.
    async fn look_twice(code: u16) -> (bool, impl Fn(&str) -> usize) {
        let (client, calls) = scripted::client(move |call, _| match call {
            "GET /api/v1/persistentvolumeclaims" => {
                (200, json!({"items": [claim("bad"), claim("good"), claim("waits")]}))
            }
            "GET /api/v1/persistentvolumes" => (200, json!({"items": [volume("bad"), volume("good")]})),
            call if call.starts_with("GET ") => (200, json!({"items": []})),
            call if call.ends_with("/bad") => scripted::refused(code),
            _ => (200, json!({})),
        });
        let binder = Binder::new(client, Place { folder: "/data".to_owned(), node: "n".to_owned() });
        let mut fails = false;
        for _ in 0..2 {
            fails |= binder.clone().look(Everything).await.is_err();
        }
        (fails, move |call: &str| calls.all().iter().filter(|made| made.starts_with(call)).count())
    }

    #[tokio::test]
    async fn a_claim_that_the_api_refuses_keeps_no_other_waiting() {
        let claims = "PUT /api/v1/namespaces/a/persistentvolumeclaims";
        for (code, fails, events) in [(422, false, 2), (500, true, 1)] {
            let (failed, made) = look_twice(code).await;
            assert_eq!(failed, fails, "{code}");
            assert_eq!((made(&format!("{claims}/bad")), made(&format!("{claims}/good"))), (2, 2), "{code}");
            // Of the refused one and of the one that waits, once each.
            assert_eq!(made("POST /api/v1/namespaces/a/events"), events, "{code}");
        }
    }
}
