//! As much of an API server as the controllers need: objects by path, lists, watches from a revision, the two field
//! selectors, failures on demand. It checks nothing.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Paths are `NAMESPACE/PLURAL/NAME` or `PLURAL/NAME`.
#[derive(Clone, Default)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Every change: path, before, after. Revisions are its indices plus one.
    history: Vec<(String, Option<Value>, Option<Value>)>,
    /// Every write: method and path, what was sent.
    writes: Vec<(String, Value)>,
    failures: HashMap<String, usize>,
}

impl State {
    fn set(&mut self, path: &str, object: Option<Value>) {
        let revision = (self.history.len() + 1).to_string();
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = revision.into();
            object
        });
        let before = match after.clone() {
            Some(object) => self.objects.insert(path.to_owned(), object),
            None => self.objects.remove(path),
        };
        self.history.push((path.to_owned(), before, after));
    }
}

impl Api {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Runs a controller until what it returns is dropped.
    pub(crate) fn run<C, F>(&self, controller: C) -> JoinSet<()>
    where
        C: FnOnce(Client) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = JoinSet::new();
        running.spawn(controller(self.client()));
        running
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        self.state().set(path, Some(object));
        self.changed.send_replace(());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().set(path, None);
        self.changed.send_replace(());
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// The next so many writes of this kind fail with 500.
    pub(crate) fn fail(&self, write: &str, times: usize) {
        self.state().failures.insert(write.to_owned(), times);
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.iter().map(|(write, _)| write.clone()).collect()
    }

    pub(crate) fn forget_writes(&self) {
        self.state().writes.clear();
    }

    /// What was sent with this write, as soon as it was.
    pub(crate) async fn until(&self, write: &str) -> Value {
        let mut changed = self.changed.subscribe();
        loop {
            let sent = self.state().writes.iter().find(|(done, _)| done == write).map(|(_, sent)| sent.clone());
            if let Some(sent) = sent {
                return sent;
            }
            changed.changed().await.unwrap();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let sent = body.collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
        let query: HashMap<String, String> = head.uri.query().map(pairs).unwrap_or_default();
        let path = short(head.uri.path());
        if head.method != Method::GET {
            let answer = self.write(&head.method, &path, sent);
            self.changed.send_replace(());
            return answer;
        }
        let selector = query.get("fieldSelector").cloned().unwrap_or_default();
        if query.contains_key("watch") {
            return self.watch(path, selector, query["resourceVersion"].parse().unwrap());
        }
        if let Some(object) = self.get(&path) {
            return whole(200, &object);
        }
        let state = self.state();
        let found = state.objects.iter().filter(|(at, object)| is_in(&path, at) && selects(&selector, object));
        let items: Vec<&Value> = found.map(|(_, object)| object).collect();
        let is_collection = path.ends_with('s') && !path.starts_with("namespaces/");
        if !is_collection {
            return whole(404, &failure(404));
        }
        let revision = state.history.len().to_string();
        whole(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
        )
    }

    fn write(&self, method: &Method, path: &str, sent: Value) -> Answer {
        let mut state = self.state();
        let write = format!("{method} {path}");
        state.writes.push((write.clone(), sent.clone()));
        if let Some(left) = state.failures.get_mut(&write).filter(|left| **left > 0) {
            *left -= 1;
            return whole(500, &failure(500));
        }
        if let Some(pod) = path.strip_suffix("/binding") {
            let mut bound = state.objects[pod].clone();
            bound["spec"]["nodeName"] = sent["target"]["name"].clone();
            state.set(pod, Some(bound));
            return whole(201, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
        }
        match *method {
            Method::POST => {
                let mut made = sent.clone();
                if let Some((namespace, _)) = path.split_once('/') {
                    made["metadata"]["namespace"] = namespace.into();
                }
                let name = sent["metadata"]["name"].as_str().unwrap();
                state.set(&format!("{path}/{name}"), Some(made));
            }
            Method::PATCH => {
                let (path, field) = path.strip_suffix("/status").map_or((path, "rules"), |path| (path, "status"));
                let mut object = state.objects[path].clone();
                object[field] = sent[field].clone();
                state.set(path, Some(object));
            }
            Method::PUT => state.set(path.strip_suffix("/finalize").unwrap_or(path), Some(sent.clone())),
            Method::DELETE => {
                // Pods have a grace period; all else goes at once.
                let all: Vec<String> = state.objects.keys().filter(|at| is_in(path, at)).cloned().collect();
                all.iter().filter(|at| !at.contains("/pods/")).for_each(|at| state.set(at, None));
                return whole(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
            }
            _ => panic!("{method} {path}"),
        }
        whole(200, &sent)
    }

    fn watch(&self, path: String, selector: String, since: usize) -> Answer {
        let (api, changed) = (self.clone(), self.changed.subscribe());
        let events = futures::stream::unfold((since, changed), move |(mut next, mut changed)| {
            let (api, path, selector) = (api.clone(), path.clone(), selector.clone());
            async move {
                loop {
                    let change = api.state().history.get(next).cloned();
                    let Some((at, before, after)) = change else {
                        changed.changed().await.ok()?;
                        continue;
                    };
                    next += 1;
                    let seen =
                        |o: &Option<Value>| o.as_ref().is_some_and(|o| is_in(&path, &at) && selects(&selector, o));
                    let (kind, object) = match (seen(&before), seen(&after)) {
                        (false, true) => ("ADDED", after),
                        (true, true) => ("MODIFIED", after),
                        (true, false) => ("DELETED", before),
                        (false, false) => continue,
                    };
                    let line = format!("{}\n", json!({"type": kind, "object": object}));
                    return Some((line, (next, changed)));
                }
            }
        });
        let frames = events.map(|line| Ok(Frame::data(Bytes::from(line))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// `/api/v1/namespaces/shop/pods/web` → `shop/pods/web`; `/api/v1/namespaces/shop` → `namespaces/shop`.
fn short(path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    match rest {
        ["namespaces", namespace, "finalize" | "status"] => format!("namespaces/{namespace}/{}", rest[2]),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => format!("{namespace}/{}", rest.join("/")),
        rest => rest.join("/"),
    }
}

/// Whether an object is in a collection: of one namespace, or of all.
fn is_in(collection: &str, at: &str) -> bool {
    let (of, _name) = at.rsplit_once('/').unwrap();
    of == collection || of.split_once('/').is_some_and(|(_, plural)| plural == collection)
}

fn selects(selector: &str, object: &Value) -> bool {
    selector.split(',').all(|term| match term.split_once('=') {
        Some(("spec.nodeName", "")) => object["spec"]["nodeName"].is_null(),
        Some(("spec.schedulerName", name)) => {
            object["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler") == name
        }
        Some(("metadata.name", name)) => object["metadata"]["name"] == name,
        Some(_) => panic!("{selector}"),
        None => true,
    })
}

fn pairs(query: &str) -> HashMap<String, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.replace("%3D", "=").replace("%2C", ","))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn failure(code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "InternalError" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

fn whole(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}
