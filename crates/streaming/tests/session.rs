//! Sessions as their clients see them: tokio-tungstenite's client at the other end of a duplex, a small "process" at ours.
#![cfg(test)]

use std::io::ErrorKind;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use remora_streaming::{ClientGone, Protocol, Session, SessionEnd, Stdio, StreamError, TerminalSize, Wanted, accept};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

type Client = WebSocketStream<DuplexStream>;

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Wanted = Wanted { tty: true, ..ALL };
const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;

async fn session(protocol: Protocol, wanted: Wanted) -> (Client, Stdio, Session) {
    let (ours, theirs) = tokio::io::duplex(8 * 1024);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let (stdio, session) = accept(ours, protocol, wanted);
    (client, stdio, session)
}

async fn send(client: &mut Client, message: &[u8]) {
    client.send(Message::Binary(message.to_vec().into())).await.unwrap();
}

/// All data messages until the close, joined per channel, and the close's code.
async fn listen(client: &mut Client) -> ([Vec<u8>; 4], Option<CloseCode>) {
    let mut channels = <[Vec<u8>; 4]>::default();
    let mut code = None;
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Binary(data) => channels[usize::from(data[0])].extend(&data[1..]),
            Message::Close(frame) => code = frame.map(|frame| frame.code),
            _ => {}
        }
    }
    (channels, code)
}

/// Sends back what it reads, until the end.
async fn cat(stdio: &mut Stdio) -> std::io::Result<u64> {
    tokio::io::copy(stdio.stdin.as_mut().unwrap(), stdio.stdout.as_mut().unwrap()).await
}

#[tokio::test]
async fn cat_ends_with_the_clients_input_in_v5() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    let process = async {
        cat(&mut stdio).await.unwrap();
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let user = async {
        send(&mut client, b"\0hello ").await;
        client.send(Message::Text("\0world".into())).await.unwrap();
        send(&mut client, b"\xff\0").await;
        send(&mut client, b"\0after the end").await;
        listen(&mut client).await
    };
    let ((), (channels, code)) = tokio::join!(process, user);
    assert_eq!(channels, [b"".to_vec(), b"hello world".to_vec(), b"".to_vec(), SUCCESS.into()]);
    assert_eq!(code, Some(CloseCode::Normal));
}

#[tokio::test]
async fn input_in_v4_cannot_end_but_with_the_connection_and_that_is_an_error() {
    let (mut client, mut stdio, session) = session(Protocol::V4, ALL).await;
    send(&mut client, b"\0hello").await;
    send(&mut client, b"\xff\0").await;
    let mut got = [0; 5];
    let stdin = stdio.stdin.as_mut().unwrap();
    stdin.read_exact(&mut got).await.unwrap();
    client.close(None).await.unwrap();
    assert_eq!(stdin.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(session.finish(Ok(SessionEnd::Exited(0))).await, Err(ClientGone));
}

#[tokio::test]
async fn the_end_is_told_after_all_output() {
    let check = async |protocol: Protocol, end: Result<SessionEnd, StreamError>, expected: &str| {
        let (mut client, mut stdio, session) = session(protocol, ALL).await;
        let process = async {
            stdio.stdout.as_mut().unwrap().write_all(b"out").await.unwrap();
            stdio.stderr.as_mut().unwrap().write_all(b"err").await.unwrap();
            session.finish(end).await.unwrap();
            let late = stdio.stdout.as_mut().unwrap().write_all(b"late").await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::BrokenPipe);
        };
        let ((), (channels, code)) = tokio::join!(process, listen(&mut client));
        let [_, stdout, stderr, error] = channels.map(|data| String::from_utf8(data).unwrap());
        assert_eq!((&*stdout, &*stderr, code), ("out", "err", Some(CloseCode::Normal)));
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{error}");
    };
    for protocol in [Protocol::V4, Protocol::V5] {
        check(protocol, Ok(SessionEnd::Exited(0)), SUCCESS).await;
        check(protocol, Ok(SessionEnd::Detached), SUCCESS).await;
        check(protocol, Ok(SessionEnd::Exited(126)), r#""causes":[{"message":"126","reason":"ExitCode"}]"#).await;
        check(protocol, Err(StreamError::Internal("broken".into())), "Internal error occurred: broken").await;
    }
    check(Protocol::V1, Ok(SessionEnd::Exited(0)), "").await;
    check(Protocol::V1, Ok(SessionEnd::Exited(1)), "command terminated with non-zero exit code").await;
}

#[tokio::test]
async fn more_output_than_any_buffer_holds_arrives_whole() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let process = async {
        stdio.stdout.as_mut().unwrap().write_all(&sent).await.unwrap();
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let ((), (channels, _)) = tokio::join!(process, listen(&mut client));
    assert!(channels[1] == sent, "{} of {} bytes", channels[1].len(), sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_writer_and_no_memory_grows() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    let mut stdout = stdio.stdout.take().unwrap();
    let mut accepted = 0;
    // Time is paused: the timeout means that nothing else can go on.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stdout.write(&[b'x'; 100_000])).await {
        accepted += written.unwrap();
        assert!(accepted < 1_000_000);
    }
    drop(stdout);
    let (finished, (channels, _)) = tokio::join!(session.finish(Ok(SessionEnd::Exited(0))), listen(&mut client));
    assert_eq!((finished, channels[1].len()), (Ok(()), accepted));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_stops_the_client() {
    let (mut client, mut stdio, _session) = session(Protocol::V5, ALL).await;
    let message = Message::Binary(vec![0; 10_001].into());
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), client.send(message.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 100);
    }
    // What was under way when the timeout cut it is completed here.
    let rest = async {
        client.flush().await.unwrap();
        send(&mut client, b"\xff\0").await;
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(rest, stdio.stdin.as_mut().unwrap().read_to_end(&mut got));
    assert_eq!(read.unwrap() % 10_000, 0);
    assert!(got.len() >= sent * 10_000);
}

#[tokio::test]
async fn the_newest_size_of_a_terminal_arrives_and_standard_error_is_none() {
    let (mut client, mut stdio, _session) = session(Protocol::V5, TERMINAL).await;
    assert!(stdio.stderr.is_none());
    for width in 1..=200 {
        send(&mut client, format!("\x04{{\"Width\":{width},\"Height\":24}}").as_bytes()).await;
    }
    let mut sizes = stdio.resize.take().unwrap();
    while let Some(TerminalSize { width, height: 24 }) = sizes.recv().await {
        if width == 200 {
            return;
        }
    }
    panic!("the last size has not come");
}

#[tokio::test]
async fn a_session_without_streams_still_has_an_end() {
    let (mut client, stdio, session) = session(Protocol::V5, Wanted::default()).await;
    assert!(stdio.stdin.is_none() && stdio.stdout.is_none() && stdio.stderr.is_none() && stdio.resize.is_none());
    let process = async {
        // Nobody wants it; nothing waits for it.
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let user = async {
        send(&mut client, b"\0unwanted").await;
        listen(&mut client).await
    };
    let ((), (channels, _)) = tokio::join!(process, user);
    assert_eq!(channels[3], SUCCESS.as_bytes());
}

#[tokio::test]
async fn the_first_message_is_empty_and_on_the_lowest_output() {
    let check = async |wanted: Wanted, channel: u8| {
        let (mut client, _stdio, _session) = session(Protocol::V5, wanted).await;
        let first = client.next().await.unwrap().unwrap();
        assert_eq!(first, Message::Binary(vec![channel].into()), "{wanted:?}");
    };
    check(ALL, 1).await;
    check(TERMINAL, 1).await;
    check(Wanted { stdout: false, ..ALL }, 2).await;
    check(Wanted { stdin: true, ..Wanted::default() }, 3).await;
}

#[tokio::test]
async fn a_client_that_vanishes_breaks_every_stream() {
    let (client, mut stdio, session) = session(Protocol::V5, ALL).await;
    drop(client);
    session.client_gone().await;
    let read = stdio.stdin.as_mut().unwrap().read(&mut [0; 1]).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    for writer in [&mut stdio.stdout, &mut stdio.stderr] {
        let written = writer.as_mut().unwrap().write_all(b"x").await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert_eq!(session.finish(Ok(SessionEnd::Exited(0))).await, Err(ClientGone));
}

#[tokio::test]
async fn input_that_came_before_the_client_vanished_is_read_first() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    send(&mut client, b"\0last words").await;
    drop(client);
    session.client_gone().await;
    let mut got = Vec::new();
    let read = stdio.stdin.as_mut().unwrap().read_to_end(&mut got).await;
    assert_eq!((&*got, read.unwrap_err().kind()), (&b"last words"[..], ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_session_and_the_client_is_told_why() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    let (_, (_, code)) = tokio::join!(session.client_gone(), async {
        // The connection is closed under it, somewhere in the middle.
        drop(client.feed(Message::Binary(vec![0; 4 * 1024 * 1024 + 1].into())).await);
        listen(&mut client).await
    });
    assert_eq!(code, Some(CloseCode::Size));
    let read = stdio.stdin.as_mut().unwrap().read(&mut [0; 1]).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_that_are_no_websocket_end_the_session() {
    let (ours, mut theirs) = tokio::io::duplex(8 * 1024);
    let (_stdio, session) = accept(ours, Protocol::V5, ALL);
    theirs.write_all(&[0xff; 64]).await.unwrap();
    session.client_gone().await;
}

#[tokio::test]
async fn a_stream_that_is_shut_down_takes_no_more_and_others_go_on() {
    let (mut client, mut stdio, session) = session(Protocol::V5, ALL).await;
    let process = async {
        let stdout = stdio.stdout.as_mut().unwrap();
        stdout.shutdown().await.unwrap();
        assert_eq!(stdout.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        stdio.stderr.as_mut().unwrap().write_all(b"still").await.unwrap();
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let ((), (channels, _)) = tokio::join!(process, listen(&mut client));
    assert_eq!((&*channels[1], &*channels[2]), (&b""[..], &b"still"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_does_not_hold_the_session() {
    let (client, stdio, session) = session(Protocol::V5, ALL).await;
    session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    drop((client, stdio));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_session_is_pinged() {
    let (mut client, _stdio, _session) = session(Protocol::V4, ALL).await;
    let mut pings = 0;
    while pings < 3 {
        pings += usize::from(client.next().await.unwrap().unwrap().is_ping());
    }
}

#[tokio::test]
async fn a_dropped_session_cuts_the_connection() {
    let (mut client, _stdio, session) = session(Protocol::V4, ALL).await;
    drop(session);
    let (_, code) = listen(&mut client).await;
    assert_eq!(code, None);
}
