//! Sessions over SPDY as their clients see them: a small client at the other end of a duplex, a small "process" at ours.
#![cfg(test)]

mod spdy_client;

use std::io::ErrorKind;
use std::time::Duration;

use remora_streaming::spdy::frame::{Frame, GOAWAY_PROTOCOL_ERROR, REFUSED_STREAM};
use remora_streaming::spdy::{NoStreams, accept};
use remora_streaming::{ClientGone, Protocol, Session, SessionEnd, Stdio, StreamError, TerminalSize, Wanted};
use spdy_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Wanted = Wanted { tty: true, ..ALL };
const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;
const ERROR: u32 = 1;
const STDIN: u32 = 3;
const STDOUT: u32 = 5;
const STDERR: u32 = 7;

/// A session whose client has opened streams of these kinds: their ids are 1, 3, 5, …
async fn session(protocol: Protocol, wanted: Wanted, kinds: &[&str]) -> (Client<DuplexStream>, Stdio, Session) {
    let (ours, theirs) = duplex(8 * 1024);
    let mut client = Client::new(theirs);
    let opening = async {
        for kind in kinds {
            client.open_kind(kind).await;
        }
    };
    let ((), begun) = tokio::join!(opening, accept(ours, protocol, wanted));
    let (stdio, session) = begun.unwrap();
    (client, stdio, session)
}

async fn all_streams() -> (Client<DuplexStream>, Stdio, Session) {
    session(Protocol::V4, ALL, &["error", "stdin", "stdout", "stderr"]).await
}

#[tokio::test]
async fn cat_ends_with_the_clients_input() {
    let (mut client, mut stdio, session) = all_streams().await;
    let process = async {
        tokio::io::copy(stdio.stdin.as_mut().unwrap(), stdio.stdout.as_mut().unwrap()).await.unwrap();
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let user = async {
        client.data(STDIN, b"hello ").await;
        client.data(STDIN, b"world").await;
        client.end(STDIN).await;
        client.data(STDIN, b"after the end").await;
        let seen = client.listen().await;
        drop(client);
        seen
    };
    let ((), seen) = tokio::join!(process, user);
    assert_eq!((seen[&STDOUT].text(), seen[&ERROR].text()), ("hello world", SUCCESS));
    assert!(seen.values().all(|stream| stream.replied && stream.ended && stream.reset.is_none()), "{seen:?}");
}

#[tokio::test]
async fn the_end_is_told_after_all_output_in_the_words_of_the_protocol() {
    let check = async |protocol: Protocol, end: Result<SessionEnd, StreamError>, expected: &str| {
        let (mut client, mut stdio, session) = session(protocol, ALL, &["error", "stdin", "stdout", "stderr"]).await;
        let process = async {
            stdio.stdout.as_mut().unwrap().write_all(b"out").await.unwrap();
            stdio.stderr.as_mut().unwrap().write_all(b"err").await.unwrap();
            session.finish(end).await.unwrap();
            let late = stdio.stdout.as_mut().unwrap().write_all(b"late").await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::BrokenPipe);
        };
        let user = async move { client.listen().await };
        let ((), seen) = tokio::join!(process, user);
        assert_eq!((seen[&STDOUT].text(), seen[&STDERR].text()), ("out", "err"));
        let error = seen[&ERROR].text();
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{error}");
    };
    check(Protocol::V4, Ok(SessionEnd::Exited(0)), SUCCESS).await;
    check(Protocol::V4, Ok(SessionEnd::Exited(126)), r#""causes":[{"message":"126","reason":"ExitCode"}]"#).await;
    check(Protocol::V4, Err(StreamError::Internal("broken".into())), "Internal error occurred: broken").await;
    for protocol in [Protocol::V1, Protocol::V2, Protocol::V3] {
        check(protocol, Ok(SessionEnd::Exited(0)), "").await;
        check(protocol, Ok(SessionEnd::Exited(1)), "command terminated with non-zero exit code").await;
    }
}

#[tokio::test]
async fn a_stream_that_the_process_ends_is_ended_at_once_and_one_that_it_drops_with_the_session() {
    let (mut client, mut stdio, session) = all_streams().await;
    stdio.stdout.as_mut().unwrap().shutdown().await.unwrap();
    let seen = client.until(|seen| seen.get(&STDOUT).is_some_and(|stdout| stdout.ended)).await;
    assert!(!seen[&STDERR].ended);
    drop(stdio);
    let user = async move { client.listen().await };
    let (finished, seen) = tokio::join!(session.finish(Ok(SessionEnd::Exited(0))), user);
    assert_eq!(finished, Ok(()));
    assert!(seen[&STDERR].ended && seen[&STDERR].reset.is_none(), "{seen:?}");
}

#[tokio::test]
async fn more_output_than_any_buffer_holds_arrives_whole() {
    let (mut client, mut stdio, session) = all_streams().await;
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let process = async {
        stdio.stdout.as_mut().unwrap().write_all(&sent).await.unwrap();
        session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    };
    let user = async move { client.listen().await };
    let ((), seen) = tokio::join!(process, user);
    assert!(seen[&STDOUT].data == sent, "{} of {} bytes", seen[&STDOUT].data.len(), sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_writer_and_no_memory_grows() {
    let (_client, mut stdio, _session) = all_streams().await;
    let mut stdout = stdio.stdout.take().unwrap();
    let mut accepted = 0;
    // Time is paused: the timeout means that nothing else can go on.
    while let Ok(written) = timeout(Duration::from_secs(1), stdout.write(&[b'x'; 100_000])).await {
        accepted += written.unwrap();
        assert!(accepted < 1_000_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_stops_the_client_and_one_that_has_gone_does_not() {
    let (mut client, mut stdio, _session) = all_streams().await;
    // One frame of data, as long as they come.
    client.send_raw(b"\0\0\0\x03\0\xff\xff\xff").await;
    let mut sent = 0;
    while timeout(Duration::from_secs(1), client.send_raw(&[0; 10_000])).await.is_ok() {
        sent += 1;
        assert!(sent < 100);
    }
    drop(stdio.stdin.take());
    timeout(Duration::from_secs(1), client.send_raw(&[0; 1_000_000])).await.unwrap();
}

#[tokio::test]
async fn the_newest_size_of_a_terminal_arrives_and_standard_error_is_none() {
    let (mut client, mut stdio, _session) =
        session(Protocol::V4, TERMINAL, &["error", "stdin", "stdout", "resize"]).await;
    assert!(stdio.stderr.is_none());
    let resize = 7;
    for width in 1..=200 {
        client.data(resize, format!("{{\"Width\":{width},\"Height\":24}}\n").as_bytes()).await;
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
async fn the_second_version_knows_no_sizes() {
    let (_client, stdio, _session) = session(Protocol::V2, TERMINAL, &["error", "stdin", "stdout"]).await;
    assert!(stdio.resize.is_none());
}

#[tokio::test]
async fn streams_that_nobody_asked_for_are_refused() {
    let wanted = Wanted { stdout: true, ..Wanted::default() };
    let kinds = ["nonsense", "stdin", "stderr", "resize", "stdout", "stdout", "error"];
    let (mut client, _stdio, session) = session(Protocol::V4, wanted, &kinds).await;
    let user = async move { client.listen().await };
    let (finished, seen) = tokio::join!(session.finish(Ok(SessionEnd::Exited(0))), user);
    assert_eq!(finished, Ok(()));
    let refused: Vec<u32> = seen.iter().filter(|(_, seen)| seen.reset.is_some()).map(|(id, _)| *id).collect();
    assert_eq!(refused, [1, 3, 5, 7, 11]);
    assert!(seen[&9].replied && seen[&13].replied);
}

#[tokio::test(start_paused = true)]
async fn streams_that_come_late_are_refused_and_the_session_goes_on() {
    let (mut client, mut stdio, _session) = all_streams().await;
    for _ in 0..50 {
        let late = client.open_kind("stdin").await;
        let refused = client.until(|seen| seen.get(&late).is_some_and(|seen| seen.reset.is_some()));
        // Time is paused: the timeout means that nothing else can go on.
        assert!(!timeout(Duration::from_secs(1), refused).await.unwrap()[&late].replied);
    }
    client.data(STDIN, b"x").await;
    assert_eq!(stdio.stdin.as_mut().unwrap().read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_client_that_vanishes_breaks_every_stream() {
    let (mut client, mut stdio, session) = all_streams().await;
    client.data(STDIN, b"last words").await;
    drop(client);
    session.client_gone().await;
    let mut got = Vec::new();
    let read = stdio.stdin.as_mut().unwrap().read_to_end(&mut got).await;
    assert_eq!((&*got, read.unwrap_err().kind()), (&b"last words"[..], ErrorKind::ConnectionReset));
    for writer in [&mut stdio.stdout, &mut stdio.stderr] {
        let written = writer.as_mut().unwrap().write_all(b"x").await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert_eq!(session.finish(Ok(SessionEnd::Exited(0))).await, Err(ClientGone));
}

#[tokio::test]
async fn a_stream_that_the_client_resets_breaks_and_others_go_on() {
    let (mut client, mut stdio, session) = all_streams().await;
    client.reset(STDIN).await;
    let read = stdio.stdin.as_mut().unwrap().read(&mut [0; 1]).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    stdio.stdout.as_mut().unwrap().write_all(b"still").await.unwrap();
    let user = async move { client.listen().await };
    let (finished, seen) = tokio::join!(session.finish(Ok(SessionEnd::Exited(0))), user);
    assert_eq!((finished, seen[&STDOUT].text()), (Ok(()), "still"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_open_its_streams_has_no_session() {
    let (ours, theirs) = duplex(8 * 1024);
    let mut client = Client::new(theirs);
    client.open_kind("error").await;
    assert_eq!(accept(ours, Protocol::V4, ALL).await.err(), Some(NoStreams::Late));
    let (ours, theirs) = duplex(8 * 1024);
    drop(theirs);
    assert_eq!(accept(ours, Protocol::V4, ALL).await.err(), Some(NoStreams::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_does_not_hold_the_session() {
    let (client, stdio, session) = all_streams().await;
    session.finish(Ok(SessionEnd::Exited(0))).await.unwrap();
    drop((client, stdio));
}

#[tokio::test]
async fn a_dropped_session_cuts_the_connection() {
    let (mut client, stdio, session) = all_streams().await;
    drop((session, stdio));
    client.listen().await;
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn questions_of_the_client_are_answered() {
    let (mut client, _stdio, _session) = all_streams().await;
    client.send(Frame::Ping(7)).await;
    // One of ours would be even: this is nobody's.
    client.send(Frame::Ping(8)).await;
    client.send(Frame::Ping(9)).await;
    let mut pings = Vec::new();
    while pings.len() < 2 {
        if let Some(Frame::Ping(id)) = client.next().await {
            pings.push(id);
        }
    }
    assert_eq!(pings, [7, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_is_asked_for_a_sign_of_life() {
    let (mut client, _stdio, _session) = all_streams().await;
    let mut pings = Vec::new();
    while pings.len() < 3 {
        if let Some(Frame::Ping(id)) = client.next().await {
            pings.push(id);
        }
    }
    assert_eq!(pings, [2, 4, 6]);
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_and_cut() {
    let check = async |bytes: &[u8]| {
        let (mut client, _stdio, session) = all_streams().await;
        client.send_raw(bytes).await;
        session.client_gone().await;
        let mut status = None;
        while let Some(frame) = client.next().await {
            if let Frame::GoAway { status: why, .. } = frame {
                status = Some(why);
            }
        }
        assert_eq!(status, Some(GOAWAY_PROTOCOL_ERROR), "{bytes:?}");
    };
    check(b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01").await;
    check(b"\x80\x03\0\x01\0\0\0\x0c\0\0\0\x09\0\0\0\0\0\0no").await;
    check(b"\0\0\0\0\0\0\0\0").await;
}

#[tokio::test]
async fn a_stream_of_an_old_number_breaks_the_rules() {
    let (mut client, _stdio, session) = all_streams().await;
    client.send(Frame::SynStream { stream: 3, fin: false, headers: http::HeaderMap::new() }).await;
    session.client_gone().await;
}

#[tokio::test]
async fn a_refused_stream_has_no_place() {
    let (ours, theirs) = duplex(8 * 1024);
    let mut client = Client::new(theirs);
    let accepted = tokio::spawn(accept(ours, Protocol::V4, ALL));
    // More than there are places.
    for _ in 0..2000 {
        let id = client.open_kind("nonsense").await;
        let seen = client.until(|seen| seen.contains_key(&id)).await;
        assert!(seen[&id].reset.is_some_and(|status| status != REFUSED_STREAM));
    }
    accepted.abort();
}
