//! An API that answers as a test says, call by call. Only for tests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What has been asked so far: method and path, body.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<(String, Value)>>>);

impl Calls {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(call, _)| call.clone()).collect()
    }

    /// What was sent with the first call that begins so.
    pub(crate) fn sent(&self, call: &str) -> Option<Value> {
        self.0.lock().unwrap().iter().find(|(done, _)| done.starts_with(call)).map(|(_, sent)| sent.clone())
    }
}

/// A client whose calls (`GET /api/v1/pods`, and how often that was asked before) get these answers.
pub(crate) fn client(answer: impl Fn(&str, usize) -> (u16, Value) + Send + Sync + 'static) -> (Client, Calls) {
    let (calls, answer) = (Calls::default(), Arc::new(answer));
    let told = calls.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (calls, answer) = (calls.clone(), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let sent = body.collect().await.unwrap().to_bytes();
            let call = format!("{} {}", head.method, head.uri);
            let before = calls.all().iter().filter(|done| **done == call).count();
            calls.0.lock().unwrap().push((call.clone(), serde_json::from_slice(&sent).unwrap_or_default()));
            let (code, body) = answer(&call, before);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "default"), told)
}

/// An answer that refuses.
pub(crate) fn refused(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code}),
    )
}
