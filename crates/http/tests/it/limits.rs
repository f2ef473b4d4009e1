//! What clients and handlers cannot do to a server.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use remora_http::{Body, Connection, Limits, ReadBodyError, User, body, read_body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{GRACE, World, get, text, who};

async fn ten_bytes(request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
    let (status, text) = match read_body(request.into_body(), 10).await {
        Ok(bytes) => (StatusCode::OK, bytes.len().to_string()),
        Err(error @ ReadBodyError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        Err(error @ ReadBodyError::Broken(_)) => (StatusCode::BAD_REQUEST, error.to_string()),
    };
    Response::builder().status(status).body(body::full(text)).unwrap()
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let world = World::start(ten_bytes).await;
    let check = async |length: usize, expected: (StatusCode, &str)| {
        let request = Request::post("/").header("host", "localhost").body(body::full(vec![b'x'; length])).unwrap();
        let response = world.http1(None).await.send_request(request).await.unwrap();
        assert_eq!((response.status(), &*text(response).await), expected);
    };
    check(10, (StatusCode::OK, "10")).await;
    check(11, (StatusCode::PAYLOAD_TOO_LARGE, "request body is larger than 10 bytes")).await;
}

#[tokio::test]
async fn heads_above_the_limit_are_refused() {
    let limits = Limits { head_bytes: 8 * 1024, headers: 20, ..Limits::default() };
    let world = World::with(who, limits, GRACE).await;
    let check = async |headers: usize, length: usize, expected: StatusCode| {
        let mut request = get("/");
        for index in 0..headers {
            let name = http::HeaderName::try_from(format!("x-{index}")).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_bytes(&vec![b'x'; length]).unwrap());
        }
        let response = world.http1(None).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{headers} headers of {length} bytes");
    };
    check(10, 10, StatusCode::OK).await;
    check(30, 10, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).await;
    check(1, 20_000, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_handshake_or_head_is_cut() {
    let brief = Duration::from_millis(50);
    let limits = Limits { tls_handshake: brief, ..Limits::default() };
    let world = World::with(who, limits, GRACE).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "the server closes");

    let limits = Limits { request_head: brief, ..Limits::default() };
    let world = World::with(who, limits, GRACE).await;
    let mut slow = world.tls(None, "http/1.1").await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut got = Vec::new();
    // Closed with or without TLS's farewell.
    drop(slow.read_to_end(&mut got).await);
    assert!(!got.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn connections_above_the_limit_wait_until_another_ends() {
    let world = World::with(who, Limits { connections: 1, ..Limits::default() }, GRACE).await;
    let first = world.http1(None).await;
    let second = world.http1(None);
    tokio::pin!(second);
    let waits = tokio::time::timeout(Duration::from_millis(50), second.as_mut()).await.is_err();
    assert!(waits, "the second one has no place yet");
    drop(first);
    let response = second.await.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

async fn panics(request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
    match request.uri().path() {
        "/handler" => panic!("as the test wants it"),
        "/body" => {
            Response::new(body::stream(futures::stream::poll_fn(|_| -> std::task::Poll<Option<std::io::Result<_>>> {
                panic!("as the test wants it")
            })))
        }
        _ => Response::new(body::full("fine")),
    }
}

#[tokio::test]
async fn a_panic_fails_its_own_request_and_no_other_of_the_connection() {
    let world = World::start(panics).await;
    let mut one = world.memory1(User::default()).await;
    let response = one.send_request(get("/handler")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "internal error\n");
    one.ready().await.unwrap();
    assert_eq!(text(one.send_request(get("/")).await.unwrap()).await, "fine");

    let mut two = world.http2(None).await;
    // The panic may come before or after the head is on its way.
    if let Ok(cut) = two.send_request(get("https://localhost/body")).await {
        assert!(read_body(cut.into_body(), 10).await.is_err());
    }
    assert_eq!(text(two.send_request(get("https://localhost/")).await.unwrap()).await, "fine");
}
