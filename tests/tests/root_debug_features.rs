//! What only a Remora node does for a debugger, asked for by a stock kubectl: the target's root, a crashed container, an end in time.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, TestNode};
use serde_json::Value;

/// In `/`, which is also `HOME`: the web server's image lists no users.
const PROMPT: &str = "~ # ";

/// Runs a check with a stock kubectl in a namespace of its own, which is removed afterwards.
fn with_kubectl(test: &str, check: impl Fn(&Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let namespace = format!("features-{test}");
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let result = check(&kubectl.in_namespace(&namespace));
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    result.unwrap_or_else(|error| panic!("{error:?}"));
}

/// A debug container of this name in pod `web`, started with these variables.
fn debug(kubectl: &Client<'_>, name: &str, env: &[&str], rest: &[&str]) -> Result<()> {
    let mut words = vec!["debug", "web", "--image=busybox", "--profile=general", "-q", "-c", name];
    words.extend(env.iter().flat_map(|variable| ["--env", variable]));
    words.extend(rest);
    let done = kubectl.run(&words)?;
    ensure!(done.code == 0, "{words:?}: {done:?}");
    Ok(())
}

/// Waits until a debug container's status has a value at a path below its state.
fn wait_for(kubectl: &Client<'_>, name: &str, path: &str) -> Result<()> {
    let state = format!("{{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.{path}");
    kubectl.ok(&format!("wait pod/web --for=jsonpath={state} --timeout=60s")).map(drop)
}

fn state(kubectl: &Client<'_>, name: &str) -> Result<Value> {
    let pod: Value = serde_json::from_str(&kubectl.ok("get pod web -o json")?)?;
    let statuses = pod["status"]["ephemeralContainerStatuses"].as_array().context("no statuses")?;
    let status = statuses.iter().find(|status| status["name"] == name).context("no status")?;
    Ok(status["state"].clone())
}

/// A web server without a shell, as user 65532 on a read-only root.
fn distroless(kubectl: &Client<'_>) -> Result<()> {
    let overrides = r#"{"spec":{"containers":[{"name":"web","image":"registry.example/httpd:1","securityContext":{"readOnlyRootFilesystem":true}}]}}"#;
    let run = ["run", "web", "--image=registry.example/httpd:1", "--restart=Never", "--overrides", overrides];
    ensure!(kubectl.run(&run)?.code == 0);
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s").map(drop)
}

#[test]
fn a_distroless_pods_root_is_the_debuggers() {
    with_kubectl("root", |kubectl| {
        distroless(kubectl)?;
        let line = "debug -it web --image=busybox --target=web --profile=general -c d --env=REMORA_ROOT=target";
        let mut terminal = kubectl.terminal(line)?;
        let mut seen = String::new();
        for typed in ["ls -d /httpd /bin/sh", "touch /new", "wget -q -O - http://127.0.0.1:8080/", "exit 3"] {
            seen += &terminal.exp_string(PROMPT).with_context(|| format!("no prompt after {seen:?}"))?;
            terminal.send_line(typed)?;
        }
        seen += &terminal.exp_eof()?;
        let seen = seen.replace('\r', "");
        ensure!(seen.contains("\n/httpd\n") && seen.contains("ls: /bin/sh: No such file or directory"), "{seen}");
        ensure!(seen.contains("touch: /new: Read-only file system"), "{seen}");
        ensure!(seen.contains("hello from user 65532, root read-only"), "{seen}");
        wait_for(kubectl, "d", "terminated.exitCode}=3")
    });
}

#[test]
fn wishes_that_make_no_sense_are_told_in_the_status() {
    with_kubectl("wishes", |kubectl| {
        distroless(kubectl)?;
        let check = |name: &str, env: &str, message: &str| -> Result<()> {
            debug(kubectl, name, &[env], &["--", "true"])?;
            wait_for(kubectl, name, "waiting.reason}=CreateContainerConfigError")?;
            let state = state(kubectl, name)?;
            ensure!(state["waiting"]["message"] == message, "{state}");
            Ok(())
        };
        let unknown = "unknown variable REMORA_TLL: this node knows REMORA_ROOT, REMORA_IMAGE, REMORA_TTL and REMORA_IDLE_TIMEOUT";
        check("a", "REMORA_TLL=30m", unknown)?;
        let no_target = "REMORA_ROOT needs a target: give targetContainerName (kubectl debug --target=NAME)";
        check("b", "REMORA_ROOT=target", no_target)?;
        check("c", "REMORA_TTL=30", "REMORA_TTL cannot be \"30\": give a duration above 0, such as 90s, 30m or 1h30m")
    });
}

#[test]
fn a_container_in_crash_loop_is_looked_at() {
    with_kubectl("crashed", |kubectl| {
        let script = "echo evidence > /dump; exit 3";
        let run = ["run", "web", "--image=busybox", "--env=MODE=fast", "--", "sh", "-c", script];
        ensure!(kubectl.run(&run)?.code == 0);
        let waiting = "{.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff";
        kubectl.ok(&format!("wait pod/web --for=jsonpath={waiting} --timeout=60s"))?;
        let command = ["--target=web", "--", "sh", "-c", "cat /dump; echo $MODE; cat /dev/remora/crashed.json"];
        debug(kubectl, "coroner", &["REMORA_ROOT=crashed"], &command)?;
        wait_for(kubectl, "coroner", "terminated.exitCode}=0")?;
        let log = kubectl.ok("logs web -c coroner")?;
        let report = log.strip_prefix("evidence\nfast\n").with_context(|| log.clone())?;
        let report: Value = serde_json::from_str(report)?;
        ensure!(report["container"] == "web" && report["exitCode"] == 3, "{report}");
        Ok(())
    });
}

#[test]
fn a_debugger_ends_when_its_time_is_up() {
    with_kubectl("ttl", |kubectl| {
        distroless(kubectl)?;
        let command = ["--target=web", "--", "sleep", "100000"];
        debug(kubectl, "ttl", &["REMORA_TTL=1s"], &command)?;
        debug(kubectl, "idle", &["REMORA_IDLE_TIMEOUT=1s", "REMORA_TTL=1h"], &command)?;
        for (name, message) in
            [("ttl", "ended by REMORA_TTL after 1s"), ("idle", "ended by REMORA_IDLE_TIMEOUT after 1s")]
        {
            wait_for(kubectl, name, "terminated.reason}=DeadlineExceeded")?;
            let state = state(kubectl, name)?;
            ensure!(state["terminated"]["message"] == message && state["terminated"]["exitCode"] == 143, "{state}");
        }
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s").map(drop)
    });
}
