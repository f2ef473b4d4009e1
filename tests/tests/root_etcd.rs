//! Two nodes that share an etcd, and backups from one engine to the other. `cargo xtask test` starts the node in whose network namespace,
//! and with whose registry, these work.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use remora_testkit::Etcd;
use remora_tests::{TestNode, say};

/// A node of these tests, beside the outer one.
struct Member<'a> {
    outer: &'a TestNode,
    name: String,
    port: u16,
    dir: PathBuf,
}

impl<'a> Member<'a> {
    /// Nothing runs yet.
    fn new(outer: &'a TestNode, name: &str, port: u16) -> Result<Member<'a>> {
        let dir = std::env::temp_dir().join(format!("remora-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("data"))?;
        Ok(Member { outer, name: name.to_owned(), port, dir })
    }

    fn remora(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.outer.command(self.outer.remora_path())?;
        command.args(words).env("REMORA_DATA_DIR", self.data()).env("REMORA_RUN_DIR", self.dir.join("run"));
        // xtask sets the outer node's folders for what it runs: those on the command line win.
        command.arg("--data-dir").arg(self.data()).arg("--run-dir").arg(self.dir.join("run"));
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.remora(words)?;
        ensure!(output.status.success(), "{} {words:?}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn fails(&self, words: &[&str]) -> Result<String> {
        let output = self.remora(words)?;
        ensure!(!output.status.success(), "{} {words:?} has worked", self.name);
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn up(&self, store: &[&str]) -> Result<String> {
        let listen = format!("127.0.0.1:{}", self.port);
        let libexec = Path::new(self.outer.remora_path()).parent().context("a folder")?.display().to_string();
        let up = ["up", "--detach", "--node-name", &self.name, "--listen", &listen, "--libexec-dir", &libexec];
        self.ok(&[&up[..], &["--mirror", "*=http://127.0.0.1:5000"], store].concat())
    }

    fn kubectl(&self, line: &str) -> Result<Command> {
        let kubectl = self.outer.kubectls().pop().context("a kubectl")?;
        let mut command = self.outer.command(kubectl.path().to_str().context("a path")?)?;
        command.arg("--kubeconfig").arg(self.data().join("kubeconfig")).args(line.split(' '));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn asked(&self, line: &str) -> Result<String> {
        told(self.kubectl(line)?.output()?, &format!("{}: kubectl {line}", self.name))
    }

    fn refused(&self, line: &str) -> Result<String> {
        let output = self.kubectl(line)?.output()?;
        ensure!(!output.status.success(), "{}: kubectl {line} has worked", self.name);
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let down = self.ok(&["down"]);
        if !std::thread::panicking() {
            down.expect("the node goes down");
            std::fs::remove_dir_all(&self.dir).expect("its folder goes");
        }
    }
}

fn told(output: Output, what: &str) -> Result<String> {
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The outer node and an etcd in its network namespace.
fn around() -> Option<(TestNode, Etcd)> {
    let outer = TestNode::from_environment()?;
    if outer.kubectls().is_empty() {
        say("SKIPPED: no kubectl on this machine");
        return None;
    }
    let record = std::fs::read(outer.dir().join("node.json")).expect("the node's record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let netns = Path::new("/run/netns").join(record["netns"].as_str().expect("a namespace"));
    let etcd = Etcd::start_in(&netns)?;
    Some((outer, etcd))
}

/// As documented: nodes of one cluster have one authority and one key for service accounts.
fn share_keys(from: &Member<'_>, to: &Member<'_>) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from.data().join("pki")).arg(to.data()).status()?;
    ensure!(copied.success(), "the keys cannot be copied");
    Ok(())
}

#[test]
fn two_nodes_share_an_etcd() -> Result<()> {
    let Some((outer, mut etcd)) = around() else { return Ok(()) };
    let store = format!("etcd://{}", etcd.endpoint());
    let (alpha, beta) = (Member::new(&outer, "alpha", 17443)?, Member::new(&outer, "beta", 17444)?);
    alpha.up(&["--store", &store])?;
    share_keys(&alpha, &beta)?;
    beta.up(&["--store", &store])?;
    for member in [&alpha, &beta] {
        member.asked("wait --for=condition=Ready node/alpha node/beta --timeout=60s")?;
    }
    a_watch_hears_what_the_other_writes(&alpha, &beta)?;
    a_stale_write_loses(&alpha, &beta)?;
    leases_of_both_are_renewed(&alpha, &beta)?;

    beta.asked(r#"run pinned --image=k8s.gcr.io/pause:3.1 --overrides={"spec":{"nodeName":"alpha"}}"#)?;
    beta.asked("run free --image=k8s.gcr.io/pause:3.1")?;
    alpha.asked("wait --for=condition=Ready pod/pinned pod/free --timeout=60s")?;
    ensure!(beta.asked("get pod pinned -o jsonpath={.spec.nodeName}")? == "alpha");

    an_outage_passes(&alpha, &beta, &mut etcd)?;
    the_controllers_move_when_their_node_is_killed(&alpha, &beta)
}

fn a_watch_hears_what_the_other_writes(alpha: &Member<'_>, beta: &Member<'_>) -> Result<()> {
    alpha.asked("create configmap shared --from-literal=x=1")?;
    let wait = "wait --for=jsonpath={.data.x}=2 configmap/shared --timeout=30s";
    let waiting = beta.kubectl(wait)?.spawn()?;
    alpha.asked(r#"patch configmap shared --type=merge -p {"data":{"x":"2"}}"#)?;
    told(waiting.wait_with_output()?, wait).map(drop)
}

fn a_stale_write_loses(alpha: &Member<'_>, beta: &Member<'_>) -> Result<()> {
    let file = alpha.dir.join("stale.json");
    std::fs::write(&file, alpha.asked("get configmap shared -o json")?)?;
    beta.asked(r#"patch configmap shared --type=merge -p {"data":{"x":"3"}}"#)?;
    let refused = alpha.refused(&format!("replace -f {}", file.display()))?;
    ensure!(refused.contains("the object has been modified"), "{refused}");
    ensure!(alpha.asked("get configmap shared -o jsonpath={.data.x}")? == "3");
    Ok(())
}

/// Nodes renew every ten seconds.
const RENEWED: &str = "--watch-only --output-watch-events --request-timeout=11s";

fn leases_of_both_are_renewed(alpha: &Member<'_>, beta: &Member<'_>) -> Result<()> {
    for (member, of) in [(alpha, "beta"), (beta, "alpha")] {
        let path = format!("get lease {of} -n kube-node-lease -o jsonpath=");
        let holder = member.asked(&format!("{path}{{.spec.holderIdentity}}"))?;
        ensure!(holder == of, "the lease of {of} is held by {holder}");
        let version = member.asked(&format!("{path}{{.metadata.resourceVersion}}"))?;
        let heard = member.asked(&format!("get lease {of} -n kube-node-lease {RENEWED}"))?;
        ensure!(heard.contains("MODIFIED"), "{} hears nothing of {of}: {heard}", member.name);
        ensure!(member.asked(&format!("{path}{{.metadata.resourceVersion}}"))? != version, "{of} renews no lease");
    }
    Ok(())
}

fn an_outage_passes(alpha: &Member<'_>, beta: &Member<'_>, etcd: &mut Etcd) -> Result<()> {
    let id = "get pod pinned -o jsonpath={.status.containerStatuses[0].containerID}";
    let before = alpha.asked(id)?;
    etcd.kill();
    for member in [alpha, beta] {
        let said = member.refused("get configmap shared")?;
        ensure!(said.contains("ServiceUnavailable") && said.contains(&etcd.endpoint()), "{said}");
    }
    etcd.resume();
    for member in [alpha, beta] {
        // It asks again for as long as it is told that nobody is there.
        member
            .asked("wait --for=create configmap/shared --timeout=30s")
            .or_else(|_| member.asked("get configmap shared"))?;
        member.asked("wait --for=condition=Ready node/alpha node/beta --timeout=60s")?;
    }
    ensure!(alpha.asked(id)? == before, "the container was started again");
    beta.asked("delete pod pinned free --grace-period=1")?;
    Ok(())
}

const LEADER: &str = "get lease remora-controllers -n kube-system -o jsonpath={.spec.holderIdentity}";

fn the_controllers_move_when_their_node_is_killed(alpha: &Member<'_>, beta: &Member<'_>) -> Result<()> {
    let leader = beta.asked(LEADER)?;
    let (leading, other) = if leader.starts_with("alpha_") { (alpha, beta) } else { (beta, alpha) };
    ensure!(leader.starts_with(&format!("{}_", leading.name)), "{leader} leads");
    let status: serde_json::Value = serde_json::from_str(&leading.ok(&["status", "--json"])?)?;
    let killed = Command::new("kill").args(["-9", &status["pid"].to_string()]).status()?;
    ensure!(killed.success(), "the daemon cannot be killed");
    // An account is made by a controller.
    other.asked("create namespace later")?;
    other.asked("wait --for=create serviceaccount/default -n later --timeout=40s")?;
    ensure!(other.asked(LEADER)?.starts_with(&format!("{}_", other.name)));
    other.asked("delete namespace later").map(drop)
}

#[test]
fn a_snapshot_goes_from_one_engine_to_the_other_and_back() -> Result<()> {
    let Some((outer, etcd)) = around() else { return Ok(()) };
    let at = |prefix: &str| format!("etcd://{}/{prefix}", etcd.endpoint());
    let (first, other) = (at("first"), at("other"));
    let files = tempfile::tempdir()?;
    let file = |name: &str| files.path().join(name).display().to_string();
    let (running, direct, stopped) = (file("running"), file("direct"), file("stopped"));

    let alpha = Member::new(&outer, "gamma", 17445)?;
    alpha.up(&["--store", &first])?;
    alpha.asked("create configmap kept --from-literal=x=1")?;
    let version = alpha.asked("get configmap kept -o jsonpath={.metadata.resourceVersion}")?;
    let said = alpha.ok(&["store", "snapshot", &running])?;
    ensure!(said.contains("objects at revision"), "{said}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&running)?) & 0o777;
    ensure!(mode == 0o600, "a snapshot has mode {mode:o}");
    ensure!(alpha.fails(&["store", "snapshot", &running])?.contains("is there already"));
    alpha.ok(&["store", "snapshot", &direct, "--store", &first])?;
    ensure!(alpha.fails(&["store", "restore", &running])?.contains("a node runs in"));
    alpha.ok(&["down"])?;

    // From etcd to SQLite: the same versions.
    alpha.ok(&["store", "restore", &running])?;
    alpha.up(&[])?;
    ensure!(alpha.asked("get configmap kept -o jsonpath={.metadata.resourceVersion}")? == version);
    alpha.asked(r#"patch configmap kept --type=merge -p {"data":{"x":"2"}}"#)?;
    let newer: u64 = alpha.asked("get configmap kept -o jsonpath={.metadata.resourceVersion}")?.parse()?;
    ensure!(newer > version.parse()?, "versions go on");
    alpha.ok(&["down"])?;

    // The same store, not running; and an older state over it, which is newer to whoever has seen it.
    alpha.ok(&["store", "snapshot", &stopped])?;
    ensure!(alpha.fails(&["store", "restore", &running])?.contains("--force"));
    ensure!(alpha.ok(&["store", "restore", &running, "--force"])?.contains("kept in"));
    alpha.up(&[])?;
    ensure!(alpha.asked("get configmap kept -o jsonpath={.data.x}")? == "1");
    let expired = alpha.refused(&format!("get --raw /api/v1/configmaps?watch=true&resourceVersion={newer}"))?;
    ensure!(expired.contains("too old resource version") || expired.contains("Expired"), "{expired}");
    alpha.ok(&["down"])?;

    // From SQLite to etcd: above what anybody has seen.
    alpha.ok(&["store", "restore", &stopped, "--store", &other])?;
    ensure!(alpha.fails(&["store", "restore", &stopped, "--store", &other])?.contains("--force"));
    alpha.ok(&["store", "restore", &stopped, "--store", &other, "--force"])?;
    alpha.up(&["--store", &other])?;
    ensure!(alpha.asked("get configmap kept -o jsonpath={.data.x}")? == "2");
    let last: u64 = alpha.asked("get configmap kept -o jsonpath={.metadata.resourceVersion}")?.parse()?;
    ensure!(last > newer, "{last} goes back behind {newer}");

    let mut cut = std::fs::read(&stopped)?;
    cut.truncate(cut.len() / 2);
    std::fs::write(&stopped, cut)?;
    let damaged = alpha.fails(&["store", "restore", &stopped, "--store", &at("third")])?;
    ensure!(damaged.contains("is damaged"), "{damaged}");
    Ok(())
}
