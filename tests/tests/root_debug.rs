//! `remora debug` on a real node with real containers: what it does when nothing is said, and what every flag changes.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, Done, TestNode};
use serde_json::Value;

/// In `/`, which is also `HOME`: the web server's image lists no users.
const PROMPT: &str = "~ # ";

/// Runs a check in a namespace of its own, which is removed afterwards. kubectl makes the pods, remora debugs them.
fn with_clients(test: &str, check: impl Fn(&Client<'_>, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let namespace = format!("debug-{test}");
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let result = check(&node.remora().in_namespace(&namespace), &kubectl.in_namespace(&namespace));
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    result.unwrap_or_else(|error| panic!("{error:?}"));
}

/// A pod of one container, `web`, with these fields in it and beside it.
fn pod(kubectl: &Client<'_>, name: &str, container: &str, spec: &str) -> Result<()> {
    let overrides = format!(
        r#"{{"spec":{{{spec}"containers":[{{"name":"web",{container}"image":"registry.example/httpd:1"}}]}}}}"#
    );
    let run = [
        "run",
        name,
        "--image=registry.example/httpd:1",
        "--restart=Never",
        "--overrides",
        &overrides,
        "-l",
        "app=web",
    ];
    let done = kubectl.run(&run)?;
    ensure!(done.code == 0, "{done:?}");
    kubectl.ok(&format!("wait --for=condition=Ready pod/{name} --timeout=60s")).map(drop)
}

/// Runs remora; the exit status must be `expected`.
fn debug(remora: &Client<'_>, words: &[&str], expected: i32) -> Result<Done> {
    let words: Vec<&str> = std::iter::once("debug").chain(words.iter().copied()).collect();
    let done = remora.run(&words)?;
    ensure!(done.code == expected, "{words:?}: not {expected}: {done:?}");
    Ok(done)
}

fn entries(kubectl: &Client<'_>, pod: &str) -> Result<Vec<Value>> {
    let pod: Value = serde_json::from_str(&kubectl.ok(&format!("get pod {pod} -o json"))?)?;
    Ok(pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default())
}

#[test]
fn nothing_said_is_a_shell_in_the_targets_root() {
    with_clients("nothing", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let mut terminal = remora.terminal("debug web")?;
        let mut seen = String::new();
        for typed in ["ls -d /httpd", "ps -o comm", "exit 3"] {
            seen += &terminal.exp_string(PROMPT).with_context(|| format!("no prompt after {seen:?}"))?;
            terminal.send_line(typed)?;
        }
        seen += &terminal.exp_eof()?;
        let seen = seen.replace('\r', "");
        let status = format!("{:?}", terminal.process().wait()?);
        ensure!(seen.contains("\n/httpd\n") && seen.contains("\nhttpd\n"), "{seen}");
        ensure!(seen.contains("/ is the root of web") && status.contains(", 3)"), "{seen} {status}");
        Ok(())
    });
}

#[test]
fn the_target_is_mirrored_and_each_part_can_be_turned_off() {
    with_clients("mirror", |remora, kubectl| {
        let container = r#""securityContext":{"runAsUser":1000,"runAsGroup":2000},"env":[{"name":"MODE","value":"fast"}],
            "workingDir":"/data","volumeMounts":[{"name":"d","mountPath":"/data"},{"name":"d","mountPath":"/sub","subPath":"x"}],"#;
        pod(kubectl, "web", container, r#""volumes":[{"name":"d","emptyDir":{}}],"#)?;
        let script = "echo $(id -u) $(id -g) $MODE $(pwd); grep -c ' /data ' /proc/mounts; ls /proc/1/root/httpd";
        let all = debug(remora, &["web", "--image=busybox", "--attach", "--", "sh", "-c", script], 0)?;
        ensure!(all.stdout == "1000 2000 fast /data\n1\n/proc/1/root/httpd\n", "{all:?}");
        ensure!(all.stderr.contains("As in web: user 1000, 1 variable, working directory /data, "), "{all:?}");
        ensure!(
            all.stderr.contains("Not mounted: /sub (subPath: the API forbids it in ephemeral containers)."),
            "{all:?}"
        );
        let script = "echo $(id -u) $MODE $(pwd); grep -c ' /data ' /proc/mounts";
        let none =
            debug(remora, &["web", "--image=busybox", "--attach", "--mirror=none", "-q", "--", "sh", "-c", script], 1)?;
        ensure!(none.stdout == "0 /\n0\n" && none.stderr.is_empty(), "{none:?}");
        let own = [
            "web",
            "--image=busybox",
            "--attach",
            "--user=5:6",
            "--workdir=/tmp",
            "--env=MODE=slow",
            "--no-target",
            "--",
        ];
        let own = debug(
            remora,
            &[&own[..], &["sh", "-c", "echo $(id -u):$(id -g) $MODE $(pwd) $(cat /proc/1/comm)"]].concat(),
            0,
        )?;
        ensure!(own.stdout == "5:6 slow /tmp sh\n", "{own:?}");
        Ok(())
    });
}

#[test]
fn one_pod_of_several_is_never_guessed() {
    with_clients("several", |remora, kubectl| {
        pod(kubectl, "one", "", "")?;
        let alone = debug(remora, &["-l", "app=web", "--", "hostname"], 0)?;
        ensure!(alone.stdout == "[one] one\n", "{alone:?}");
        pod(kubectl, "two", "", "")?;
        let both =
            debug(remora, &["-l", "app=web", "--", "sh", "-c", "hostname; test $(hostname) = one || exit 6"], 6)?;
        let mut lines: Vec<&str> = both.stdout.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["[one] one", "[two] two"], "{both:?}");
        let refused = debug(remora, &["-l", "app=web"], 2)?;
        ensure!(refused.stderr.contains("2 pods of selector app=web fit: one, two"), "{refused:?}");
        let mut terminal = remora.terminal("debug -l app=web")?;
        terminal.exp_string("Which one? [1-2] ")?;
        terminal.send_line("3")?;
        terminal.exp_string("Which one? [1-2] ")?;
        terminal.send_line("2")?;
        terminal.exp_string(PROMPT)?;
        terminal.send_line("hostname; exit")?;
        let seen = terminal.exp_eof()?;
        ensure!(seen.contains("two"), "{seen}");
        let ghost = debug(remora, &["on", "--", "hostname"], 1)?;
        ensure!(ghost.stderr.contains("pods \"on\" not found"), "{ghost:?}");
        kubectl.ok("delete pod two --now")?;
        Ok(())
    });
}

#[test]
fn what_kubectl_says_is_said_and_an_image_that_is_named_is_left_alone() {
    with_clients("kubectl", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let done = debug(remora, &["web", "--image=busybox", "--target=web", "-c", "d", "--", "sleep", "1000"], 0)?;
        ensure!(done.stdout.is_empty() && done.stderr.starts_with("Targeting container \"web\"."), "{done:?}");
        let entries = entries(kubectl, "web")?;
        let maker = serde_json::json!([{"name": "DEBUG_BY", "value": "kubernetes-admin"}]);
        ensure!(entries.len() == 1 && entries[0]["imagePullPolicy"] == "Always", "{entries:?}");
        ensure!(entries[0]["env"] == maker, "{entries:?}");
        let custom = std::env::temp_dir().join(format!("remora-custom-{}.yaml", std::process::id()));
        std::fs::write(&custom, "securityContext:\n  runAsUser: 7\n")?;
        let custom_arg = format!("--custom={}", custom.display());
        let done = debug(remora, &["web", "--image=busybox", "--attach", &custom_arg, "-q", "--", "id", "-u"], 0)?;
        std::fs::remove_file(custom)?;
        ensure!(done.stdout == "7\n", "{done:?}");
        let wrong = debug(remora, &["web", "--image=Bad Image"], 2)?;
        ensure!(wrong.stderr.contains("invalid image name \"Bad Image\": invalid reference format"), "{wrong:?}");
        Ok(())
    });
}

#[test]
fn a_copy_is_removed_with_rm_and_kept_without() {
    with_clients("copy", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let copy = ["web", "--copy-to=twin", "--image=busybox", "--attach", "-c", "d"];
        let script = ["--", "sh", "-c", "ps -o comm | grep -c httpd; exit 4"];
        let removed = debug(remora, &[&copy[..], &["--rm"], &script[..]].concat(), 4)?;
        ensure!(removed.stdout.trim() == "1" && removed.stderr.contains("Removed pod twin."), "{removed:?}");
        kubectl.fails("get pod twin", 1)?;
        debug(remora, &[&copy[..], &["--replace"], &script[..]].concat(), 4)?;
        kubectl.ok("get pod twin")?;
        let twin: Value = serde_json::from_str(&kubectl.ok("get pod twin -o json")?)?;
        ensure!(twin["metadata"]["labels"].is_null() && twin["spec"]["shareProcessNamespace"] == true, "{twin}");
        kubectl.fails("get pod web", 1).map(drop)
    });
}

#[test]
fn a_node_session_leaves_no_pod() {
    with_clients("node", |remora, kubectl| {
        let name = kubectl.ok("get nodes -o name")?;
        let done = debug(remora, &[name.trim(), "--", "sh", "-c", "ls -d /host/etc; exit 5"], 5)?;
        ensure!(done.stdout == "/host/etc\n" && done.stderr.contains("Removed pod node-debugger-"), "{done:?}");
        let mut terminal = remora.terminal(&format!("debug {} -q", name.trim()))?;
        terminal.exp_string("/ # ")?;
        terminal.send_line("exit 6")?;
        terminal.exp_eof()?;
        let status = format!("{:?}", terminal.process().wait()?);
        ensure!(status.contains(", 6)"), "{status}");
        let left = kubectl.ok("get pods -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    });
}

#[test]
fn a_plan_creates_nothing() {
    with_clients("plan", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let text = debug(remora, &["web", "--plan"], 0)?.stdout;
        ensure!(
            text.contains("Profiles   general: admitted, this one is used") && text.contains("baseline: not tried"),
            "{text}"
        );
        ensure!(text.contains("patch pods/ephemeralcontainers, to add the container: yes"), "{text}");
        let object: Value = serde_json::from_str(&debug(remora, &["web", "--plan", "-o", "json"], 0)?.stdout)?;
        ensure!(object["create"]["env"][0]["value"] == "target" && object["target"] == "web", "{object}");
        ensure!(entries(kubectl, "web")?.is_empty());
        let copy = debug(remora, &["web", "--plan", "--copy-to=twin", "--image=busybox"], 0)?.stdout;
        ensure!(copy.contains("kind: Pod") && copy.contains("name: twin"), "{copy}");
        kubectl.fails("get pod twin", 1).map(drop)
    });
}

#[test]
fn what_cannot_be_ends_with_its_cause_and_a_status_of_its_own() {
    with_clients("failures", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let check = |words: &[&str], code: i32, message: &str, remedy: &str| -> Result<()> {
            let words = [&["web", "--attach", "-q"], words].concat();
            let said = debug(remora, &words, code)?.stderr;
            ensure!(said.contains(message) && said.contains(remedy), "{words:?}: {said}");
            Ok(())
        };
        let image = "registry.example/nosuch:1";
        check(
            &["--image", image],
            242,
            "image registry.example/nosuch:1 cannot be pulled: ErrImagePull",
            "check the name and the tag",
        )?;
        let never = ["--image", image, "--image-pull-policy=Never"];
        check(&never, 242, "is not on the node, and it may not be pulled", "leave --image-pull-policy=Never away")?;
        let no_program = ["--image=busybox", "--", "nosuch"];
        check(&no_program, 243, "cannot be started", "name another after --")?;
        check(&["--image=busybox", "--target=ghost"], 1, "targetContainerName: Not found: \"ghost\"", "")?;
        check(&["--image=busybox", "--timeout=1ms"], 246, "does not run after 1ms", "its entry stays in the pod")?;
        kubectl.ok("run done --image=busybox --restart=Never -- true")?;
        kubectl.ok("wait pod/done --for=jsonpath={.status.phase}=Succeeded --timeout=60s")?;
        let ended = debug(remora, &["done", "--", "true"], 245)?;
        ensure!(ended.stderr.contains("pod done has ended (Succeeded)"), "{ended:?}");
        Ok(())
    });
}

#[test]
fn sessions_are_listed_joined_read_and_stopped() {
    with_clients("life", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let mut terminal = remora.terminal("debug web -q -c one")?;
        terminal.exp_string(PROMPT)?;
        terminal.send_line("mark=kept")?;
        terminal.exp_string(PROMPT)?;
        let listed = debug(remora, &["ls"], 0)?.stdout;
        let row = listed.lines().nth(1).unwrap_or_default();
        ensure!(row.starts_with("web   one ") && row.contains(" web      running   kubernetes-admin   "), "{listed}");
        // The shape is the same: the same shell answers.
        let mut joined = remora.terminal("debug web --reuse")?;
        joined.exp_string("Joining session one")?;
        joined.exp_string(PROMPT)?;
        joined.send_line("echo $mark")?;
        joined.exp_string("kept")?;
        let stopped = debug(remora, &["stop", "web"], 0)?;
        ensure!(stopped.stderr.contains("Container one has ended."), "{stopped:?}");
        terminal.exp_eof()?;
        joined.exp_eof()?;
        ensure!(entries(kubectl, "web")?.len() == 1);
        let ended = debug(remora, &["ls", "web", "-o", "json"], 0)?.stdout;
        ensure!(serde_json::from_str::<Value>(&ended)?[0]["running"] == false, "{ended}");
        let none = debug(remora, &["attach", "web"], 1)?;
        ensure!(none.stderr.contains("no debug session runs in pod web"), "{none:?}");
        debug(remora, &["web", "-c", "two", "-q", "--", "echo", "said"], 0)?;
        ensure!(debug(remora, &["logs", "web"], 0)?.stdout == "said\n");
        let up = debug(remora, &["web", "--ttl=1s", "-q", "--", "sleep", "1000"], 143)?;
        ensure!(debug(remora, &["ls"], 0)?.stdout.contains("ended (time was up)"), "{up:?}");
        // The web server has lived through all of it.
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s").map(drop)
    });
}

#[test]
fn a_shell_keeps_the_time_where_the_node_does_not() {
    with_clients("guard", |_, kubectl| {
        pod(kubectl, "web", "", "")?;
        // What a foreign node is given: this one is asked by kubectl, so that it does not keep the time itself.
        let limits = remora_debug::Limits { ttl: Some(std::time::Duration::from_secs(1)), idle: None };
        let command = limits.wrapped(&["sleep".to_owned(), "1000".to_owned()]);
        let mut words =
            vec!["debug", "web", "--image=busybox", "--profile=general", "--target=web", "-q", "-c", "d", "--"];
        words.extend(command.iter().map(String::as_str));
        let done = kubectl.run(&words)?;
        ensure!(done.code == 0, "{done:?}");
        kubectl.ok("wait pod/web --for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=129 --timeout=60s")?;
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s").map(drop)
    });
}

#[test]
fn as_a_plugin_of_kubectl() {
    with_clients("plugin", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let folder = std::env::temp_dir().join(format!("remora-plugin-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::os::unix::fs::symlink(remora.path(), folder.join("kubectl-remora"))?;
        let mut plugin = kubectl.in_no_namespace().command(&[
            "remora",
            "debug",
            "web",
            "-n",
            kubectl.namespace(),
            "-q",
            "--",
            "hostname",
        ]);
        let paths = std::env::var("PATH")?;
        let said =
            plugin.env("PATH", format!("{}:{paths}", folder.display())).stdin(std::process::Stdio::null()).output()?;
        std::fs::remove_dir_all(folder)?;
        ensure!(said.status.success() && said.stdout == b"web\n", "{said:?}");
        Ok(())
    });
}

#[test]
fn exec_brings_the_program_that_the_container_lacks() {
    with_clients("exec", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        // A script is never given another root.
        let refused = remora.run(&["exec", "web", "--", "ls"])?;
        ensure!(refused.code == 126 && refused.stderr.contains("remora debug web --target=web -- ls"), "{refused:?}");
        ensure!(entries(kubectl, "web")?.is_empty());
        let mut terminal = remora.terminal("exec -it web -- sh")?;
        terminal.exp_string("Container web has no sh: a debug container runs it.")?;
        terminal.exp_string(PROMPT)?;
        // Nothing that is typed is lost to the exec that failed.
        terminal.send_line("ls /httpd; exit 4")?;
        terminal.exp_string("/httpd")?;
        terminal.exp_eof()?;
        let status = format!("{:?}", terminal.process().wait()?);
        ensure!(status.contains(", 4)"), "{status}");
        Ok(())
    });
}

#[test]
fn files_go_in_and_out_of_a_container_without_tar() {
    with_clients("cp", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let folder = std::env::temp_dir().join(format!("remora-cp-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("tree/sub"))?;
        std::fs::write(folder.join("tree/sub/a"), vec![7; 1 << 20])?;
        std::os::unix::fs::symlink("sub/a", folder.join("tree/link"))?;
        let at = |name: &str| folder.join(name).display().to_string();
        let copied = remora.run(&["cp", &at("tree"), "web:/tmp-tree"]).and_then(|into| {
            let back = remora.run(&["cp", "-q", "web:/tmp-tree", &at("back")])?;
            Ok((into, back, remora.run(&["cp", "--no-fallback", "web:/httpd", &at("no")])?))
        });
        let same = std::fs::read(folder.join("back/link")).is_ok_and(|bytes| bytes == vec![7; 1 << 20]);
        std::fs::remove_dir_all(&folder)?;
        let (into, back, refused) = copied?;
        ensure!(into.code == 0 && into.stderr.contains("Copied 2 files, 1.00 MiB."), "{into:?}");
        ensure!(back.code == 0 && back.stderr.is_empty() && same, "{back:?}");
        ensure!(refused.code == 1 && refused.stderr.contains("container web has no tar"), "{refused:?}");
        // The copiers have ended with their commands.
        for copier in 0..entries(kubectl, "web")?.len() {
            let ended = format!("{{.status.ephemeralContainerStatuses[{copier}].state.terminated.exitCode}}");
            kubectl.ok(&format!("wait pod/web --for=jsonpath={ended}=0 --timeout=30s"))?;
        }
        Ok(())
    });
}

#[test]
fn a_piped_input_ends_for_the_tool_where_it_ends_here() {
    with_clients("pipe", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        // `run` has nothing to say: a `cat` that never learned of it would wait for ever.
        let done = debug(remora, &["web", "-q", "-i", "--", "sh", "-c", "cat; echo end"], 0)?;
        ensure!(done.stdout == "end\n", "{done:?}");
        let taken = debug(remora, &["web", "-q", "-c", "one", "--", "true"], 0)?;
        ensure!(taken.stderr.is_empty(), "{taken:?}");
        let again = debug(remora, &["web", "-q", "-c", "one", "--", "true"], 243)?;
        ensure!(again.stderr.contains("a debug container one is in pod web already"), "{again:?}");
        let nobody = debug(remora, &["web", "--as=nobody", "-q"], 241)?;
        ensure!(nobody.stderr.contains("User \"nobody\" cannot get resource \"pods\""), "{nobody:?}");
        Ok(())
    });
}

#[test]
fn a_session_is_recorded_and_played() {
    with_clients("record", |remora, kubectl| {
        pod(kubectl, "web", "", "")?;
        let file = std::env::temp_dir().join(format!("remora-{}.cast", std::process::id()));
        let mut terminal = remora.terminal(&format!("debug web -q --record={}", file.display()))?;
        terminal.exp_string(PROMPT)?;
        terminal.send_line("echo gr\u{fc}n; exit 2")?;
        terminal.exp_eof()?;
        let played = remora.run(&["play", "--speed=100", &file.display().to_string()])?;
        let again = debug(remora, &["web", "--record", &file.display().to_string()], 2)?;
        std::fs::remove_file(file)?;
        ensure!(played.code == 0 && played.stdout.contains("\r\ngr\u{fc}n\r\n"), "{played:?}");
        ensure!(again.stderr.contains("--record needs a terminal"), "{again:?}");
        Ok(())
    });
}
