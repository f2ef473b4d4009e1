//! Clients of other languages: each is a program of `tests/clients` that goes through its steps and tells of each.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use remora_tests::{Going, TestNode};

/// All steps together.
const HANGS: Duration = Duration::from_secs(300);

fn play(language: &str, least_steps: usize) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let Some(command) = node.client_of(language).unwrap() else { return };
    let namespace = format!("clients-{language}");
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let said = steps(&node, &command, &namespace);
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    let said = said.unwrap();
    let done = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(done >= least_steps, "only {done} of {least_steps} steps:\n{said}");
}

/// What the client says of its steps, if none has failed.
fn steps(node: &TestNode, command: &[String], namespace: &str) -> Result<String> {
    let (program, arguments) = command.split_first().context("a client has a command")?;
    let mut client = node.command(program)?;
    client.args(arguments).arg(namespace).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Going::start_within(&mut client, HANGS)?.finish()?;
    let [said, log] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(done.status.success(), "{}\n{said}\n{log}", done.status);
    Ok(said)
}

#[test]
fn the_python_client_does_everything() {
    play("python", 14);
}

#[test]
fn client_go_does_everything() {
    play("go", 23);
}

#[test]
fn the_node_client_does_everything() {
    play("node", 15);
}
