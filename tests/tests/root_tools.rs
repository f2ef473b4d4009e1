//! `remora capture` and `remora dump` with real tools: tcpdump, gdb and jattach of the toolbox image, which `cargo xtask image` makes of Debian's
//! packages. What they write is read by this machine's own, or by the image's.
//!
//! `cargo xtask test` starts the node. Without Debian's archive there is no image, and this says so.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, TestNode, say};

const IMAGE: &str = "--image=localhost/remora-toolbox:1";

/// The status by which xtask says that something cannot be had on this machine.
const CANNOT_BE_HAD: i32 = 77;

#[test]
fn packets_memory_and_threads_are_taken_by_the_toolbox() {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = node.xtask(&["image", "--dir"], folder.path(), &[]).unwrap();
    if made.code == CANNOT_BE_HAD {
        say(&format!("SKIPPED: no toolbox image: {}", made.stderr.trim()));
        return;
    }
    assert_eq!(made.code, 0, "{made:?}");
    let remora = node.remora();
    remora.ok(&format!("image import {}", made.stdout.trim())).unwrap();
    kubectl.ok("create namespace tools").unwrap();
    kubectl.ok("wait --for=create serviceaccount/default -n tools --timeout=30s").unwrap();
    kubectl.ok("run web -n tools --image=registry.example/httpd:1 --restart=Never").unwrap();
    kubectl.ok("wait --for=condition=Ready pod/web -n tools --timeout=60s").unwrap();
    let in_tools = remora.in_namespace("tools");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let checked = capture(&in_tools, &at("web.pcap"))
        .and_then(|()| ended(&in_tools))
        .and_then(|()| dump(&in_tools, &at("web.core")));
    let left = sessions(&in_tools);
    kubectl.ok("delete namespace tools --wait=false").unwrap();
    checked.unwrap();
    assert!(!left.unwrap().contains("running"), "a debug container still runs");
}

fn sessions(remora: &Client<'_>) -> Result<String> {
    remora.ok("debug ls")
}

/// Three packets of the pod's loopback, whole: read by the tcpdump of the image.
fn capture(remora: &Client<'_>, to: &str) -> Result<()> {
    let capture = ["capture", "web", IMAGE, "-i", "lo", "-w", to, "--count=3", "tcp", "port", "8080"];
    let mut running = remora.command(&capture).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(running.stderr.take().context("no standard error")?);
    let mut line = String::new();
    while !line.contains("listening on lo") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "it ended before it began");
        // tcpdump's own words come at the end: what is said when it begins is ours.
        if line.contains("Capturing on lo") {
            break;
        }
    }
    // Until tcpdump listens, nothing is seen: so it is asked until three packets were.
    while running.try_wait()?.is_none() {
        let asked = ["debug", "web", "-q", IMAGE, "--attach", "--", "curl", "-s", "http://127.0.0.1:8080/"];
        ensure!(remora.run(&asked)?.stdout.contains("hello"), "the web server does not answer");
    }
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    ensure!(running.wait()?.success() && rest.contains("Captured 3 packets"), "{rest}");
    let stdin = Stdio::from(std::fs::File::open(to)?);
    let read = ["debug", "web", "-q", "-i", IMAGE, "--", "tcpdump", "-n", "-r", "-"];
    let read = remora.command(&read).stdin(stdin).output()?;
    let packets = String::from_utf8(read.stdout)?;
    ensure!(packets.lines().count() == 3 && packets.contains("127.0.0.1.8080"), "{packets}");
    Ok(())
}

/// Told to end, it ends with a whole file: a header and no packet.
fn ended(remora: &Client<'_>) -> Result<()> {
    let capture = ["capture", "web", IMAGE, "-i", "lo", "--duration=5s", "udp", "port", "9"];
    let done = remora.command(&capture).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && said.contains("Captured 0 packets, 24 B."), "{said}");
    ensure!(done.stdout.len() == 24 && said.contains("0 packets dropped by kernel"), "{said}");
    Ok(())
}

fn dump(remora: &Client<'_>, to: &str) -> Result<()> {
    let core = remora.run(&["dump", "web", IMAGE, "-q", "-o", to])?;
    ensure!(core.code == 0, "{core:?}");
    let bytes = std::fs::read(to)?;
    // ET_CORE of elf(5), in the byte order of this machine.
    ensure!(bytes.starts_with(b"\x7fELF") && bytes[16..18] == 4u16.to_ne_bytes(), "{} bytes", bytes.len());
    use std::os::unix::fs::PermissionsExt;
    ensure!(std::fs::metadata(to)?.permissions().mode() & 0o077 == 0);
    let threads = remora.run(&["dump", "web", IMAGE, "--kind=threads"])?;
    ensure!(threads.code == 0 && threads.stdout.contains("Thread 1 (process 1 \"httpd\")"), "{threads:?}");
    Ok(())
}
