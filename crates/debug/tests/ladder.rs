//! The ladder against an API server that refuses: what is asked, in which order, and what comes of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::{Api, Client};
use remora_debug::{DEFAULT_IMAGE, DebugRequest, Facts, SessionError, Trial};
use serde_json::{Value, json};

/// An API server that refuses the first so many requests in these words; and the queries that it got.
fn server(refusals: usize, code: u16, message: &'static str) -> (Api<Pod>, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let queries = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let n = {
            let mut queries = queries.lock().unwrap();
            queries.push(request.uri().query().unwrap_or_default().to_owned());
            queries.len()
        };
        let refused =
            json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Forbidden", "message": message});
        let (code, answer) = if n <= refusals { (code, refused) } else { (200, json!({"metadata": {"name": "web"}})) };
        async move { Ok::<_, Infallible>(response(code, &answer)) }
    });
    (Api::namespaced(Client::new(service, "shop"), "shop"), asked)
}

fn response(code: u16, answer: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap()
}

async fn admit(pods: &Api<Pod>, trial: Trial) -> Result<remora_debug::Admitted, SessionError> {
    let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "app"}]}})).unwrap();
    let facts = Facts { default_image: DEFAULT_IMAGE.to_owned(), ..Facts::default() };
    let plan = remora_debug::plan(&DebugRequest::default(), &pod, &facts, "abcde").unwrap();
    remora_debug::admit(pods, "web", &plan, trial).await
}

const BASELINE: &str = "pods \"web\" is forbidden: violates PodSecurity \"baseline:latest\": non-default capabilities (container \
                        \"debugger-abcde\" must not include \"SYS_PTRACE\" in securityContext.capabilities.add)";

#[tokio::test]
async fn the_first_rung_that_is_admitted_is_used() {
    let check = async |refusals: usize, expected: &str| {
        let (pods, asked) = server(refusals, 403, BASELINE);
        let admitted = admit(&pods, Trial::Real).await.unwrap();
        assert_eq!((admitted.rung.name.as_str(), admitted.refused.len()), (expected, refusals));
        assert_eq!(asked.lock().unwrap().len(), refusals + 1);
    };
    check(0, "general").await;
    check(1, "baseline").await;
    check(2, "restricted").await;
    check(3, "restricted without variables and volumes").await;
}

#[tokio::test]
async fn a_plan_asks_by_dry_run() {
    let (pods, asked) = server(1, 403, BASELINE);
    assert_eq!(admit(&pods, Trial::DryRun).await.unwrap().rung.name, "baseline");
    assert_eq!(*asked.lock().unwrap(), ["&dryRun=All", "&dryRun=All"]);
}

#[tokio::test]
async fn if_nothing_is_admitted_every_refusal_is_told() {
    let (pods, _) = server(9, 403, BASELINE);
    let Err(SessionError::Refused(refused)) = admit(&pods, Trial::Real).await else { panic!("admitted") };
    assert_eq!(refused.len(), 4);
    assert!(refused[0].refusal.remedy.contains("kubectl label namespace shop"), "{refused:?}");
}

#[tokio::test]
async fn what_less_would_not_change_is_the_servers_word_at_once() {
    let message = "pods \"web\" is forbidden: User \"bob\" cannot patch resource \"pods/ephemeralcontainers\"";
    let (pods, asked) = server(9, 403, message);
    let Err(SessionError::Api(kube::Error::Api(status))) = admit(&pods, Trial::Real).await else { panic!("admitted") };
    assert_eq!((status.message.as_str(), asked.lock().unwrap().len()), (message, 1));
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_here_since_the_server_would_accept_the_same_entry_and_do_nothing() {
    let (pods, asked) = server(0, 200, "");
    let there = json!({"spec": {"containers": [{"name": "app"}], "ephemeralContainers": [{"name": "mine"}]}});
    let pod: Pod = serde_json::from_value(there).unwrap();
    let request = DebugRequest { name: Some("mine".to_owned()), ..DebugRequest::default() };
    let plan = remora_debug::plan(&request, &pod, &Facts::default(), "abcde").unwrap();
    let refused = remora_debug::admit(&pods, "web", &plan, Trial::Real).await.unwrap_err();
    assert_eq!(refused.to_string(), "a debug container mine is in pod web already");
    assert!(asked.lock().unwrap().is_empty());
}

/// What a tool has told by a log that is followed and then read again; if the last lines may be missing, the reason.
async fn told(followed: &str, again: Result<&str, u16>) -> (i32, String, Option<String>) {
    let ended = json!({"metadata": {"name": "web", "resourceVersion": "1"}, "status": {"ephemeralContainerStatuses": [
        {"name": "d", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 7}}}]}});
    let (followed, again) = (followed.to_owned(), again.map(str::to_owned));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        let answer = match (path.ends_with("/log"), query.contains("follow=true")) {
            (true, true) => Ok(followed.clone()),
            (true, false) => again.clone(),
            (false, _) if query.contains("watch=true") => Ok(String::new()),
            (false, _) => Ok(
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [ended]})
                    .to_string(),
            ),
        };
        async move {
            let (code, body) = match answer {
                Ok(body) => (200, body),
                Err(code) => (code, json!({"kind": "Status", "code": code, "message": "no log"}).to_string()),
            };
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap())
        }
    });
    let pods = Api::namespaced(Client::new(service, "shop"), "shop");
    let mut said = Vec::new();
    let session = remora_debug::Session::existing(pods, "web", "d", "busybox");
    let told = session.told(|bytes| said.extend_from_slice(bytes)).await.unwrap();
    (told.code, String::from_utf8(said).unwrap(), told.unread.map(|why| why.to_string()))
}

/// A kubelet that ends a followed log early, as v1.34's does now and then when a container ends.
#[tokio::test]
async fn a_log_that_ends_early_is_read_to_its_end_and_nothing_is_said_twice() {
    let expected = (7, "one\ntwo\nthree\n".to_owned(), None);
    assert_eq!(told("one\ntw", Ok("one\ntwo\nthree\n")).await, expected);
    assert_eq!(told("", Ok("one\ntwo\nthree\n")).await, expected);
    assert_eq!(told("one\ntwo\nthree\n", Ok("one\ntwo\nthree\n")).await, expected);
    let long = "line\n".repeat(10_000);
    assert_eq!(told(&long[..30_001], Ok(&long)).await, (7, long, None));
}

#[tokio::test]
async fn an_exit_status_that_is_known_is_given_though_the_log_cannot_be_read_again() {
    let (code, said, unread) = told("one\n", Err(404)).await;
    assert_eq!((code, said.as_str()), (7, "one\n"));
    assert!(unread.is_some_and(|why| why.contains("no log")));
}

/// A node that has put a full log aside gives only the one after it.
#[tokio::test]
async fn of_another_log_nothing_is_said_at_a_wrong_place() {
    let first = "a line of the first log\n".repeat(100);
    let (both, another) = (format!("{first}{}", "b\n".repeat(1000)), "b\n".repeat(1000));
    assert_eq!(told(&both, Ok(&another)).await, (7, both, None));
    for longer in [another.clone(), another.repeat(2)] {
        let (code, said, unread) = told(&first, Ok(&longer)).await;
        assert_eq!((code, said.as_str()), (7, first.as_str()));
        assert!(unread.is_some_and(|why| why.contains("another log")), "{longer}");
    }
}
