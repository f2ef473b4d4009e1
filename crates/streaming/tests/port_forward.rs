//! Port-forwards as their clients see them, over SPDY, tunnelled SPDY and channels; a small pod at our end.
#![cfg(test)]

mod spdy_client;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use remora_streaming::spdy::frame::{CANCEL, Frame};
use remora_streaming::{
    Duplex, ExecOptions, ForwardProtocol, LogChunks, LogOptions, PodContainer, PodName, PodStreams, SessionEnd, Stdio,
    StreamError, port_forward,
};
use spdy_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Nobody listens there.
const REFUSED: u16 = 1;
/// Reads nothing, and never ends.
const STUCK: u16 = 2;
/// Breaks at once.
const BROKEN: u16 = 3;
/// Says something and ends without reading.
const SHORT: u16 = 4;

/// A pod whose other ports say their number, then send back what they get, to the end.
struct Pod;

#[async_trait]
impl PodStreams for Pod {
    async fn exec(&self, _: &PodContainer, _: ExecOptions, _: Stdio) -> Result<SessionEnd, StreamError> {
        unreachable!("not asked for")
    }

    async fn attach(&self, _: &PodContainer, _: Stdio) -> Result<SessionEnd, StreamError> {
        unreachable!("not asked for")
    }

    async fn logs(&self, _: &PodContainer, _: LogOptions) -> Result<LogChunks, StreamError> {
        unreachable!("not asked for")
    }

    async fn port_forward(&self, _: &PodName, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        let Duplex { mut reader, mut writer } = duplex;
        match port {
            REFUSED => return Err(StreamError::Internal("connection refused".to_owned())),
            BROKEN => return Ok(()),
            STUCK => std::future::pending::<()>().await,
            SHORT => {
                writer.write_all(b"short").await.unwrap();
                writer.shutdown().await.unwrap();
                reader.read_to_end(&mut Vec::new()).await.unwrap();
                return Ok(());
            }
            _ => {}
        }
        writer.write_all(format!("port {port}: ").as_bytes()).await.unwrap();
        if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
            writer.shutdown().await.unwrap();
        }
        Ok(())
    }
}

fn serve(protocol: ForwardProtocol, ports: &'static [u16]) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(8 * 1024);
    let pod = PodName { namespace: "n".into(), pod: "web".into(), uid: "u".into() };
    let serving = tokio::spawn(async move { port_forward::serve(ours, protocol, ports, pod, Arc::new(Pod)).await });
    (theirs, serving)
}

/// Opens the streams of a connection as kubectl does: that of errors first, which it ends at once.
async fn connect(client: &mut Client<DuplexStream>, request: u32, port: u16) -> (u32, u32) {
    let (request, port) = (request.to_string(), port.to_string());
    let error = client.open(&[("streamtype", "error"), ("port", &port), ("requestid", &request)]).await;
    client.end(error).await;
    let data = client.open(&[("streamtype", "data"), ("port", &port), ("requestid", &request)]).await;
    (error, data)
}

#[tokio::test]
async fn a_connection_has_both_directions_each_with_its_own_end() {
    let (theirs, serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let (error, data) = connect(&mut client, 0, 80).await;
    client.data(data, b"hello").await;
    client.end(data).await;
    let seen = client.until(|seen| seen.get(&error).is_some_and(|error| error.ended)).await;
    assert_eq!((seen[&data].text(), seen[&error].text()), ("port 80: hello", ""));
    assert!(seen[&data].ended && seen[&data].replied && seen[&error].replied, "{seen:?}");
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_errors_end_with_the_pods_side_and_what_the_client_still_sends_is_taken() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let (error, data) = connect(&mut client, 0, SHORT).await;
    // kubectl waits for this before it ends its own side. Time is paused: the timeout means that nothing else can go on.
    let both = client.until(|seen| seen.get(&error).is_some_and(|error| error.ended));
    let seen = timeout(Duration::from_secs(1), both).await.unwrap();
    assert!(seen[&data].text() == "short" && seen[&data].ended, "{seen:?}");
    client.data(data, &[0; 100_000]).await;
    client.end(data).await;
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.next().await, Some(Frame::Ping(1)), "no stream is reset");
}

#[tokio::test]
async fn a_connection_that_fails_is_told_and_ends_alone() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let (_, before) = connect(&mut client, 0, 80).await;
    let (error, data) = connect(&mut client, 1, REFUSED).await;
    let (broken_error, broken) = connect(&mut client, 2, BROKEN).await;
    let ended = |id| {
        move |seen: &std::collections::BTreeMap<u32, spdy_client::Seen>| seen.get(&id).is_some_and(|seen| seen.ended)
    };
    let seen = client.until(|seen| ended(error)(seen) && ended(broken_error)(seen)).await;
    assert_eq!(seen[&error].text(), "error forwarding port 1 to pod web, uid u: connection refused");
    assert!(seen[&data].ended && seen[&data].reset.is_none(), "{seen:?}");
    assert_eq!((seen[&broken].reset, seen[&broken_error].text()), (Some(CANCEL), ""), "a broken connection is reset");
    client.data(before, b"still there").await;
    client.end(before).await;
    let seen = client.until(ended(before)).await;
    assert!(seen[&before].text().ends_with("still there"), "{seen:?}");
}

#[tokio::test]
async fn a_connection_that_the_client_resets_ends_and_so_do_its_errors() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let (error, data) = connect(&mut client, 0, STUCK).await;
    client.until(|seen| seen.get(&data).is_some_and(|data| data.replied)).await;
    client.end(data).await;
    client.reset(data).await;
    let seen = client.until(|seen| seen.get(&error).is_some_and(|error| error.ended)).await;
    assert_eq!(seen[&error].text(), "");
}

#[tokio::test]
async fn many_connections_share_one() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let mut connections = Vec::new();
    for request in 0..100 {
        let (_, data) = connect(&mut client, request, 1000 + request as u16).await;
        client.data(data, format!("{request}").as_bytes()).await;
        client.end(data).await;
        let seen = client.until(|seen| seen.get(&data).is_some_and(|data| data.ended)).await;
        connections.push(seen[&data].text().to_owned());
    }
    let expected: Vec<String> = (0..100).map(|request| format!("port {}: {request}", 1000 + request)).collect();
    assert_eq!(connections, expected);
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let streams = [
        client.open(&[("streamtype", "data"), ("port", "0"), ("requestid", "0")]).await,
        client.open(&[("streamtype", "stdin"), ("port", "80"), ("requestid", "0")]).await,
        client.open(&[("streamtype", "data"), ("requestid", "0")]).await,
    ];
    let seen = client.until(|seen| seen.len() == 3).await;
    assert!(streams.iter().all(|id| seen[id].reset == Some(CANCEL)), "{seen:?}");
    // Half of a request twice.
    client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "1")]).await;
    let twice = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "1")]).await;
    let seen = client.until(|seen| seen.contains_key(&twice)).await;
    assert_eq!(seen[&twice].reset, Some(CANCEL));
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_other_does_not_come_ends() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let error = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "9")]).await;
    let seen = client.until(|seen| seen.get(&error).is_some_and(|error| error.ended)).await;
    assert_eq!(seen[&error].text(), "(request=9) timed out waiting for streams");
}

#[tokio::test(start_paused = true)]
async fn a_port_that_reads_nothing_takes_bounded_memory() {
    let (theirs, _serving) = serve(ForwardProtocol::Spdy, &[]);
    let mut client = Client::new(theirs);
    let (_, data) = connect(&mut client, 0, STUCK).await;
    client.until(|seen| seen.get(&data).is_some_and(|data| data.replied)).await;
    let mut sent = 0;
    while timeout(Duration::from_secs(1), client.data(data, &[0; 10_000])).await.is_ok() {
        sent += 1;
        assert!(sent < 100);
    }
}

#[tokio::test]
async fn spdy_goes_through_a_websocket_however_its_messages_are_cut() {
    let (theirs, serving) = serve(ForwardProtocol::Tunnel, &[]);
    let socket = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let (mut sink, mut stream) = socket.split();
    // The client's SPDY talks to one end of a pipe; what comes out of the other goes through the WebSocket, in pieces of three.
    let (near, far) = duplex(8 * 1024);
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let up = tokio::spawn(async move {
        let mut piece = [0; 3];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            sink.send(Message::Binary(piece[..length].to_vec().into())).await.unwrap();
        }
        sink.close().await
    });
    let down = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(piece) = message {
                to_client.write_all(&piece).await.unwrap();
            }
        }
    });
    let mut client = Client::new(near);
    let (error, data) = connect(&mut client, 0, 80).await;
    client.data(data, b"hello").await;
    client.end(data).await;
    let seen = client.until(|seen| seen.get(&error).is_some_and(|error| error.ended)).await;
    assert_eq!(seen[&data].text(), "port 80: hello");
    drop(client);
    up.await.unwrap().unwrap();
    serving.await.unwrap();
    down.await.unwrap();
}

/// The data of each channel until the close, joined.
async fn listen(client: &mut WebSocketStream<DuplexStream>) -> Vec<Vec<u8>> {
    let mut channels = vec![Vec::new(); 8];
    while let Some(Ok(message)) = client.next().await {
        if let Message::Binary(data) = message {
            channels[usize::from(data[0])].extend(&data[1..]);
        }
    }
    channels
}

#[tokio::test]
async fn channels_begin_with_their_port_and_end_with_the_pods_side() {
    let (theirs, serving) = serve(ForwardProtocol::Channels, &[SHORT, REFUSED, 0x1234, BROKEN]);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    client.send(Message::Binary(b"\x04hello".to_vec().into())).await.unwrap();
    // Channels of errors take nothing, and there are no others.
    client.send(Message::Binary(b"\x01?".to_vec().into())).await.unwrap();
    client.send(Message::Binary(b"\xc8?".to_vec().into())).await.unwrap();
    let mut echoed = Vec::new();
    let mut channels = vec![Vec::new(); 8];
    while !echoed.ends_with(b"hello") {
        let Some(Ok(Message::Binary(data))) = client.next().await else { panic!("{channels:?}") };
        channels[usize::from(data[0])].extend(&data[1..]);
        echoed.clone_from(&channels[4]);
    }
    client.close(None).await.unwrap();
    for (channel, rest) in listen(&mut client).await.into_iter().enumerate() {
        channels[channel].extend(rest);
    }
    let text = |channel: usize| String::from_utf8_lossy(&channels[channel][2..]).into_owned();
    assert_eq!(
        channels.iter().map(|data| [data[0], data[1]]).collect::<Vec<_>>(),
        [[4, 0], [4, 0], [1, 0], [1, 0], [0x34, 0x12], [0x34, 0x12], [3, 0], [3, 0]]
    );
    assert_eq!((&*text(0), &*text(1)), ("short", ""));
    assert_eq!(text(3), "error forwarding port 1 to pod web, uid u: connection refused");
    assert_eq!(text(4), "port 4660: hello");
    serving.await.unwrap();
}

#[tokio::test]
async fn channels_close_when_every_connection_has_ended() {
    let (theirs, serving) = serve(ForwardProtocol::Channels, &[SHORT, REFUSED]);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let channels = listen(&mut client).await;
    assert_eq!(&channels[0][2..], b"short");
    serving.await.unwrap();
}
