//! Who the server says is at the other end.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use http::{Request, Response, StatusCode};
use remora_http::{Body, Connection, Observer, Responded, Server, User, body};
use tower::Service;

use crate::world::{GRACE, World, get, handshake, pki, text, who};

const ADMIN: &str = r#"kubernetes-admin ["system:masters"]"#;

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody() {
    let world = World::start(who).await;
    let response = world.http1(None).await.send_request(get("/")).await.unwrap();
    assert_eq!(text(response).await, "nobody");
}

#[tokio::test]
async fn a_client_certificate_names_user_and_group_over_http1_and_http2() {
    let world = World::start(who).await;
    let response = world.http1(Some(world.admin())).await.send_request(get("/")).await.unwrap();
    assert_eq!(text(response).await, ADMIN);
    let response = world.http2(Some(world.admin())).await.send_request(get("https://localhost/")).await.unwrap();
    assert_eq!(text(response).await, ADMIN);
}

#[tokio::test]
async fn a_client_in_this_process_says_what_it_is_called_unless_it_says_more() {
    let world = World::start(async |request: Request<Body>, _: Arc<Connection>| {
        let agent = request.headers().get("user-agent").map(|agent| agent.to_str().unwrap().to_owned());
        Response::new(body::full(agent.unwrap_or_default()))
    })
    .await;
    let client = || world.memory.connector(User::default()).client::<Body>();
    for (mut client, own, expected) in [
        (client().named("kubelet"), None, "kubelet"),
        (client().named("kubelet"), Some("k/1"), "k/1"),
        (client(), None, ""),
    ] {
        let mut request = Request::get("/").body(body::empty()).unwrap();
        if let Some(own) = own {
            request.headers_mut().insert("user-agent", own.parse().unwrap());
        }
        assert_eq!(text(client.call(request).await.unwrap()).await, expected);
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused() {
    let world = World::start(who).await;
    let (_folder, other) = pki();
    let stranger = other.client("admin", "kubernetes-admin", "system:masters", SystemTime::now()).unwrap();
    // In TLS 1.3 the client is told of it with the first byte it reads.
    let stream = world.tls(Some(stranger), "http/1.1").await;
    let refused = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream.unwrap())).await?;
        let (response, _) = tokio::join!(sender.send_request(get("/")), connection);
        response.map(|_: Response<_>| ())
    };
    assert!(Box::pin(refused).await.is_err());
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_does_not_speak_to_us() {
    let world = World::start(who).await;
    let (_folder, other) = pki();
    assert!(handshake(world.address, other.authority_pem(), None, "http/1.1").await.is_err());
}

#[tokio::test]
async fn each_memory_connector_is_its_own_user() {
    let world = World::start(who).await;
    for (user, expected) in [
        (User::new("system:node:node-1", ["system:nodes"]), r#"system:node:node-1 ["system:nodes"]"#),
        (User::new("system:kube-scheduler", [] as [&str; 0]), "system:kube-scheduler []"),
    ] {
        let mut client = world.memory.connector(user).client::<Body>();
        for path in ["/one", "/two?with=query"] {
            let response = client.call(Request::get(path).body(body::empty()).unwrap()).await.unwrap();
            assert_eq!(text(response).await, expected);
        }
    }
}

#[tokio::test]
async fn a_memory_client_may_speak_http2() {
    let world = World::start(who).await;
    let stream = world.memory.connector(User::new("me", ["us"])).connect().await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(get("http://remora/")).await.unwrap();
    assert_eq!(text(response).await, r#"me ["us"]"#);
}

#[tokio::test]
async fn connections_made_before_the_server_serves_wait_for_it() {
    let (listener, memory) = remora_http::memory::listener();
    let mut client = memory.connector(User::new("early", ["us"])).client::<Body>();
    let request = tokio::spawn(client.call(Request::get("/").body(body::empty()).unwrap()));
    tokio::task::yield_now().await;
    tokio::spawn(Server::new(who).memory(listener).serve(std::future::pending(), GRACE));
    assert_eq!(text(request.await.unwrap().unwrap()).await, r#"early ["us"]"#);
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Observer for Seen {
    fn responded(&self, seen: &Responded<'_>) {
        let verb = seen.extensions.get::<&str>();
        self.0.lock().unwrap().push(format!("{} {} {verb:?}", seen.method, seen.status.as_u16()));
    }
}

#[tokio::test]
async fn an_observer_sees_status_and_what_the_handler_left_for_it() {
    let seen = Arc::new(Seen::default());
    let handler = async |_: Request<Body>, _: Arc<Connection>| {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::CREATED;
        response.extensions_mut().insert("create");
        response
    };
    let handler = move |request, connection| handler(request, connection);
    let world = World::serve(Server::new(handler).observer(seen.clone()), GRACE).await;
    world.memory1(User::default()).await.send_request(get("/")).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [r#"GET 201 Some("create")"#]);
}
