//! What is upgraded through the proxy of a pod, and of a service, by `kubectl proxy` and the API server, to what the pod speaks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, Going, TestNode};

const NAMESPACE: &str = "clients-proxy";
/// Reads a request's head, agrees to whatever protocol it wants, and says again what it is told.
const SCRIPT: &str = r#"while read -r line; do test ${#line} -gt 1 || break; done; printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n'; cat"#;

#[test]
fn a_protocol_of_the_pods_own_goes_through_its_proxy() {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    kubectl.ok(&format!("create namespace {NAMESPACE}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {NAMESPACE} --timeout=30s")).unwrap();
    let checked = check(&node, &kubectl.in_namespace(NAMESPACE));
    kubectl.ok(&format!("delete namespace {NAMESPACE} --wait=false")).unwrap();
    checked.unwrap();
}

fn check(node: &TestNode, kubectl: &Client<'_>) -> Result<()> {
    let run = ["run", "up", "--image=busybox", "--restart=Never", "--"];
    let server = ["nc", "-ll", "-p", "7000", "-e", "sh", "-c", SCRIPT];
    let started = kubectl.run(&[&run[..], &server[..]].concat())?;
    ensure!(started.code == 0, "{started:?}");
    kubectl.ok("wait --for=condition=Ready pod/up --timeout=60s")?;
    // A container that runs does not yet listen.
    let listens = "until netstat -lnt | grep -q :7000; do sleep 0.1; done";
    let waited = kubectl.run(&["exec", "up", "--", "sh", "-c", listens])?;
    ensure!(waited.code == 0, "{waited:?}");
    let mut proxy = Going::start(kubectl.command(&["proxy", "--port=0"]).stdout(Stdio::piped()))?;
    let mut line = String::new();
    let mut lines = BufReader::new(proxy.child().stdout.take().context("stdout")?);
    lines.read_line(&mut line)?;
    let port = line.trim().rsplit(':').next().context("it names no port")?.parse()?;
    echoes(node.connect(port)?, "pods/up:7000")?;
    kubectl.ok("expose pod up --port=80 --target-port=7000")?;
    kubectl.ok("wait endpoints/up --for=create --timeout=30s")?;
    kubectl.ok("wait endpoints/up --for=jsonpath={.subsets[0].addresses[0].targetRef.name}=up --timeout=30s")?;
    echoes(node.connect(port)?, "services/up:80")
}

fn echoes(mut connection: TcpStream, whose: &str) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/{whose}/proxy/x");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    ensure!(head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("upgrade: echo\r\n"), "{head}");
    connection.write_all(b"hello")?;
    // kubectl's proxy ends both directions when one has ended.
    let mut came = [0; 5];
    reader.read_exact(&mut came)?;
    ensure!(&came == b"hello", "{came:?}");
    connection.shutdown(Shutdown::Write)?;
    ensure!(reader.read_to_end(&mut Vec::new())? == 0, "it goes on");
    Ok(())
}
