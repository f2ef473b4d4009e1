//! How a server ends: what is finished, what is cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use remora_http::{Body, BoxError, Connection, Ending, User, body};
use tokio::sync::Notify;

use crate::world::{GRACE, World, get, watch};

async fn first(response: &mut Response<Incoming>) -> Bytes {
    response.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn an_open_watch_ends_cleanly_when_the_server_stops() {
    let world =
        World::start(async |_: Request<Body>, connection: Arc<Connection>| Response::new(watch(&connection))).await;
    let mut over_http1 = world.http1(None).await.send_request(get("/")).await.unwrap();
    let mut over_http2 = world.http2(None).await.send_request(get("https://localhost/")).await.unwrap();
    let mut in_memory = world.memory1(User::default()).await.send_request(get("/")).await.unwrap();
    for response in [&mut over_http1, &mut over_http2, &mut in_memory] {
        assert_eq!(first(response).await, "first");
    }
    let (serving, _folder) = world.stop();
    for response in [over_http1, over_http2, in_memory] {
        assert_eq!(response.collect().await.unwrap().to_bytes(), "", "the end, and no error");
    }
    assert_eq!(serving.await.unwrap(), Ending::Drained);
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_after_the_stop() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_begun, handler_go) = (begun.clone(), go.clone());
    let handler = move |_: Request<Body>, _: Arc<Connection>| {
        let (begun, go) = (handler_begun.clone(), handler_go.clone());
        async move {
            begun.notify_one();
            go.notified().await;
            Response::new(body::full("done"))
        }
    };
    let world = World::start(handler).await;
    let mut sender = world.http1(None).await;
    let request = tokio::spawn(async move { sender.send_request(get("/")).await });
    begun.notified().await;
    let address = world.address;
    let (serving, _folder) = world.stop();
    // Accepting has stopped once the port refuses.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    let body = request.await.unwrap().unwrap().collect().await.unwrap().to_bytes();
    assert_eq!((&*body, serving.await.unwrap()), (&b"done"[..], Ending::Drained));
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_grace_period() {
    let handler = async |_: Request<Body>, connection: Arc<Connection>| {
        connection.spawn(std::future::pending());
        Response::new(body::stream(futures::stream::pending::<Result<Bytes, BoxError>>()))
    };
    let world = World::with(handler, remora_http::Limits::default(), Duration::from_millis(20)).await;
    let mut response = world.http1(None).await.send_request(get("/")).await.unwrap();
    let (serving, _folder) = world.stop();
    assert!(response.frame().await.unwrap().is_err(), "a cut body is no whole one");
    assert_eq!(serving.await.unwrap(), Ending::Cut(2));
}

#[tokio::test]
async fn a_stopped_server_refuses_memory_connections() {
    let world = World::start(async |_: Request<Body>, _: Arc<Connection>| Response::new(body::empty())).await;
    let connector = world.memory.connector(User::default());
    world.stop().0.await.unwrap();
    let error = connector.connect().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn work_that_outlives_its_request_is_waited_for() {
    let go = Arc::new(Notify::new());
    let done = Arc::new(Notify::new());
    let (handler_go, handler_done) = (go.clone(), done.clone());
    let handler = move |_: Request<Body>, connection: Arc<Connection>| {
        let (go, done) = (handler_go.clone(), handler_done.clone());
        async move {
            connection.spawn(async move {
                go.notified().await;
                done.notify_one();
            });
            Response::new(body::empty())
        }
    };
    let world = World::with(handler, remora_http::Limits::default(), GRACE).await;
    world.memory1(User::default()).await.send_request(get("/")).await.unwrap();
    let (serving, _folder) = world.stop();
    go.notify_one();
    assert_eq!(serving.await.unwrap(), Ending::Drained);
    done.notified().await;
}
