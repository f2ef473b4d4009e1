//! What stock kubectls of every version do with streams, on a real node with real containers: exec, attach, cp and port-forward. Until
//! 1.30 all of it goes over SPDY, from 1.31 on over WebSocket, with SPDY in it for port-forwards.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, Going, TestNode};
use rexpect::process::signal::Signal;
use rustix::termios::{Winsize, tcsetwinsize};

const PROMPT: &str = "/ # ";
/// An answer that takes longer counts as none.
const HANGS: Duration = Duration::from_secs(30);

/// Runs a check with the newest kubectl, in a namespace with pods: each a line for `kubectl run`.
fn with_pods(test: &str, pods: &[&str], check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(newest) = node.kubectls().pop() else { return };
    let namespace = format!("streams-{test}");
    newest.ok(&format!("create namespace {namespace}")).unwrap();
    newest.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let kubectl = newest.in_namespace(&namespace);
    for pod in pods {
        kubectl.ok(&format!("run {pod}")).unwrap();
    }
    kubectl.ok("wait --for=condition=Ready pod --all --timeout=60s").unwrap();
    let checked = check(&node, &kubectl);
    newest.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    checked.unwrap_or_else(|error| panic!("{error:?}"));
}

/// Runs a check with every kubectl, on pods that all of them share.
fn with_every_kubectl(test: &str, pods: &[&str], check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    with_pods(test, pods, |node, newest| {
        let all = node.kubectls_of_every_version();
        ensure!(!all.is_empty(), "no kubectl");
        all.iter()
            .try_for_each(|kubectl| check(node, &kubectl.in_namespace(newest.namespace())).context(kubectl.name()))
    });
}

/// Does not repeat within any buffer's length.
fn megabytes(count: usize) -> Vec<u8> {
    (0..count as u32 * 1024 * 1024 / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Sends input to a command until its end; its output, its errors and its exit status.
fn feed(kubectl: &Client<'_>, words: &[&str], sent: &[u8]) -> Result<(Vec<u8>, String, Option<i32>)> {
    let mut command = kubectl.command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("stdin")?;
    let output = std::thread::scope(|scope| {
        // An input that is not read to its end is no failure of the writer.
        scope.spawn(move || input.write_all(sent));
        child.wait_with_output()
    })?;
    Ok((output.stdout, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code()))
}

const BOX: &str = "box --image=busybox --restart=Never -- sleep 10000";

#[test]
fn exec_tells_output_errors_and_exit_status() {
    with_every_kubectl("exec", &[BOX], |_, kubectl| {
        let done = kubectl.run(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])?;
        ensure!(done.stdout == "out\n" && done.code == 7, "{done:?}");
        ensure!(done.stderr == "err\ncommand terminated with exit code 7\n", "{done:?}");
        let missing = kubectl.fails("exec box -- nosuch", 126)?;
        ensure!(missing.contains("executable file not found in $PATH"), "{missing}");
        Ok(())
    });
}

#[test]
fn some_megabytes_of_input_come_back_whole_and_end() {
    with_every_kubectl("stdin", &[BOX], |_, kubectl| {
        let sent = megabytes(5);
        let (came, said, code) = feed(kubectl, &["exec", "-i", "box", "--", "sh", "-c", "cat; exit 3"], &sent)?;
        ensure!(came == sent && code == Some(3), "{} of {} bytes, {code:?}: {said}", came.len(), sent.len());
        // A process that does not read its input can still end.
        let (_, said, code) = feed(kubectl, &["exec", "-i", "box", "--", "true"], &sent)?;
        ensure!(code == Some(0), "{code:?}: {said}");
        Ok(())
    });
}

#[test]
fn a_terminal_has_the_size_that_the_client_has_now() {
    with_every_kubectl("terminal", &[BOX], |_, kubectl| {
        let mut terminal = kubectl.terminal("exec -it box -- sh")?;
        terminal.exp_string(PROMPT)?;
        for (rows, columns) in [(33, 101), (44, 122)] {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(terminal.process().get_file_handle()?, size)?;
            // The shell hears of it by a signal; the prompt that it then draws comes after the size has changed.
            let waiting =
                format!("until stty size | grep -q '^{rows} {columns}$'; do sleep 0.05; done; echo now-$((1+1))");
            terminal.send_line(&waiting)?;
            terminal.exp_string("now-2")?;
        }
        terminal.send_line("exit 5")?;
        terminal.exp_eof()?;
        let status = format!("{:?}", terminal.process().wait()?);
        ensure!(status.contains(", 5)"), "{status}");
        Ok(())
    });
}

#[test]
fn attach_shows_what_was_said_and_goes_on() {
    let pod = r#"shell --image=busybox --restart=Never --overrides={"spec":{"containers":[{"name":"shell","image":"busybox","command":["sh"],"stdin":true,"tty":true}]}}"#;
    with_every_kubectl("attach", &[pod], |_, kubectl| {
        let mut terminal = kubectl.terminal("attach -it shell")?;
        // What another client has typed, or the prompt: either shows that the session stands.
        terminal.exp_string(PROMPT)?;
        terminal.send_line(&format!("echo by-$((1+1))-{}", kubectl.name()))?;
        terminal.exp_string(&format!("by-2-{}", kubectl.name()))?;
        terminal.process_mut().kill(Signal::SIGKILL)?;
        Ok(())
    });
}

#[test]
fn a_client_that_vanishes_ends_its_exec() {
    with_every_kubectl("vanish", &[BOX], |_, kubectl| {
        let words = ["exec", "-i", "box", "--", "sh", "-c", "echo here; cat"];
        let mut going = Going::start(kubectl.command(&words).stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut line = String::new();
        BufReader::new(going.child().stdout.take().context("stdout")?).read_line(&mut line)?;
        ensure!(line == "here\n", "{line}");
        drop(going);
        let script = "while ps | grep -q '[e]cho here'; do sleep 0.05; done";
        kubectl.run(&["exec", "box", "--", "timeout", "20", "sh", "-c", script]).and_then(|left| {
            ensure!(left.code == 0, "the command goes on: {left:?}");
            Ok(())
        })
    });
}

#[test]
fn files_are_copied_both_ways() {
    with_every_kubectl("cp", &[BOX], |_, kubectl| {
        let folder = tempfile::tempdir()?;
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        std::fs::write(&there, megabytes(3))?;
        kubectl.ok(&format!("cp {} box:/tmp/{}", there.display(), kubectl.name()))?;
        kubectl.ok(&format!("cp box:/tmp/{} {}", kubectl.name(), back.display()))?;
        ensure!(std::fs::read(&there)? == std::fs::read(&back)?, "the copy of the copy differs");
        Ok(())
    });
}

/// A `kubectl port-forward` that goes on.
struct Forward<'n> {
    node: &'n TestNode,
    going: Going,
    /// Local ports, in the order of the remote ones.
    ports: Vec<u16>,
}

impl<'n> Forward<'n> {
    fn start(node: &'n TestNode, kubectl: &Client<'_>, pod: &str, remote: &[u16]) -> Result<Forward<'n>> {
        let mut words = vec!["port-forward".to_owned(), pod.to_owned(), "--address=127.0.0.1".to_owned()];
        words.extend(remote.iter().map(|port| format!(":{port}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = kubectl.command(&words);
        let going = Going::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let mut forward = Forward { node, going, ports: Vec::new() };
        let mut lines = BufReader::new(forward.going.child().stdout.take().context("stdout")?);
        for port in remote {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split_once(" -> "));
            let (local, of) = local.with_context(|| format!("no port in {line:?}"))?;
            ensure!(of.trim() == port.to_string(), "{line}");
            forward.ports.push(local.parse()?);
        }
        // It goes on to tell of each connection.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(forward)
    }

    fn connect(&self, which: usize) -> Result<TcpStream> {
        let connection = self.node.connect(self.ports[which])?;
        connection.set_read_timeout(Some(HANGS))?;
        Ok(connection)
    }

    fn get(&self) -> Result<String> {
        let mut connection = self.connect(0)?;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

const WEB: &str = "web --image=registry.example/httpd:1 --restart=Never";
const ECHO: &str = "echo --image=busybox --restart=Never -- nc -ll -p 7000 -e cat";
/// Listens on IPv6 alone.
const WEB_6: &str = "web6 --image=busybox --restart=Never -- httpd -f -h /etc -p [::1]:7000";
/// In the node's network, on a port of its own.
const ECHO_HOST: &str =
    r#"host --image=busybox --restart=Never --overrides={"spec":{"hostNetwork":true}} -- nc -ll -p 7117 -e cat"#;

#[test]
fn a_forwarded_port_answers_twenty_at_once() {
    with_every_kubectl("forward", &[WEB], |node, kubectl| {
        let forward = Forward::start(node, kubectl, "pod/web", &[8080])?;
        let answers: Vec<Result<String>> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| forward.get())).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        for answer in answers {
            let answer = answer?;
            ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello from user 65532"), "{answer}");
        }
        Ok(())
    });
}

#[test]
fn each_direction_of_a_forwarded_connection_has_its_own_end() {
    with_every_kubectl("half", &[ECHO], |node, kubectl| {
        let forward = Forward::start(node, kubectl, "pod/echo", &[7000])?;
        let sent = megabytes(3);
        let mut connection = forward.connect(0)?;
        let mut writer = connection.try_clone()?;
        let mut came = Vec::new();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                writer.write_all(&sent)?;
                writer.shutdown(Shutdown::Write)
            });
            connection.read_to_end(&mut came)?;
            writing.join().unwrap()
        })?;
        ensure!(came == sent, "{} of {} bytes", came.len(), sent.len());
        Ok(())
    });
}

#[test]
fn a_port_is_found_on_either_loopback_and_in_the_nodes_network() {
    with_every_kubectl("loopback", &[WEB_6, ECHO_HOST], |node, kubectl| {
        let answer = Forward::start(node, kubectl, "pod/web6", &[7000])?.get()?;
        ensure!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let forward = Forward::start(node, kubectl, "pod/host", &[7117])?;
        let mut connection = forward.connect(0)?;
        connection.write_all(b"hello")?;
        connection.shutdown(Shutdown::Write)?;
        let mut came = String::new();
        connection.read_to_string(&mut came)?;
        ensure!(came == "hello", "{came:?}");
        Ok(())
    });
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    with_every_kubectl("refused", &[WEB], |node, kubectl| {
        let mut forward = Forward::start(node, kubectl, "pod/web", &[9999])?;
        ensure!(forward.connect(0)?.read_to_end(&mut Vec::new())? == 0);
        // Stock kubectl gives up after any failure. That the server does not is shown in remora-streaming.
        let mut said = String::new();
        forward.going.child().stderr.take().context("stderr")?.read_to_string(&mut said)?;
        ensure!(said.contains("error forwarding port 9999 to pod web, uid "), "{said}");
        ensure!(said.contains("IPv4: dial tcp4 127.0.0.1:9999: connect: connection refused"), "{said}");
        ensure!(said.contains("IPv6 dial tcp6 [::1]:9999: connect: connection refused"), "{said}");
        Ok(())
    });
}

#[test]
fn remora_port_forward_outlives_a_refused_connection_and_the_pod() {
    with_pods("own", &[ECHO], |node, kubectl| {
        let remora = node.remora().in_namespace(kubectl.namespace());
        let forward = Forward::start(node, &remora, "pod/echo", &[7000, 9999])?;
        let echo = || -> Result<()> {
            let mut connection = forward.connect(0)?;
            connection.write_all(b"hello")?;
            // The API's channels cannot tell that this side has ended; the answer comes all the same.
            connection.shutdown(Shutdown::Write)?;
            let mut came = [0; 5];
            connection.read_exact(&mut came)?;
            ensure!(&came == b"hello", "{came:?}");
            Ok(())
        };
        echo()?;
        ensure!(forward.connect(1)?.read_to_end(&mut Vec::new())? == 0);
        let sent = megabytes(3);
        let mut connection = forward.connect(0)?;
        let mut writer = connection.try_clone()?;
        let mut came = vec![0; sent.len()];
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_all(&sent));
            connection.read_exact(&mut came)?;
            writing.join().unwrap()
        })?;
        ensure!(came == sent);
        kubectl.ok("delete pod echo --now")?;
        kubectl.ok(&format!("run {ECHO}"))?;
        kubectl.ok("wait --for=condition=Ready pod/echo --timeout=60s")?;
        echo()
    });
}
