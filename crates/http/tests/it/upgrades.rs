//! Upgrades through both ways in.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use remora_http::{Body, Connection, User, body, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

/// Upgrades, then sends back what it is sent.
async fn echo(request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
    connection.spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(upgrade::on(request).await.unwrap());
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response.header("connection", "upgrade").header("upgrade", "echo").body(body::empty()).unwrap()
}

async fn check(mut sender: hyper::client::conn::http1::SendRequest<Body>) {
    let request =
        Request::get("/").header("host", "localhost").header("connection", "upgrade").header("upgrade", "echo");
    let response = sender.send_request(request.body(body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let (mut reader, mut writer) = tokio::io::split(upgrade::on(response).await.unwrap());
    let sent: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut got = Vec::new();
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut got));
    read.unwrap();
    assert!(got == sent, "{} of {} bytes came back", got.len(), sent.len());
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_over_tls() {
    let world = World::start(echo).await;
    check(world.http1(None).await).await;
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_in_memory() {
    let world = World::start(echo).await;
    check(world.memory1(User::default()).await).await;
}
