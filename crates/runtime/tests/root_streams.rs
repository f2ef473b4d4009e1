//! Sessions: exec and attach, with and without a terminal, and ExecSync.

mod world;

use remora_cri::{Code, ContainerConfig, ExecSyncRequest, RuntimeService, StopContainerRequest};
use remora_streaming::{ContainerStreams, ExecOptions, SessionEnd, StreamError, TerminalSize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use world::{Client, World, on_each};

fn command(words: &[&str], tty: bool) -> ExecOptions {
    ExecOptions { command: words.iter().map(|word| (*word).to_owned()).collect(), tty }
}

async fn idle(world: &World) -> String {
    let sandbox = world.sandbox("web").await;
    world.start(&sandbox, world.container("c", &["sleep", "1000"])).await
}

#[test]
fn exec_sync_gives_output_and_exit_code() {
    on_each("exec sync", |world| async move {
        let id = idle(&world).await;
        let exec = async |cmd: &[&str], timeout| {
            let cmd = cmd.iter().map(|word| (*word).to_owned()).collect();
            world.runtime.exec_sync(ExecSyncRequest { container_id: id.clone(), cmd, timeout }).await
        };
        let done = exec(&["sh", "-c", "echo out; echo err >&2; exit 4"], 30).await.unwrap();
        assert_eq!((done.stdout.as_slice(), done.stderr.as_slice(), done.exit_code), (&b"out\n"[..], &b"err\n"[..], 4));
        let missing = exec(&["nosuch"], 30).await.unwrap();
        assert_eq!(missing.exit_code, 126);
        let late = exec(&["sleep", "4242"], 1).await.unwrap_err();
        assert_eq!(late.code, Code::DeadlineExceeded);
        let left = world.exec(&id, &["ps"]).await;
        assert!(!left.contains("4242"), "{left}");
        world
    });
}

#[test]
fn an_exec_passes_input_output_and_exit_code() {
    on_each("exec", |world| async move {
        let id = idle(&world).await;
        let (mut client, stdio) = Client::new(true, false);
        client.stdin.write_all(b"hello\n").await.unwrap();
        client.end_input().await;
        let end = world.runtime.exec(&id, command(&["sh", "-c", "cat; echo done >&2; exit 7"], false), stdio).await;
        assert_eq!(end.unwrap(), SessionEnd::Exited(7));
        assert_eq!(client.stdout().await, "hello\n");
        assert_eq!(client.stderr().await, "done\n");
        world
    });
}

#[test]
fn a_program_that_is_not_there_is_126_and_a_sentence() {
    on_each("exec of nothing", |world| async move {
        let id = idle(&world).await;
        let sentence = "OCI runtime exec failed: exec failed: unable to start container process: \
                        exec: \"nosuch\": executable file not found in $PATH";
        let (mut client, stdio) = Client::new(false, false);
        let end = world.runtime.exec(&id, command(&["nosuch"], false), stdio).await.unwrap();
        assert_eq!((end, client.stderr().await), (SessionEnd::Exited(126), format!("{sentence}\n")));
        let (mut client, stdio) = Client::new(true, true);
        let end = world.runtime.exec(&id, command(&["nosuch"], true), stdio).await.unwrap();
        assert_eq!((end, client.stdout().await), (SessionEnd::Exited(126), format!("{sentence}\r\n")));
        world
    });
}

#[test]
fn sessions_with_what_does_not_run_are_refused() {
    on_each("refused sessions", |world| async move {
        let id = idle(&world).await;
        world.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await.unwrap();
        let exec = world.runtime.exec(&id, command(&["true"], false), Client::new(false, false).1).await;
        let expected = format!("container not running ({id})");
        assert!(matches!(exec, Err(StreamError::NotRunning(said)) if said == expected));
        let attach = world.runtime.attach(&id, Client::new(false, false).1).await;
        assert!(matches!(attach, Err(StreamError::NotRunning(said)) if said == expected));
        let nobody = world.runtime.attach("nosuch", Client::new(false, false).1).await;
        assert!(matches!(nobody, Err(StreamError::NotFound(_))));
        let empty = world.runtime.exec(&id, command(&[], false), Client::new(false, false).1).await;
        assert!(matches!(empty, Err(StreamError::Invalid(_))));
        world
    });
}

#[test]
fn a_terminal_has_the_clients_size_and_what_it_has_shown_is_shown_again() {
    on_each("attach", |world| async move {
        let sandbox = world.sandbox("web").await;
        let script = "echo prompt; while read -r line; do stty size; echo got $line; done";
        let config = ContainerConfig { tty: true, stdin: true, ..world.container("c", &["sh", "-c", script]) };
        let id = world.start(&sandbox, config).await;
        for round in 0..2 {
            let (mut client, mut stdio) = Client::new(true, true);
            let (sizes, resize) = mpsc::channel(1);
            stdio.resize = Some(resize);
            let size = TerminalSize { width: 100 + round, height: 40 };
            sizes.send(size).await.unwrap();
            let runtime = world.runtime.clone();
            let at = id.clone();
            let session = tokio::spawn(async move { runtime.attach(&at, stdio).await });
            client.until("prompt\r\n").await;
            client.stdin.write_all(format!("line{round}\n").as_bytes()).await.unwrap();
            client.until(&format!("40 {}\r\ngot line{round}\r\n", 100 + round)).await;
            // A client that vanishes: the container stays.
            session.abort();
            assert!(session.await.unwrap_err().is_cancelled());
        }
        assert_eq!(world.status(&id).await.state(), remora_cri::ContainerState::Running);
        world
    });
}

#[test]
fn an_exec_whose_client_goes_hangs_up() {
    on_each("a hangup", |world| async move {
        let id = idle(&world).await;
        let (mut client, stdio) = Client::new(true, true);
        let runtime = world.runtime.clone();
        let at = id.clone();
        let script = "echo ready; sleep 4242; echo never";
        let session = tokio::spawn(async move { runtime.exec(&at, command(&["sh", "-c", script], true), stdio).await });
        client.until("ready\r\n").await;
        session.abort();
        world.until_gone(&id, "4242").await;
        world
    });
}

#[test]
fn attached_input_reaches_a_container_that_takes_it_once() {
    on_each("stdin once", |mut world| async move {
        let sandbox = world.sandbox("web").await;
        let config = ContainerConfig { stdin: true, stdin_once: true, ..world.container("c", &["cat"]) };
        let id = world.start(&sandbox, config).await;
        let (mut client, stdio) = Client::new(true, false);
        client.stdin.write_all(b"through\n").await.unwrap();
        client.end_input().await;
        assert_eq!(world.runtime.attach(&id, stdio).await.unwrap(), SessionEnd::Exited(0));
        assert_eq!(client.stdout().await, "through\n");
        assert_eq!(world.ended(&id).await.exit_code, 0);
        world
    });
}
