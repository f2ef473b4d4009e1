//! The daemon's own life: refusals at start, a crash and what survives it, and leaving nothing behind.
//!
//! Each test has a node of its own, in a folder and a network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use remora_sys::process::PidFd;
use remora_tests::{Done, TestNode, say};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The signal's number.
const SIGKILL: i32 = 9;

/// A node that this test started, with the means to talk to it and to look at what it leaves.
struct OwnNode<'a> {
    outer: &'a TestNode,
    dir: PathBuf,
}

impl<'a> OwnNode<'a> {
    fn start(outer: &'a TestNode, name: &str) -> Result<OwnNode<'a>> {
        Self::start_with(outer, name, &[])
    }

    fn start_with(outer: &'a TestNode, name: &str, up: &[&str]) -> Result<OwnNode<'a>> {
        let dir = std::env::temp_dir().join(format!("remora-{name}-{}", std::process::id()));
        let node = OwnNode { outer, dir };
        let started = node.outer.xtask(&["node", "start", "--dir"], &node.dir, &[driver(), up].concat())?;
        ensure!(started.code == 0, "{started:?}");
        Ok(node)
    }

    /// A command inside the node's network namespace.
    fn inside(&self, words: &[&str]) -> Result<Done> {
        self.outer.xtask(&["node", "in", "--dir"], &self.dir, words)
    }

    fn remora(&self, line: &str) -> Result<Done> {
        let words: Vec<&str> = std::iter::once(self.outer.remora_path()).chain(line.split(' ')).collect();
        self.inside(&words)
    }

    fn ok(&self, line: &str) -> Result<String> {
        let done = self.remora(line)?;
        ensure!(done.code == 0, "remora {line}: {done:?}");
        Ok(done.stdout)
    }

    fn daemon_pid(&self) -> Result<String> {
        let status: serde_json::Value = serde_json::from_str(&self.ok("status --json")?)?;
        Ok(status["pid"].to_string())
    }

    /// Kills the daemon, and returns its number when it has ended: before, its locks are not free.
    fn kill_daemon(&self) -> Result<String> {
        let pid = self.daemon_pid()?;
        let daemon = PidFd::open(pid.parse()?)?.context("the daemon is not there")?;
        daemon.send_signal(SIGKILL)?;
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        ensure!(poll(&mut [PollFd::new(&daemon, PollFlags::IN)], Some(&patience))? > 0, "the daemon does not end");
        Ok(pid)
    }

    fn up_again(&self) -> Result<Done> {
        self.up_again_with(&[])
    }

    fn up_again_with(&self, more: &[&str]) -> Result<Done> {
        let libexec = Path::new(self.outer.remora_path()).parent().context("a folder")?.display().to_string();
        let up = format!("up --detach --mirror *=http://127.0.0.1:5000 --libexec-dir {libexec}");
        self.remora(&[&[up.as_str()], driver(), more].concat().join(" "))
    }

    /// What a kubectl inside the node's network namespace prints.
    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let done = self.inside(&[&["kubectl"], words].concat())?;
        ensure!(done.code == 0, "kubectl {words:?}: {done:?}");
        Ok(done.stdout)
    }
}

impl Drop for OwnNode<'_> {
    fn drop(&mut self) {
        let stopped = self.outer.xtask(&["node", "stop", "--dir"], &self.dir, &[]);
        if !std::thread::panicking() {
            assert_eq!(stopped.map(|done| done.code).ok(), Some(0), "the node could not be stopped");
        }
    }
}

/// What a node may leave on a machine.
fn traces(of: &Path) -> Result<Vec<String>> {
    let dir = of.display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<String> = mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("cmdline");
        let command = std::fs::read(&path).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&dir) && command.contains("remora-shim") {
            found.push(command);
        }
    }
    Ok(found)
}

fn cgroups(id: &str) -> Result<Vec<PathBuf>> {
    // cgroup v2 is mounted right there, the hierarchies of v1 below.
    let mount = PathBuf::from("/sys/fs/cgroup");
    let mut hierarchies = vec![mount.clone()];
    for entry in std::fs::read_dir(mount)? {
        hierarchies.push(entry?.path());
    }
    // As Remora makes them itself, and as systemd does.
    let names = [format!("remora-{id}"), format!("remora_{id}.slice")];
    let folders = hierarchies.iter().flat_map(|hierarchy| names.iter().map(|name| hierarchy.join(name)));
    Ok(folders.filter(|folder| folder.exists()).collect())
}

/// What systemd knows of a node, on a machine where it makes the cgroups.
fn units(id: &str) -> Result<Vec<String>> {
    let pattern = format!("remora_{id}*");
    let list = ["list-units", "--all", "--plain", "--no-legend", &pattern];
    let listed = String::from_utf8(Command::new("systemctl").args(list).output()?.stdout)?;
    Ok(listed.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

/// How nodes are told who makes their cgroups in this run.
fn driver() -> &'static [&'static str] {
    if systemd_makes_cgroups() { &["--cgroup-driver", "systemd"] } else { &[] }
}

fn systemd_makes_cgroups() -> bool {
    std::env::var_os("REMORA_TEST_CGROUP_DRIVER").is_some_and(|driver| driver == "systemd")
}

#[test]
fn containers_survive_the_kill_of_the_daemon_and_down_leaves_nothing() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let node = OwnNode::start(&outer, "survival")?;
    let script = "trap exit TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done";
    let run = node.inside(&[
        outer.remora_path(),
        "run",
        "counter",
        "--image=busybox",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ])?;
    ensure!(run.code == 0, "{run:?}");
    let wait = |name: &str| {
        node.inside(&["kubectl", "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])
    };
    ensure!(wait("counter")?.code == 0);
    let shown = || -> Result<serde_json::Value> { Ok(serde_json::from_str(&node.ok("get pod counter -o json")?)?) };
    let before = shown()?;

    let pid = node.kill_daemon()?;
    // Nothing of the daemon's is needed for the container to go on; the next daemon finds it.
    let again = node.up_again()?;
    ensure!(again.code == 0, "{again:?}");
    ensure!(node.daemon_pid()? != pid, "the same daemon answers");
    ensure!(wait("counter")?.code == 0);
    let after = shown()?;
    let identity = "/status/containerStatuses/0/containerID";
    ensure!(
        before.pointer(identity).is_some() && before.pointer(identity) == after.pointer(identity),
        "another container: {after}"
    );
    ensure!(after["status"]["containerStatuses"][0]["restartCount"] == 0);
    let log = node.ok("logs counter")?;
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().unwrap_or(0)).collect();
    ensure!(
        numbers.iter().zip(1..).all(|(got, expected)| *got == expected),
        "the log has a hole or a double line: {log}"
    );

    let id = std::fs::read_to_string(node.dir.join("data/node-id"))?;
    ensure!(!cgroups(id.trim())?.is_empty(), "the check for cgroups would find none even while the node runs");
    if systemd_makes_cgroups() {
        let known = units(id.trim())?;
        let is_there = |start: &str, end: &str| known.iter().any(|unit| unit.starts_with(start) && unit.ends_with(end));
        let name = format!("remora_{}-", id.trim());
        ensure!(
            is_there(&format!("{name}kubepods-besteffort-pod"), ".slice") && is_there(&name, ".scope"),
            "{known:?}"
        );
    }
    ensure!(!traces(&node.dir)?.is_empty(), "the check for traces would find none even while the node runs");
    node.ok("down")?;
    let left = traces(&node.dir)?;
    ensure!(left.is_empty(), "down left {left:#?}");
    let left = cgroups(id.trim())?;
    ensure!(left.is_empty(), "down left {left:#?}");
    if systemd_makes_cgroups() {
        let left = units(id.trim())?;
        ensure!(left.is_empty(), "down left {left:#?}");
    }
    let links = node.inside(&["ip", "-o", "link"])?.stdout;
    ensure!(links.lines().count() == 1, "down left interfaces: {links}");
    let rules = node.inside(&["nft", "list", "ruleset"])?.stdout;
    ensure!(rules.trim().is_empty(), "down left rules: {rules}");
    Ok(())
}

#[test]
fn a_debug_session_goes_on_after_the_kill_of_the_daemon() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let node = OwnNode::start(&outer, "reattach")?;
    node.ok("run web --image=registry.example/httpd:1 --restart=Never")?;
    let ready = node.inside(&["kubectl", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s"])?;
    ensure!(ready.code == 0, "{ready:?}");
    let mut terminal = outer.terminal_in(&node.dir, &[outer.remora_path(), "debug", "web"])?;
    terminal.exp_string("~ # ")?;
    terminal.send_line("mark=kept")?;
    terminal.exp_string("~ # ")?;
    node.kill_daemon()?;
    terminal.exp_string("The connection is lost; attaching again")?;
    let again = node.up_again()?;
    ensure!(again.code == 0, "{again:?}");
    terminal.exp_string("~ # ")?;
    terminal.send_line("echo $mark; exit 9")?;
    terminal.exp_string("kept")?;
    terminal.exp_eof()?;
    let status = format!("{:?}", terminal.process().wait()?);
    ensure!(status.contains(", 9)"), "{status}");
    Ok(())
}

/// A pod with users of its own, and what a volume, a configuration and a token look like from inside.
const OWN_USERS: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"greeting": "hello"}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {
        "hostUsers": false, "automountServiceAccountToken": TOKEN,
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "first", "image": "busybox", "command": ["sh", "-c", "cat /proc/self/uid_map > /data/first"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "containers": [{"name": "app", "image": "busybox",
            "command": ["sh", "-c", "readlink /proc/self/ns/user; cat /proc/self/uid_map /proc/self/gid_map; exec sleep 100000"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "words", "mountPath": "/words"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "words", "configMap": {"name": "words"}}]}}]}"#;

/// A static pod: it says who it is, and ends at once when it is asked to.
const STATIC: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: web, namespace: kube-system}
spec:
  containers:
  - name: app
    image: busybox
    command: ["sh", "-c", "trap exit TERM; hostname; sleep 100000 & wait"]
"#;

#[test]
fn a_static_pod_outlives_its_mirror_and_the_daemon_and_ends_with_its_file() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let manifests = tempfile::tempdir()?;
    let path = manifests.path().join("pods");
    let flag = ["--pod-manifest-path", path.to_str().context("a UTF-8 path")?];
    let node = OwnNode::start_with(&outer, "static", &[&["--node-name", "Reef"], &flag[..]].concat())?;
    let (pod, file) = ("pod/web-reef", path.join("web.yaml"));
    let kubectl = |words: &[&str]| node.kubectl(&[&["-n", "kube-system"], words].concat());
    let until_ready = || -> Result<serde_json::Value> {
        kubectl(&["wait", "--for=create", pod, "--timeout=60s"])?;
        kubectl(&["wait", "--for=condition=Ready", pod, "--timeout=60s"])?;
        Ok(serde_json::from_str(&kubectl(&["get", pod, "-o", "json"])?)?)
    };
    let container = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    std::fs::write(&file, STATIC)?;
    let first = until_ready()?;
    ensure!(first["metadata"]["ownerReferences"][0]["kind"] == "Node", "{first}");
    // By the mirror's name and UID people get at the pod that runs.
    ensure!(kubectl(&["logs", "web-reef"])?.trim() == "web-reef");
    ensure!(kubectl(&["exec", "web-reef", "--", "hostname"])?.trim() == "web-reef");
    let described = kubectl(&["describe", pod])?;
    ensure!(
        described.contains("Started container app") && described.contains("Controlled By:  Node/reef"),
        "{described}"
    );

    // As people do it: kubectl waits until it is gone, and must see that although it comes back.
    kubectl(&["delete", pod, "--timeout=30s"])?;
    let second = until_ready()?;
    ensure!(second["metadata"]["uid"] != first["metadata"]["uid"] && container(&second) == container(&first));

    node.kill_daemon()?;
    let again = node.up_again_with(&[&["--node-name", "Reef"], &flag[..]].concat())?;
    ensure!(again.code == 0, "{again:?}");
    let third = until_ready()?;
    ensure!(third["metadata"]["uid"] == second["metadata"]["uid"], "the mirror was made anew");
    ensure!(container(&third) == container(&first) && third["status"]["startTime"] == first["status"]["startTime"]);

    std::fs::remove_file(&file)?;
    kubectl(&["wait", "--for=delete", pod, "--timeout=60s"])?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn skip(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// Its version, as far as it tells what it can.
fn kernel() -> Result<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("a kernel called {release}")
    };
    Ok((major, minor))
}

#[test]
fn a_pod_has_users_of_its_own_in_all_its_containers_and_keeps_them_when_the_daemon_is_killed() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let node = OwnNode::start(&outer, "users")?;
    let kubectl = |words: &[&str]| node.kubectl(words);
    let manifest = node.dir.join("own.json");
    let has_token = kernel()? >= (6, 3);
    if !has_token {
        skip("tokens of pods with users of their own: mapped owners in memory need Linux 6.3");
    }
    std::fs::write(&manifest, OWN_USERS.replace("TOKEN", &has_token.to_string()))?;
    kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=30s"])?;
    kubectl(&["create", "--validate=false", "-f", &manifest.display().to_string()])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/own", "--timeout=60s"])?;

    let users = kubectl(&["logs", "own", "-c", "app"])?;
    let maps: Vec<Vec<u32>> = users.lines().skip(1).map(numbers).collect::<Result<_>>()?;
    ensure!(maps.len() == 2 && maps[0] == maps[1] && maps[0][0] == 0 && maps[0][2] == 65536, "{users}");
    let base = maps[0][1];
    ensure!(base >= 65536 && base.is_multiple_of(65536), "{users}");
    let same = "readlink /proc/self/ns/user; cat /proc/self/uid_map /proc/self/gid_map";
    let exec = |script: &str| kubectl(&["exec", "own", "-c", "app", "--", "sh", "-c", script]);
    ensure!(exec(same)? == users, "an exec has other users");
    ensure!(numbers(&exec("cat /data/first")?)? == maps[0], "the init container had other users");
    let token = if has_token { "/var/run/secrets/kubernetes.io/serviceaccount/token" } else { "/words/greeting" };
    let script = format!(
        "cat /words/greeting; echo; test -s {token} && echo token; echo x > /data/new; echo y > /new; \
         stat -L -c %u:%g / /data /data/new /new /words/greeting {token} /etc/hosts /dev/termination-log | sort -u; \
         cat /proc/1/uid_map > /dev/termination-log; ping -c 1 -w 5 127.0.0.1 > /dev/null && echo pinged"
    );
    let seen = exec(&script)?;
    ensure!(seen == "hello\ntoken\n0:0\npinged\n", "{seen}");
    let sleeper = Command::new("pgrep").args(["-f", "-U", &base.to_string(), "^sleep 100000$"]).output()?;
    ensure!(sleeper.status.success(), "the host does not see the container's root as {base}");

    let debug = |name: &str| -> Result<String> {
        let container = format!("--container={name}");
        let words = ["debug", "own", "--image=busybox", "--target=app", &container, "--", "sh", "-c", same];
        kubectl(&words)?;
        let path =
            "--for=jsonpath={.status.ephemeralContainerStatuses[?(@.name==\"NAME\")].state.terminated.exitCode}=0";
        kubectl(&["wait", "pod/own", &path.replace("NAME", name), "--timeout=60s"])?;
        kubectl(&["logs", "own", "-c", name])
    };
    ensure!(debug("before")? == users, "a debugger has other users than its target");
    node.kill_daemon()?;
    let again = node.up_again()?;
    ensure!(again.code == 0, "{again:?}");
    kubectl(&["wait", "--for=condition=Ready", "pod/own", "--timeout=60s"])?;
    ensure!(exec(same)? == users, "an exec has other users since the daemon was killed");
    ensure!(debug("after")? == users, "a debugger has other users since the daemon was killed");

    let pods = node.dir.join("data/node/pods");
    ensure!(
        std::fs::read_dir(&pods)?.flatten().any(|pod| pod.path().join("userns").exists()),
        "nothing is written down"
    );
    kubectl(&["delete", "pod", "own", "--timeout=60s"])?;
    node.ok("down")?;
    let left = traces(&node.dir)?;
    ensure!(left.is_empty(), "down left {left:#?}");
    Ok(())
}

fn numbers(line: &str) -> Result<Vec<u32>> {
    line.split_whitespace().map(|number| number.parse().context(line.to_owned())).collect()
}

#[test]
fn a_second_node_in_the_same_folder_is_refused_in_one_sentence() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let node = OwnNode::start(&outer, "second")?;
    let refused = node.up_again()?;
    ensure!(refused.code == 1, "{refused:?}");
    ensure!(refused.stderr.contains("a node already runs in"), "{refused:?}");
    ensure!(refused.stderr.contains("hint: "), "{refused:?}");
    // A node elsewhere, on the port that this one has.
    let elsewhere = node.dir.join("elsewhere");
    let libexec = Path::new(outer.remora_path()).parent().context("a folder")?.display().to_string();
    let line =
        format!("up --detach --data-dir {0}/data --run-dir {0}/run --libexec-dir {libexec}", elsewhere.display());
    let refused = node.remora(&line)?;
    ensure!(refused.code == 1 && refused.stderr.contains("127.0.0.1:6443"), "{refused:?}");
    ensure!(refused.stderr.contains("--listen"), "{refused:?}");
    ensure!(node.ok("get nodes")?.contains("Ready"), "the first node was hurt");
    std::fs::remove_dir_all(elsewhere)?;
    Ok(())
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let node = OwnNode::start(&outer, "damaged")?;
    node.ok("down")?;
    let folder = node.dir.join("data/store");
    let file = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .max_by_key(|path| std::fs::metadata(path).map(|m| m.len()).unwrap_or(0))
        .context("the store has no file")?;
    let whole = std::fs::read(&file)?;
    let mut damaged = whole.clone();
    // All of the second half: a few bytes alone may fall on what SQLite has freed, and there nothing is lost.
    let middle = damaged.len() / 2;
    for byte in &mut damaged[middle..] {
        *byte ^= 0xff;
    }
    std::fs::write(&file, &damaged)?;
    let refused = node.up_again()?;
    ensure!(refused.code == 1 && refused.stderr.contains("damaged"), "{refused:?}");
    ensure!(std::fs::read(&file)? == damaged, "the damaged file was changed");
    std::fs::write(&file, &whole)?;
    let again = node.up_again()?;
    ensure!(again.code == 0, "the mended store is not accepted: {again:?}");
    Ok(())
}

#[test]
fn without_root_up_says_so() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", outer.remora_path(), "up"])
        .args(["--data-dir", "/tmp/remora-nobody", "--run-dir", "/tmp/remora-nobody-run"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(said.contains("a node needs root") && said.contains("hint: sudo remora up"), "{said}");
    ensure!(!Path::new("/tmp/remora-nobody").exists(), "something was left behind");
    Ok(())
}

#[test]
fn a_cgroup_driver_that_cannot_be_is_refused_in_one_sentence() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    if Path::new("/run/systemd/system").exists() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        say("SKIPPED: on this machine the driver systemd may work");
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("remora-driver-{}", std::process::id()));
    let output = outer
        .command(outer.remora_path())?
        .args(["up", "--detach", "--cgroup-driver", "systemd", "--listen", "127.0.0.1:16443", "--data-dir"])
        .arg(dir.join("data"))
        .arg("--run-dir")
        .arg(dir.join("run"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(said.contains("the cgroup driver systemd cannot be used: "), "{said}");
    ensure!(traces(&dir)?.is_empty());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

#[test]
fn on_a_full_disk_up_says_so_and_leaves_nothing() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let dir = std::env::temp_dir().join(format!("remora-full-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "remora-full"]).arg(&dir).status()?;
    ensure!(mounted.success(), "no small disk to test with");
    std::fs::write(dir.join("filler"), vec![0; 60 << 10])?;
    let output = outer
        .command(outer.remora_path())?
        .args(["up", "--detach", "--listen", "127.0.0.1:16443", "--data-dir"])
        .arg(dir.join("data"))
        .args(["--run-dir", "/tmp/remora-full-run"])
        .output();
    let unmounted = Command::new("umount").arg(&dir).status()?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(said.to_lowercase().contains("no space left"), "{said}");
    ensure!(unmounted.success(), "something still uses the full disk");
    ensure!(traces(&dir)?.is_empty());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Bodies of what is made, and of nothing else; secrets never.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:nodes", "system:serviceaccounts", "system:apiserver"]}
- {level: None, users: ["system:apiserver", "system:kube-scheduler"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: Request, verbs: [create], omitManagedFields: true}
- {level: Metadata}
"#;

#[test]
fn an_audit_log_tells_who_did_what_with_a_real_kubectl() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let (log, policy) = (in_folder("audit.log"), in_folder("policy.yaml"));
    std::fs::write(&policy, AUDIT_POLICY)?;
    let node = OwnNode::start_with(&outer, "audit", &["--audit-log-path", &log, "--audit-policy-file", &policy])?;
    let kubectl = |line: &str| node.inside(&[&["kubectl"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
    for (line, code) in [
        ("wait --for=create serviceaccount/default --timeout=30s", 0),
        ("run web --image=busybox --restart=Never -- sleep 1000", 0),
        ("wait --for=condition=Ready pod/web --timeout=60s", 0),
        ("exec web -- false", 1),
        ("exec web -- sleep 1", 0),
        ("create secret generic s --from-literal=key=hidden", 0),
        ("delete pod web --as=jane", 1),
    ] {
        let done = kubectl(line)?;
        ensure!(done.code == code, "{line}: {done:?}");
    }
    // The daemon's end writes what waits.
    node.ok("down")?;
    let text = std::fs::read_to_string(&log)?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    let told = |verb: &str, resource: &str, part: &str| -> Result<Vec<&serde_json::Value>> {
        let is_asked = |event: &&serde_json::Value| {
            let of = &event["objectRef"];
            let subresource = of["subresource"].as_str().unwrap_or_default();
            event["verb"] == verb && of["resource"] == resource && subresource == part
        };
        let found: Vec<_> = events.iter().filter(is_asked).collect();
        ensure!(!found.is_empty(), "nothing of {verb} {resource}/{part} in {text}");
        Ok(found)
    };
    let created = told("create", "pods", "")?[0];
    ensure!(created["objectRef"]["name"] == "web" && created["responseStatus"]["code"] == 201, "{created}");
    ensure!(created["requestObject"]["spec"]["containers"][0]["image"] == "busybox", "{created}");
    ensure!(created["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl")), "{created}");
    let sessions = told("get", "pods", "exec")?;
    let stages: Vec<_> = sessions.iter().map(|event| &event["stage"]).collect();
    ensure!(stages == ["ResponseStarted", "ResponseComplete"].repeat(2), "{stages:?}");
    ensure!(sessions[0]["auditID"] == sessions[1]["auditID"] && sessions[1]["responseStatus"]["code"] == 101);
    let at = |event: &serde_json::Value| {
        Ok::<_, anyhow::Error>(event["stageTimestamp"].as_str().unwrap_or_default().parse::<jiff::Timestamp>()?)
    };
    let slept = at(sessions[3])?.duration_since(at(sessions[2])?);
    ensure!(slept >= jiff::SignedDuration::from_millis(900), "a session's request ends with the session: {slept}");
    let secret = told("create", "secrets", "")?[0];
    ensure!(secret["objectRef"]["name"] == "s" && !text.contains("aGlkZGVu"), "{text}");
    let refused = told("delete", "pods", "")?[0];
    ensure!(refused["user"]["username"] == "kubernetes-admin", "{refused}");
    ensure!(refused["impersonatedUser"]["username"] == "jane" && refused["responseStatus"]["code"] == 403, "{refused}");
    ensure!(refused["annotations"]["authorization.k8s.io/decision"] == "forbid", "{refused}");
    Ok(())
}

#[test]
fn an_audit_policy_that_is_wrong_is_refused_at_start() -> Result<()> {
    let Some(outer) = TestNode::from_environment() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: All\n")?;
    let libexec = Path::new(outer.remora_path()).parent().context("a folder")?;
    let refused = Command::new(outer.remora_path())
        .args(["up", "--audit-log-path", "-", "--audit-policy-file"])
        .arg(&policy)
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--run-dir")
        .arg(folder.path().join("run"))
        .arg("--libexec-dir")
        .arg(libexec)
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1), "{said}");
    ensure!(said.contains("rules[0].level: unknown variant `All`") && said.contains("at line 4 column"), "{said}");
    ensure!(said.contains("hint: docs/audit.md"), "{said}");
    Ok(())
}
