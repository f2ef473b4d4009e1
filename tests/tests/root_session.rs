//! The session of ephemeral containers, played by stock kubectls against a real node with real containers.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use remora_tests::mask::mask;
use remora_tests::{Client, TestNode};
use serde_json::Value;

const PROMPT: &str = "/ # ";

/// Runs a check with every kubectl, each in a namespace of its own, which is removed afterwards.
fn with_each_kubectl(test: &str, check: impl Fn(&Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    for kubectl in node.kubectls() {
        let namespace = format!("{test}-{}", kubectl.name().replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}")).unwrap();
        kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
        let result = check(&kubectl.in_namespace(&namespace));
        kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
        result.unwrap_or_else(|error| panic!("{}: {error:?}", kubectl.name()));
    }
}

/// The pod without a shell, running.
fn demo(kubectl: &Client<'_>) -> Result<()> {
    kubectl.ok("run ephemeral-demo --image=k8s.gcr.io/pause:3.1 --restart=Never --image-pull-policy=IfNotPresent")?;
    kubectl.ok("wait --for=condition=Ready pod/ephemeral-demo --timeout=60s").map(drop)
}

fn pod(kubectl: &Client<'_>) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl.ok("get pod ephemeral-demo -o json")?)?)
}

/// Waits until a container of the demo pod has this status path.
fn wait_for(kubectl: &Client<'_>, path: &str) -> Result<()> {
    kubectl.ok(&format!("wait pod/ephemeral-demo --for=jsonpath={path} --timeout=60s")).map(drop)
}

/// Types lines at prompts; gives all that was seen and the exit status.
fn talk(kubectl: &Client<'_>, line: &str, typed: &[&str]) -> Result<(String, String)> {
    let mut terminal = kubectl.terminal(line)?;
    let mut seen = String::new();
    for words in typed {
        seen += &terminal.exp_string(PROMPT).with_context(|| format!("{line}: no prompt after {seen:?}"))?;
        terminal.send_line(words)?;
    }
    seen += &terminal.exp_eof()?;
    let status = terminal.process().wait()?;
    Ok((seen.replace('\r', ""), format!("{status:?}")))
}

const DEBUG: &str = "debug -it ephemeral-demo --image=busybox --target=ephemeral-demo --profile=general";

#[test]
fn versions_and_the_node_show() {
    with_each_kubectl("versions", |kubectl| {
        let version = kubectl.ok("version")?;
        ensure!(version.contains("Server Version: v1.34."), "{version}");
        let nodes = kubectl.ok("get nodes --no-headers")?;
        ensure!(nodes.lines().count() == 1 && nodes.contains(" Ready "), "{nodes}");
        Ok(())
    });
}

#[test]
fn a_shell_less_pod_is_refused_to_exec_and_debugged() {
    with_each_kubectl("session", |kubectl| {
        demo(kubectl)?;
        let refused = kubectl.fails("exec ephemeral-demo -- sh", 126)?;
        ensure!(refused.contains(r#"exec: "sh": executable file not found in $PATH"#), "{refused}");
        ensure!(refused.contains("command terminated with exit code 126"), "{refused}");
        let (seen, status) = talk(kubectl, "exec -it ephemeral-demo -- sh", &[])?;
        ensure!(seen.contains("executable file not found in $PATH") && status.contains("126"), "{seen} {status}");

        let (seen, status) = talk(kubectl, DEBUG, &["ps -ef", "ls /proc/1/root", "exit"])?;
        ensure!(seen.contains("Targeting container \"ephemeral-demo\"."), "{seen}");
        ensure!(seen.contains("Defaulting debug container name to debugger-"), "{seen}");
        let processes: Vec<&str> = seen.lines().filter(|line| line.contains(" root ")).collect();
        ensure!(
            processes.first().is_some_and(|first| first.trim_start().starts_with("1 root") && first.contains("/pause")),
            "{seen}"
        );
        ensure!(processes.iter().any(|line| line.ends_with(" sh")), "{seen}");
        ensure!(seen.contains("pause"), "{seen}");
        ensure!(status.contains("Exited") && status.contains(", 0)"), "{status}");
        Ok(())
    });
}

#[test]
fn a_shell_that_ends_badly_ends_kubectl_debug_without_a_warning() {
    with_each_kubectl("exit-status", |kubectl| {
        demo(kubectl)?;
        let (seen, status) = talk(kubectl, DEBUG, &["exit 7"])?;
        ensure!(!seen.contains("falling back to streaming logs") && status.contains(", 0)"), "{seen} {status}");
        wait_for(kubectl, "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=7")
    });
}

#[test]
fn the_exit_status_of_the_shell_is_that_of_remora_debug() {
    let Some(node) = TestNode::from_environment() else { return };
    with_each_kubectl("own-status", |kubectl| {
        demo(kubectl)?;
        let remora = node.remora().in_namespace(kubectl.namespace());
        let (seen, status) =
            talk(&remora, "debug -it ephemeral-demo --image=busybox --target=ephemeral-demo", &["exit 7"])?;
        ensure!(status.contains(", 7)"), "{seen} {status}");
        Ok(())
    });
}

#[test]
fn three_debug_containers_keep_their_order_and_none_starts_again() {
    with_each_kubectl("three", |kubectl| {
        demo(kubectl)?;
        for name in ["zeta", "alpha", "mid"] {
            let done = kubectl.run(&[
                "debug",
                "ephemeral-demo",
                "--image=busybox",
                "--profile=general",
                "-q",
                "-c",
                name,
                "--",
                "sh",
                "-c",
                "exit 5",
            ])?;
            ensure!(done.code == 0, "{done:?}");
            wait_for(
                kubectl,
                &format!("{{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.terminated.exitCode}}=5"),
            )?;
        }
        let pod = pod(kubectl)?;
        let names = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|c| Some(c["name"].as_str()?.to_owned())).collect()
        };
        ensure!(names(&pod["spec"]["ephemeralContainers"]) == ["zeta", "alpha", "mid"], "{pod}");
        ensure!(names(&pod["status"]["ephemeralContainerStatuses"]) == ["alpha", "mid", "zeta"], "{pod}");
        for status in pod["status"]["ephemeralContainerStatuses"].as_array().into_iter().flatten() {
            ensure!(status["restartCount"] == 0 && status["state"]["terminated"]["exitCode"] == 5, "{status}");
        }
        Ok(())
    });
}

#[test]
fn refusals_are_worded_as_recorded() {
    with_each_kubectl("refusals", |kubectl| {
        demo(kubectl)?;
        kubectl.ok("debug ephemeral-demo --image=busybox --profile=general -q -c dbg -- sleep 100000")?;
        let check = |line: &str, expected: &str| -> Result<()> {
            let said = kubectl.fails(line, 1)?;
            ensure!(said.contains(expected), "{line}: {said}");
            Ok(())
        };
        check("debug nope --image=busybox -q --profile=general", "pods \"nope\" not found")?;
        check(
            "debug ephemeral-demo --image=busybox -q --profile=general --target=ghost -- true",
            "The Pod \"ephemeral-demo\" is invalid: spec.ephemeralContainers[1].targetContainerName: Not found: \"ghost\"",
        )?;
        check(
            "debug ephemeral-demo --image=busybox -q --profile=general -c dbg -- true",
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"dbg\" may not be changed",
        )?;
        check(
            "debug ephemeral-demo --image=busybox -q --profile=general -c ephemeral-demo -- true",
            "spec.ephemeralContainers[1].name: Duplicate value: \"ephemeral-demo\"",
        )?;
        let forbidden = "spec: Forbidden: pod updates may not change fields other than";
        check(
            "patch pod ephemeral-demo -p {\"spec\":{\"ephemeralContainers\":[{\"name\":\"p1\",\"image\":\"busybox\"}]}}",
            forbidden,
        )?;
        check(
            "patch pod ephemeral-demo --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/ephemeralContainers\"}]",
            forbidden,
        )?;
        check(
            "patch pod ephemeral-demo --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/ephemeralContainers/0/image\",\"value\":\"x\"}]",
            forbidden,
        )
    });
}

#[test]
fn kubectl_edit_may_not_touch_ephemeral_containers() {
    with_each_kubectl("edit", |kubectl| {
        demo(kubectl)?;
        kubectl.ok("debug ephemeral-demo --image=busybox --profile=general -q -c dbg -- sleep 100000")?;
        // The editor changes the name and keeps what it was shown: the second time, with the refusal on top.
        let folder = std::env::temp_dir().join(format!("remora-edit-{}-{}", kubectl.name(), std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (editor, shown) = (folder.join("editor"), folder.join("shown"));
        let script = format!("cat \"$1\" >> {}\nsed -i 's/name: dbg/name: other/' \"$1\"\n", shown.display());
        std::fs::write(&editor, script)?;
        let mut edit = kubectl.command(&["edit", "pod", "ephemeral-demo"]);
        edit.env("KUBE_EDITOR", format!("sh {}", editor.display()));
        let output = edit.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = std::fs::read_to_string(shown)?;
        std::fs::remove_dir_all(folder)?;
        ensure!(!output.status.success() && said.contains("pods \"ephemeral-demo\" is invalid"), "{said}");
        ensure!(shown.contains("pod updates may not change fields other than"), "{shown}");
        ensure!(pod(kubectl)?["spec"]["ephemeralContainers"][0]["name"] == "dbg", "the entry was changed");
        Ok(())
    });
}

#[test]
fn what_cannot_start_says_why_in_status_and_events() {
    with_each_kubectl("cannot", |kubectl| {
        demo(kubectl)?;
        let debug = "debug ephemeral-demo -q --profile=general";
        kubectl.ok(&format!("{debug} --image=nosuch/image:1 --image-pull-policy=Never -c never"))?;
        kubectl.ok(&format!("{debug} --image=nosuch/image:1 -c missing"))?;
        let reason = |name: &str, reason: &str| {
            wait_for(
                kubectl,
                &format!("{{.status.ephemeralContainerStatuses[?(@.name==\"{name}\")].state.waiting.reason}}={reason}"),
            )
        };
        reason("never", "ErrImageNeverPull")?;
        reason("missing", "ImagePullBackOff")?;
        let events = kubectl.ok("get events")?;
        ensure!(
            events.contains("Container image \"nosuch/image:1\" is not present with pull policy of Never"),
            "{events}"
        );
        ensure!(events.contains("Failed to pull image \"nosuch/image:1\""), "{events}");
        ensure!(events.contains("Back-off pulling image \"nosuch/image:1\""), "{events}");
        let pod = pod(kubectl)?;
        ensure!(
            pod["status"]["phase"] == "Running",
            "a debug container that cannot start is no matter of the pod's: {pod}"
        );
        Ok(())
    });
}

#[test]
fn describe_and_yaml_equal_the_transcripts() {
    let Some(node) = TestNode::from_environment() else { return };
    // As when they were recorded: both images are there already.
    for image in ["pause", "busybox"] {
        let archive = node.dir().join("images").join(image).with_extension("tar");
        node.remora().ok(&format!("image import {}", archive.display())).unwrap();
    }
    with_each_kubectl("transcripts", |kubectl| {
        demo(kubectl)?;
        let debug = "debug -it ephemeral-demo --image=busybox --image-pull-policy=IfNotPresent --target=ephemeral-demo --profile=legacy";
        talk(kubectl, debug, &["exit"])?;
        wait_for(kubectl, "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0")?;
        compare(kubectl, "describe pod ephemeral-demo", "describe-after-exit")?;
        compare(kubectl, "get pod ephemeral-demo -o yaml", "get-yaml-after-exit")?;
        kubectl.ok("debug ephemeral-demo --image=busybox --image-pull-policy=IfNotPresent --target=ephemeral-demo --profile=legacy -c dbg2 -- sleep 100000")?;
        wait_for(kubectl, "{.status.ephemeralContainerStatuses[?(@.name==\"dbg2\")].state.running}")?;
        compare(kubectl, "describe pod ephemeral-demo", "describe-with-running")?;
        compare(kubectl, "get pod ephemeral-demo -o yaml", "get-yaml-with-running")
    });
}

fn compare(kubectl: &Client<'_>, line: &str, transcript: &str) -> Result<()> {
    let path = format!("{}/data/transcripts/{transcript}.txt", env!("CARGO_MANIFEST_DIR"));
    let recorded = mask(&std::fs::read_to_string(path)?, &[("anchor", "NODE")]);
    let pod = pod(kubectl)?;
    let name = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (node, namespace) = (name("/spec/nodeName"), name("/metadata/namespace"));
    let ours = mask(&kubectl.ok(line)?, &[(&node, "NODE"), (&namespace, "default")]);
    // kubectl before 1.33 words one line of a projected volume otherwise.
    let ours = ours.replace("ConfigMapOptional: <nil>", "Optional: false");
    // Which revision and which change of the status an object is at differs by timing.
    let timeless = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.trim_start().starts_with("resourceVersion:")).map(str::to_owned).collect()
    };
    let (ours, recorded) = (timeless(&ours), timeless(&recorded));
    let only = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
    ensure!(
        ours == recorded,
        "{line} differs from {transcript}:\nours alone: {:#?}\nrecorded alone: {:#?}",
        only(&ours, &recorded),
        only(&recorded, &ours)
    );
    Ok(())
}

#[test]
fn logs_follow_until_the_container_ends() {
    with_each_kubectl("logs", |kubectl| {
        demo(kubectl)?;
        let script = "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo error >&2";
        let command = [
            "debug",
            "ephemeral-demo",
            "--image=busybox",
            "--profile=general",
            "-q",
            "-c",
            "talker",
            "--",
            "sh",
            "-c",
            script,
        ];
        let done = kubectl.run(&command)?;
        ensure!(done.code == 0, "{done:?}");
        wait_for(kubectl, "{.status.ephemeralContainerStatuses[0].containerID}")?;
        ensure!(kubectl.ok("logs ephemeral-demo -c talker -f")? == "line 1\nline 2\nline 3\nerror\n");
        ensure!(kubectl.ok("logs ephemeral-demo -c talker --tail=1")? == "error\n");
        let said = kubectl.fails("logs ephemeral-demo -c ghost", 1)?;
        ensure!(said.contains("container ghost is not valid for pod ephemeral-demo"), "{said}");
        Ok(())
    });
}

#[test]
fn attach_shows_what_the_terminal_has_shown_and_goes_on() {
    with_each_kubectl("attach", |kubectl| {
        demo(kubectl)?;
        let mut first = kubectl.terminal(&format!("{DEBUG} -c shell"))?;
        first.exp_string(PROMPT)?;
        // The answer, not the next prompt, shows that the shell has taken the line: a resize draws the prompt again.
        first.send_line("memory=kept; echo stored-$memory")?;
        first.exp_string("stored-kept")?;
        // The terminal's client goes away, as with a lost connection; the shell stays.
        first.process_mut().kill(rexpect::process::signal::Signal::SIGKILL)?;
        let (seen, status) = talk(kubectl, "attach -it ephemeral-demo -c shell", &["echo $memory", "exit"])?;
        ensure!(seen.contains("memory=kept"), "the terminal's past is missing: {seen}");
        ensure!(seen.contains("\nkept"), "the shell lost its variable: {seen}");
        ensure!(status.contains(", 0)"), "{status}");
        Ok(())
    });
}

#[test]
fn standard_input_ends_where_it_ends() {
    with_each_kubectl("stdin", |kubectl| {
        kubectl.ok("run cat --image=busybox --restart=Never -- sleep 1000")?;
        kubectl.ok("wait --for=condition=Ready pod/cat --timeout=60s")?;
        let mut exec = kubectl.command(&["exec", "-i", "cat", "--", "sh", "-c", "cat; echo end >&2; exit 3"]);
        let mut child = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let big = "0123456789abcdef".repeat(20_000);
        let mut input = child.stdin.take().context("stdin")?;
        let sent = big.clone();
        let writer = std::thread::spawn(move || input.write_all(sent.as_bytes()));
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        ensure!(String::from_utf8_lossy(&output.stdout) == big, "{} bytes came back", output.stdout.len());
        ensure!(String::from_utf8_lossy(&output.stderr).starts_with("end\n"), "{:?}", output.stderr);
        ensure!(output.status.code() == Some(3), "{:?}", output.status);
        Ok(())
    });
}

#[test]
fn a_watch_sees_the_pod_come_and_go() {
    with_each_kubectl("watch", |kubectl| {
        let mut watch = kubectl.command(&["get", "pods", "-w", "--no-headers"]).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(watch.stdout.take().context("stdout")?).lines();
        demo(kubectl)?;
        let mut seen = |word: &str| lines.by_ref().map_while(Result::ok).any(|line| line.contains(word));
        ensure!(seen("Running"), "never seen running");
        kubectl.ok("delete pod ephemeral-demo --now")?;
        ensure!(seen("Terminating") || seen("Completed"), "never seen going");
        watch.kill()?;
        watch.wait()?;
        Ok(())
    });
}

#[test]
fn deleting_is_graceful_unless_told_otherwise() {
    with_each_kubectl("delete", |kubectl| {
        let script = "trap 'echo asked to end; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
        for (name, flag) in [("gently", "--grace-period=20"), ("now", "--now"), ("forced", "--force")] {
            let run = ["run", name, "--image=busybox", "--restart=Never", "--", "sh", "-c", script];
            ensure!(kubectl.run(&run)?.code == 0);
            kubectl.ok(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"))?;
            let mut logs = kubectl.command(&["logs", "-f", name]).stdout(Stdio::piped()).spawn()?;
            let mut log = BufReader::new(logs.stdout.take().context("stdout")?);
            let mut line = String::new();
            log.read_line(&mut line)?;
            ensure!(line == "ready\n", "{line}");
            kubectl.ok(&format!("delete pod {name} {flag}"))?;
            let mut rest = String::new();
            log.read_to_string(&mut rest)?;
            logs.wait()?;
            ensure!(flag == "--force" || rest.contains("asked to end"), "{name}: {rest:?}");
            ensure!(kubectl.fails(&format!("get pod {name}"), 1)?.contains("not found"));
        }
        Ok(())
    });
}

#[test]
fn a_distroless_web_server_is_reached_through_its_debugger() {
    with_each_kubectl("distroless", |kubectl| {
        let overrides = r#"{"spec":{"containers":[{"name":"web","image":"registry.example/httpd:1","securityContext":{"readOnlyRootFilesystem":true}}]}}"#;
        let run = ["run", "web", "--image=registry.example/httpd:1", "--restart=Never", "--overrides", overrides];
        ensure!(kubectl.run(&run)?.code == 0);
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s")?;
        kubectl.fails("exec web -- sh", 126)?;
        let debug = "debug -it web --image=busybox --target=web --profile=general";
        let (seen, status) =
            talk(kubectl, debug, &["wget -q -O - http://127.0.0.1:8080/", "ls /proc/1/root/httpd", "exit"])?;
        ensure!(seen.contains("hello from user 65532, root read-only"), "{seen}");
        ensure!(seen.contains("/proc/1/root/httpd\n") && !seen.contains("Permission denied"), "{seen}");
        ensure!(status.contains(", 0)"), "{status}");
        let address = kubectl.ok("get pod web -o jsonpath={.status.podIP}")?;
        let answer = kubectl.ok(&format!(
            "run asker --image=busybox --restart=Never --rm -i -q -- wget -q -O - http://{address}:8080/"
        ))?;
        ensure!(answer.contains("hello from user 65532"), "{answer}");
        Ok(())
    });
}

#[test]
fn explain_knows_every_kind_and_field() {
    with_each_kubectl("explain", |kubectl| {
        let explained = kubectl.ok("explain pod.spec.ephemeralContainers.targetContainerName")?;
        ensure!(explained.contains("targetContainerName <string>"), "{explained}");
        for kind in ["namespace", "node", "pod", "event", "configmap", "secret", "serviceaccount", "lease"] {
            kubectl.ok(&format!("explain {kind}"))?;
        }
        let manifest =
            std::env::temp_dir().join(format!("remora-nonsense-{}-{}.yaml", kubectl.name(), std::process::id()));
        std::fs::write(
            &manifest,
            r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "nonsense": 1}"#,
        )?;
        let said = kubectl.fails(&format!("create -f {}", manifest.display()), 1)?;
        std::fs::remove_file(manifest)?;
        ensure!(said.contains("strict decoding error: unknown field \"nonsense\""), "{said}");
        Ok(())
    });
}

#[test]
fn a_runtime_class_chooses_the_low_level_runtime() {
    with_each_kubectl("runtimes", |kubectl| {
        let classes = kubectl.ok("get runtimeclasses")?;
        ensure!(classes.starts_with("NAME") && classes.contains("libcontainer   libcontainer"), "{classes}");
        let run = |name: &str, class: &str| {
            let overrides = format!(r#"{{"spec":{{"runtimeClassName":"{class}"}}}}"#);
            kubectl.run(&["run", name, "--image=k8s.gcr.io/pause:3.1", "--restart=Never", "--overrides", &overrides])
        };
        for class in ["libcontainer", "runc"] {
            let ran = run(class, class)?;
            ensure!(ran.code == 0, "{ran:?}");
            kubectl.ok(&format!("wait --for=condition=Ready pod/{class} --timeout=60s"))?;
        }
        let refused = run("none", "kata")?;
        ensure!(
            refused.code == 1 && refused.stderr.contains("pod rejected: RuntimeClass \"kata\" not found"),
            "{refused:?}"
        );
        // A class whose handler this node does not have: the pod is created, and an event tells why it does not start.
        let class = format!("kata-{}", kubectl.name().replace('.', "-"));
        let object = format!(
            r#"{{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{{"name":"{class}"}},"handler":"kata"}}"#
        );
        let file = std::env::temp_dir().join(format!("remora-{class}-{}.json", std::process::id()));
        std::fs::write(&file, object)?;
        kubectl.ok(&format!("create -f {}", file.display()))?;
        std::fs::remove_file(file)?;
        let watching = ["get", "events", "--watch", "--field-selector", "involvedObject.name=kata"];
        let mut watch = kubectl.command(&watching).stdout(Stdio::piped()).spawn()?;
        ensure!(run("kata", &class)?.code == 0);
        let mut lines = BufReader::new(watch.stdout.take().context("stdout")?).lines();
        let why = lines.by_ref().map_while(Result::ok).find(|line| line.contains("FailedCreatePodSandBox"));
        watch.kill()?;
        watch.wait()?;
        ensure!(why.as_ref().is_some_and(|why| why.contains("\"kata\"")), "{why:?}");
        kubectl.ok(&format!("delete runtimeclass {class}")).map(drop)
    });
}
