//! The config maps and secrets that pods' volumes are made of, and word of their changes: one watch per object, however many pods use it. Those that
//! a container's environment lacks are followed too: it is tried again when they come.
//!
//! Only names and revisions are read off a watch; content is read by whoever makes the volume. A pod follows an object from its first try to make
//! the volumes on, so that one which was missing is not waited for but heard of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{AsyncBufReadExt, Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::actor::Wake;
use crate::context::{Context, id_of};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What volumes can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

/// An object that a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// An object's revision; none if there is no such object.
pub(crate) type Revision = Option<String>;

/// What a pod's volumes were made of.
pub(crate) type Used = BTreeMap<Source, Revision>;

/// All that a pod's volumes name, there or not.
pub(crate) fn of_pod(pod: &Pod) -> BTreeSet<Source> {
    let mut all = BTreeSet::new();
    let mut add = |kind, name: &str| {
        all.insert(Source { kind, namespace: id_of(pod).namespace.to_owned(), name: name.to_owned() });
    };
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        if let Some(source) = &volume.config_map {
            add(Kind::ConfigMap, &source.name);
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.as_ref()) {
            add(Kind::Secret, name);
        }
        for part in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(source) = &part.config_map {
                add(Kind::ConfigMap, &source.name);
            }
            if let Some(source) = &part.secret {
                add(Kind::Secret, &source.name);
            }
        }
    }
    all
}

/// All that a container's environment names.
pub(crate) fn of_environment(pod: &Pod, container: &Container) -> BTreeSet<Source> {
    let source = |kind, name: &str| Source { kind, namespace: id_of(pod).namespace.to_owned(), name: name.to_owned() };
    let whole = container.env_from.iter().flatten().flat_map(|from| {
        let map = from.config_map_ref.as_ref().map(|map| source(Kind::ConfigMap, &map.name));
        map.into_iter().chain(from.secret_ref.as_ref().map(|secret| source(Kind::Secret, &secret.name)))
    });
    let single = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()).flat_map(|from| {
        let map = from.config_map_key_ref.as_ref().map(|key| source(Kind::ConfigMap, &key.name));
        map.into_iter().chain(from.secret_key_ref.as_ref().map(|key| source(Kind::Secret, &key.name)))
    });
    whole.chain(single).collect()
}

/// Who follows what.
#[derive(Default)]
pub(crate) struct Sources(Mutex<HashMap<Source, Followers>>);

struct Followers {
    /// By the pod's UID.
    pods: HashMap<String, mpsc::WeakSender<Wake>>,
    stop: CancellationToken,
}

impl Sources {
    /// Lets a pod's actor hear of changes of these from now on. Told again it changes nothing.
    pub(crate) fn follow(
        &self,
        context: &Context,
        uid: &str,
        sources: BTreeSet<Source>,
        wakes: &mpsc::WeakSender<Wake>,
    ) {
        let mut all = self.lock();
        for source in sources {
            let followers = all.entry(source.clone()).or_insert_with(|| {
                let stop = context.stop.child_token();
                context.tasks.spawn(watch(context.clone(), source, stop.clone()));
                Followers { pods: HashMap::new(), stop }
            });
            followers.pods.entry(uid.to_owned()).or_insert_with(|| wakes.clone());
        }
    }

    /// The pod has ended. What nobody follows any more is not watched.
    pub(crate) fn leave(&self, uid: &str) {
        self.lock().retain(|_, followers| {
            followers.pods.remove(uid);
            if followers.pods.is_empty() {
                followers.stop.cancel();
            }
            !followers.pods.is_empty()
        });
    }

    async fn tell(&self, source: &Source, revision: &Revision) {
        let followers: Vec<_> = self.lock().get(source).map(|f| f.pods.values().cloned().collect()).unwrap_or_default();
        for wakes in followers.iter().filter_map(mpsc::WeakSender::upgrade) {
            // An actor ends only when its pod is gone: nobody is left to be told.
            let _ = wakes.send(Wake::Source(source.clone(), revision.clone())).await;
        }
    }

    /// The map is whole even if a holder of the lock has panicked: no operation on it has two steps.
    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Followers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(context: Context, source: Source, stop: CancellationToken) {
    let mut wait = FIRST_WAIT;
    loop {
        // Cancel-safe: a watch that is dropped is begun anew with the object as it is then.
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = listen(&context, &source, &mut wait) => heard,
        };
        match heard {
            Ok(Heard::NoMore) => return,
            Ok(Heard::Ended) => wait = FIRST_WAIT,
            Err(error) => {
                tracing::debug!(?source, %error, "the watch of a volume's source has broken, it begins again");
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        // Cancel-safe: only waiting.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How a watch has ended.
enum Heard {
    /// The server ended it, as it does after a while.
    Ended,
    /// The object says of itself that it never changes.
    NoMore,
}

#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("an event is not understood: {0}")]
    Event(#[from] serde_json::Error),
    #[error("the server refuses")]
    Refused,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    what: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    immutable: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: Option<String>,
}

/// The first event is the object as it is: who has it already does nothing.
async fn listen(context: &Context, source: &Source, wait: &mut Duration) -> Result<Heard, ListenError> {
    let Source { kind, namespace, name } = source;
    let kind = match kind {
        Kind::ConfigMap => "configmaps",
        Kind::Secret => "secrets",
    };
    let uri = format!("/api/v1/namespaces/{namespace}/{kind}?watch=true&fieldSelector=metadata.name%3D{name}");
    let request = http::Request::get(uri).body(Vec::new())?;
    let mut lines = context.config.client.request_stream(request).await?.lines();
    while let Some(News { revision, is_last }) = next(&mut lines, wait).await? {
        context.sources.tell(source, &revision).await;
        if is_last {
            return Ok(Heard::NoMore);
        }
    }
    Ok(Heard::Ended)
}

/// What an event tells.
#[derive(Debug, PartialEq, Eq)]
struct News {
    revision: Revision,
    /// The object never changes.
    is_last: bool,
}

/// Reads on to the next event. A server that tells some is well: if the watch breaks after it, it begins anew without a long wait.
async fn next(
    lines: &mut (impl Stream<Item = std::io::Result<String>> + Unpin),
    wait: &mut Duration,
) -> Result<Option<News>, ListenError> {
    while let Some(line) = lines.try_next().await? {
        let Event { what, object } = serde_json::from_str(&line)?;
        let revision = match what.as_str() {
            "ADDED" | "MODIFIED" => object.metadata.resource_version,
            "DELETED" => None,
            "ERROR" => return Err(ListenError::Refused),
            _ => continue,
        };
        *wait = FIRST_WAIT;
        let is_last = object.immutable == Some(true) && revision.is_some();
        return Ok(Some(News { revision, is_last }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_sources_are_the_objects_that_its_volumes_name() {
        let pod = serde_json::json!({"metadata": {"namespace": "shop"}, "spec": {"containers": [], "volumes": [
            {"name": "a", "configMap": {"name": "one"}},
            {"name": "b", "secret": {"secretName": "two", "optional": true}},
            {"name": "c", "projected": {"sources": [{"configMap": {"name": "three"}}, {"secret": {"name": "two"}}, {"serviceAccountToken": {"path": "t"}}]}},
            {"name": "d", "emptyDir": {}},
        ]}});
        let found: Vec<_> = of_pod(&serde_json::from_value(pod).unwrap()).into_iter().collect();
        let source = |kind, name: &str| Source { kind, namespace: "shop".to_owned(), name: name.to_owned() };
        let expected = [(Kind::ConfigMap, "one"), (Kind::ConfigMap, "three"), (Kind::Secret, "two")];
        assert_eq!(found, expected.map(|(kind, name)| source(kind, name)));
    }

    #[test]
    fn an_environment_is_made_of_whole_objects_and_of_keys() {
        let container = serde_json::json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "two"}}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "three", "key": "k"}}}],
        });
        let found = of_environment(&Pod::default(), &serde_json::from_value(container).unwrap());
        let names: Vec<_> = found.iter().map(|source| (source.kind, source.name.as_str())).collect();
        assert_eq!(names, [(Kind::ConfigMap, "one"), (Kind::Secret, "three"), (Kind::Secret, "two")]);
    }

    #[tokio::test]
    async fn a_watch_that_breaks_after_an_event_begins_anew_soon() {
        let added = r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"7"}}}"#;
        let refused = r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        for (lines, expected, told) in [
            (vec![added], FIRST_WAIT, 1),
            (vec![added, refused], FIRST_WAIT, 1),
            (vec![refused], LONGEST_WAIT, 0),
            (vec![], LONGEST_WAIT, 0),
        ] {
            let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            let events = lines.iter().map(|line| Ok((*line).to_owned())).chain([Err(broken)]).collect::<Vec<_>>();
            let (mut events, mut wait) = (futures::stream::iter(events), LONGEST_WAIT);
            for _ in 0..told {
                let news = News { revision: Some("7".to_owned()), is_last: false };
                assert_eq!(next(&mut events, &mut wait).await.unwrap(), Some(news));
            }
            next(&mut events, &mut wait).await.unwrap_err();
            assert_eq!(wait, expected, "{lines:?}");
        }
    }

    #[test]
    fn only_revisions_are_read_off_a_watch() {
        let line = r#"{"type":"ADDED","object":{"kind":"Secret","metadata":{"name":"a","resourceVersion":"7"},"immutable":true,"data":{"a":"Yg=="}}}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!((event.what.as_str(), event.object.immutable), ("ADDED", Some(true)));
        assert_eq!(event.object.metadata.resource_version.as_deref(), Some("7"));
        let error: Event = serde_json::from_str(r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#).unwrap();
        assert_eq!(error.what, "ERROR");
    }
}
