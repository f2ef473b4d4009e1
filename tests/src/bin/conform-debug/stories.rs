//! What takes several commands, or a terminal: sessions and their life, copies that are replaced, input, lost clients.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rexpect::session::PtySession;
use serde_json::Value;

use crate::play::{Player, Where};
use crate::shapes::{self, Until};

const AT: &str = "privileged";

pub(crate) async fn check(player: &mut Player) -> Result<()> {
    macro_rules! stories {
        ($($title:literal, $place:ident, $story:path;)*) => {$(
            if player.wants($title, Where::$place) {
                let outcome = $story(player).await;
                player.note($title, outcome);
            }
        )*};
    }
    stories! {
        "a shell, its prompt, and its exit status", Anywhere, a_shell;
        "a picker where several pods fit", Anywhere, a_picker;
        "sessions are listed, joined, stopped, and told", Anywhere, a_life;
        "a session of the same shape is joined with --reuse", Anywhere, reuse;
        "the terminal's size reaches the tool", Anywhere, size;
        "a session is recorded and played", Anywhere, record;
        "input is passed on to its end", Anywhere, input;
        "a flood of output is whole", Anywhere, flood;
        "a pod that is deleted ends the session with its cause", Anywhere, deleted;
        "a copy replaces its original", Anywhere, replace;
        "a node session leaves no pod, also when it is interrupted", Anywhere, node_session;
        "an interrupted copy is removed", Anywhere, interrupted_copy;
        "a custom profile is laid over", Anywhere, custom;
        "a file describes the pod", Anywhere, described;
        "the connection may idle", Anywhere, idle;
        "a command beside several pods, each line with its pod", Anywhere, many;
        "exec on a terminal brings the program that the container lacks, and not with --no-fallback", Anywhere, exec;
        "cp out of a container without tar", Anywhere, copy_out;
        "cp into a container without tar, and back", Anywhere, copy_in;
        "cp where the container has tar adds no debug container", Anywhere, copy_by_tar;
        "cp by a debug container finds its target in a shared process namespace", Anywhere, copy_shared;
        "diff tells what was added, changed and deleted", OnRemora, diff;
        "diff elsewhere tells what has changed since the start", Elsewhere, diff_elsewhere;
        "export is a whole archive, without what is mounted", Anywhere, export;
        "a session is told in events of its pod", Anywhere, events;
        "a session goes on without the right to write events", Anywhere, no_events;
        "cp by a debug container follows links in the target's root", Anywhere, copy_links;
    }
    Ok(())
}

/// A terminal on which a shell has said its prompt; `# ` or `$ ` ends it in every image.
fn prompt(terminal: &mut PtySession) -> Result<()> {
    terminal.exp_regex("[#$] ").map(drop).context("no prompt")
}

fn ended(terminal: &mut PtySession, code: i32) -> Result<()> {
    terminal.exp_eof()?;
    let status = format!("{:?}", terminal.process().wait()?);
    ensure!(status.contains(&format!(", {code})")), "{status} instead of {code}");
    Ok(())
}

async fn a_shell(player: &Player) -> Result<()> {
    let mut terminal = player.terminal(AT, &["debug", "plain", "-q"])?;
    prompt(&mut terminal)?;
    terminal.send_line("tty; exit 3")?;
    terminal.exp_string("/dev/")?;
    ended(&mut terminal, 3)
}

async fn a_picker(player: &Player) -> Result<()> {
    let mut terminal = player.terminal(AT, &["debug", "-q", "-l", "shape in (plain,user)"])?;
    terminal.exp_string("Which one? [1-2] ")?;
    terminal.send_line("2")?;
    prompt(&mut terminal)?;
    terminal.send_line("hostname; exit")?;
    terminal.exp_string("user")?;
    ended(&mut terminal, 0)
}

async fn a_life(player: &Player) -> Result<()> {
    let mut terminal = player.terminal(AT, &["debug", "two", "-q", "-c", "life"])?;
    prompt(&mut terminal)?;
    terminal.send_line("mark=kept")?;
    prompt(&mut terminal)?;
    let listed = player.run(AT, &["debug", "ls", "two", "-o", "json"]).await?.ended(0)?;
    let rows: Vec<Value> = serde_json::from_str(&listed.out)?;
    let row = rows.into_iter().find(|row| row["container"] == "life").context("it is not listed")?;
    ensure!(row["running"] == true && row["target"] == "second", "{row}");
    let mut joined = player.terminal(AT, &["debug", "attach", "two", "-c", "life"])?;
    joined.send_line("echo $mark")?;
    joined.exp_string("kept")?;
    let stopped = player.run(AT, &["debug", "stop", "two", "-c", "life"]).await?.ended(0)?;
    stopped.says(&["Container life has ended."])?;
    terminal.exp_eof()?;
    joined.exp_eof()?;
    let told = player.run(AT, &["debug", "logs", "two", "-c", "life"]).await?.ended(0)?;
    ensure!(told.out.contains("kept"), "{told:?}");
    Ok(())
}

async fn reuse(player: &Player) -> Result<()> {
    let mut first = player.terminal(AT, &["debug", "strict", "-q", "-c", "one"])?;
    prompt(&mut first)?;
    let mut second = player.terminal(AT, &["debug", "strict", "--reuse"])?;
    second.exp_string("Joining session one, which runs already.")?;
    first.send_line("exit 5")?;
    ended(&mut first, 5)?;
    ended(&mut second, 5)?;
    let pod = player.cluster.pod(AT, "strict").await?;
    let entries = pod["spec"]["ephemeralContainers"].as_array().map(Vec::len);
    ensure!(entries == Some(1), "{entries:?} entries");
    Ok(())
}

async fn size(player: &Player) -> Result<()> {
    let mut terminal = player.terminal(AT, &["debug", "plain", "-q", "--", "sh"])?;
    prompt(&mut terminal)?;
    terminal.send_line("stty size; exit")?;
    terminal.exp_string("33 101")?;
    ended(&mut terminal, 0)
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("conform-debug-{}-{name}", std::process::id()))
}

async fn record(player: &Player) -> Result<()> {
    let file = scratch("cast");
    let path = file.to_str().context("a path that is no text")?;
    let mut terminal = player.terminal(AT, &["debug", "plain", "-q", &format!("--record={path}")])?;
    prompt(&mut terminal)?;
    terminal.send_line("echo re''corded; exit 2")?;
    ended(&mut terminal, 2)?;
    let played = player.run(AT, &["play", "--speed=1000", path]).await;
    let text = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    let header: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
    ensure!(header["version"] == 2, "{header}");
    let played = played?.ended(0)?;
    ensure!(played.out.contains("recorded"), "{played:?}");
    Ok(())
}

async fn input(player: &Player) -> Result<()> {
    let file = scratch("input");
    let text: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    std::fs::write(&file, &text)?;
    let stdin = Stdio::from(std::fs::File::open(&file)?);
    let done = player.run_with(AT, &["debug", "plain", "-q", "-i", "--", "md5sum"], stdin).await;
    let here = std::process::Command::new("md5sum").stdin(std::fs::File::open(&file)?).output()?;
    std::fs::remove_file(&file)?;
    done?.ended(0)?.printed(&String::from_utf8(here.stdout)?)
}

async fn flood(player: &Player) -> Result<()> {
    let done = player.run(AT, &["debug", "plain", "-q", "--", "seq", "100000"]).await?.ended(0)?;
    let lines = done.out.lines().count();
    ensure!(lines == 100_000 && done.out.ends_with("\n100000\n"), "{lines} lines");
    Ok(())
}

async fn deleted(player: &Player) -> Result<()> {
    player.cluster.make_pod(AT, "short", &shapes::plain()).await?;
    player.cluster.await_pod(AT, "short", Until::Running).await?;
    let session = player.run(AT, &["debug", "short", "-q", "-c", "d", "--", "sh", "-c", "echo up; sleep 1000"]);
    let deletion = async {
        player.cluster.await_entry(AT, "short").await?;
        player.cluster.delete_pod(AT, "short").await
    };
    let (done, deletion) = tokio::join!(session, deletion);
    deletion?;
    let done = done?;
    // The node may report the tool's end before the pod is gone: then it is the tool's own.
    ensure!(done.code == 245 || done.code == 137 || done.code == 143, "{done:?}");
    Ok(())
}

async fn replace(player: &Player) -> Result<()> {
    player.cluster.make_pod(AT, "old", &shapes::plain()).await?;
    player.cluster.await_pod(AT, "old", Until::Running).await?;
    let words =
        ["debug", "old", "-q", "--image=busybox", "--image-pull-policy=IfNotPresent", "--copy-to=new", "--replace"];
    player.run(AT, &[&words[..], &["--attach", "-c", "d", "--", "true"]].concat()).await?.ended(0)?;
    ensure!(player.cluster.pod(AT, "old").await?.is_null(), "the original is there");
    ensure!(!player.cluster.pod(AT, "new").await?.is_null(), "the copy is not there");
    player.cluster.delete_pod(AT, "new").await
}

async fn exec(player: &Player) -> Result<()> {
    let mut refused = player.terminal(AT, &["exec", "-it", "plain", "--no-fallback", "--", "sh"])?;
    refused.exp_string("remora debug plain --target=app -- sh")?;
    refused.exp_eof()?;
    let mut terminal = player.terminal(AT, &["exec", "-it", "plain", "--", "sh"])?;
    terminal.exp_string("Container app has no sh: a debug container runs it.")?;
    prompt(&mut terminal)?;
    terminal.send_line("cut -c1-6 /proc/1/cmdline; exit 3")?;
    terminal.exp_string("/pause")?;
    ended(&mut terminal, 3)
}

async fn node_session(player: &Player) -> Result<()> {
    let node = format!("node/{}", player.cluster.node);
    let mut terminal = player.terminal(AT, &["debug", &node, "-q"])?;
    prompt(&mut terminal)?;
    terminal.process_mut().kill(rexpect::process::signal::Signal::SIGTERM)?;
    terminal.exp_eof()?;
    none_left(player, "node-debugger-").await
}

async fn interrupted_copy(player: &Player) -> Result<()> {
    let words = [
        "debug",
        "plain",
        "-q",
        "--image=busybox",
        "--image-pull-policy=IfNotPresent",
        "--copy-to=gone",
        "--rm",
        "-it",
        "-c",
        "d",
    ];
    let mut terminal = player.terminal(AT, &words)?;
    prompt(&mut terminal)?;
    terminal.process_mut().kill(rexpect::process::signal::Signal::SIGTERM)?;
    terminal.exp_eof()?;
    none_left(player, "gone").await
}

async fn none_left(player: &Player, prefix: &str) -> Result<()> {
    let left = player.cluster.living_pods(AT).await?;
    match left.iter().find(|name| name.starts_with(prefix)) {
        Some(name) => bail!("pod {name} is left"),
        None => Ok(()),
    }
}

async fn custom(player: &Player) -> Result<()> {
    let file = scratch("custom");
    std::fs::write(&file, "securityContext:\n  runAsUser: 77\nenv:\n- {name: MODE, value: odd}\n")?;
    let words = ["debug", "rich", "-q", "--attach", "--custom", file.to_str().unwrap_or_default(), "--"];
    let done = player.run(AT, &[&words[..], &["sh", "-c", "echo $(id -u) $MODE"]].concat()).await;
    std::fs::remove_file(&file)?;
    done?.ended(0)?.printed("77 odd\n")
}

async fn described(player: &Player) -> Result<()> {
    let file = scratch("pod");
    std::fs::write(&file, "kind: Pod\nmetadata: {name: plain}\n")?;
    let done = player.run(AT, &["debug", "-q", "-f", file.to_str().unwrap_or_default(), "--", "hostname"]).await;
    std::fs::remove_file(&file)?;
    done?.ended(0)?.printed("plain\n")
}

async fn idle(player: &Player) -> Result<()> {
    let done = player.run(AT, &["debug", "plain", "-q", "-i", "--", "sh", "-c", "sleep 3; echo still"]).await?;
    done.ended(0)?.printed("still\n")
}

async fn many(player: &Player) -> Result<()> {
    let done = player.run(AT, &["debug", "-l", "shape in (plain,user)", "--", "echo", "x"]).await?.ended(0)?;
    let mut lines: Vec<&str> = done.out.lines().collect();
    lines.sort_unstable();
    ensure!(lines == ["[plain] x", "[user] x"], "{lines:?}");
    Ok(())
}

/// A folder of ours for what is copied.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Folder> {
        let path = scratch(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir_all(&self.0);
    }
}

async fn copy_out(player: &Player) -> Result<()> {
    let folder = Folder::new("out")?;
    let done = player.run(AT, &["cp", "plain:/pause", &folder.at("pause")]).await?.ended(0)?;
    done.says(&["Container app has no tar: a debug container copies.", "Copied 1 file, "])?;
    let program = std::fs::read(folder.at("pause"))?;
    ensure!(program.starts_with(b"\x7fELF"), "{} bytes", program.len());
    Ok(())
}

/// Links, modes, a long name and a large file, there and back; and into a folder that is there.
async fn copy_in(player: &Player) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, symlink};
    let folder = Folder::new("in")?;
    let tree = folder.0.join("tree");
    let long = "n".repeat(120);
    std::fs::create_dir_all(tree.join(&long))?;
    std::fs::write(tree.join(&long).join("big"), vec![7; 3 << 20])?;
    std::fs::write(tree.join("empty"), "")?;
    symlink("empty", tree.join("link"))?;
    let from = tree.display().to_string();
    player.run(AT, &["cp", "-q", &from, "plain:/tree"]).await?.ended(0)?;
    player.run(AT, &["cp", "-q", &from, "plain:/tree"]).await?.ended(0)?;
    player.run(AT, &["cp", "-q", "plain:/tree", &folder.at("back")]).await?.ended(0)?;
    for back in [folder.0.join("back"), folder.0.join("back/tree")] {
        let big = std::fs::read(back.join(&long).join("big"))?;
        ensure!(big.len() == 3 << 20 && big.iter().all(|byte| *byte == 7), "{} bytes", big.len());
        ensure!(std::fs::read_link(back.join("link"))? == PathBuf::from("empty"));
        let (here, there) = (std::fs::metadata(tree.join("empty"))?, std::fs::metadata(back.join("empty"))?);
        ensure!(here.mode() == there.mode() && here.mtime() == there.mtime(), "{here:?} {there:?}");
    }
    Ok(())
}

async fn entries(player: &Player, pod: &str) -> Result<usize> {
    let pod = player.cluster.pod(AT, pod).await?;
    Ok(pod["spec"]["ephemeralContainers"].as_array().map_or(0, Vec::len))
}

/// Changes `rich`, which has been cp's and is not looked at by others.
async fn change(player: &Player) -> Result<()> {
    let script = "PATH=/bin; mkdir -p /added && echo x > /added/f && echo x >> /etc/group && rm -f /etc/shadow && rm -rf /var/spool";
    player.run(AT, &["exec", "rich", "--", "/bin/busybox", "sh", "-c", script]).await?.ended(0).map(drop)
}

async fn diff(player: &Player) -> Result<()> {
    change(player).await?;
    let all = player.run(AT, &["diff", "rich", "-q"]).await?.ended(0)?;
    for line in ["C /etc", "C /etc/group", "D /etc/shadow", "A /added", "A /added/f", "D /var/spool"] {
        ensure!(all.out.lines().any(|found| found == line), "no {line:?} in {}", all.out);
    }
    ensure!(!all.out.contains("/proc/") && !all.out.contains("/data/") && !all.out.contains("/bin/"), "{}", all.out);
    player.run(AT, &["diff", "rich", "/added", "-q"]).await?.ended(0)?.printed("A /added\nA /added/f\n")
}

async fn diff_elsewhere(player: &Player) -> Result<()> {
    change(player).await?;
    let all = player.run(AT, &["diff", "rich"]).await?.ended(0)?;
    all.says(&["This node is not Remora's"])?;
    for line in ["C /etc/group", "C /added/f"] {
        ensure!(all.out.lines().any(|found| found == line), "no {line:?} in {}", all.out);
    }
    ensure!(!all.out.contains(" /bin/") && !all.out.contains("D "), "{}", all.out);
    Ok(())
}

async fn export(player: &Player) -> Result<()> {
    let folder = Folder::new("export")?;
    player.run(AT, &["exec", "rich", "--", "/bin/busybox", "touch", "/data/in-a-volume", "/own"]).await?.ended(0)?;
    for (pod, words, expected) in
        [("rich", &["--beside"][..], "./own"), ("rich", &[], "./own"), ("plain", &[], "./pause")]
    {
        let to = folder.at("x.tar");
        player.run(AT, &[&["export", pod, "-q", "-o", &to], words].concat()).await?.ended(0)?;
        let listed = std::process::Command::new("tar").args(["-tf", &to]).output()?;
        let (names, said) = (String::from_utf8(listed.stdout)?, String::from_utf8(listed.stderr)?);
        ensure!(listed.status.success() && said.is_empty(), "{said}");
        ensure!(names.lines().any(|name| name == expected), "{names}");
        ensure!(
            !names.contains("in-a-volume") && !names.contains("./proc/s") && !names.contains("./etc/hosts\n"),
            "{names}"
        );
        std::fs::remove_file(to)?;
    }
    Ok(())
}

async fn events(player: &Player) -> Result<()> {
    let words = ["debug", "two", "-q", "-c", "told", "--", "sh", "-c", "exit 3"];
    player.run(AT, &words).await?.ended(3)?;
    let told = player.cluster.events(AT, "two").await?;
    let of = |reason: &str| {
        told.iter().find(|event| {
            event["reason"] == reason && event["involvedObject"]["fieldPath"] == "spec.ephemeralContainers{told}"
        })
    };
    for (reason, begin) in [
        ("DebugSessionStarted", "Debug session told started: by "),
        ("DebugSessionEnded", "Debug session told ended with exit code 3: by "),
    ] {
        let message =
            of(reason).with_context(|| format!("no {reason}: {told:?}"))?["message"].as_str().unwrap_or_default();
        ensure!(message.starts_with(begin) && message.contains("(sha256:"), "{message}");
        ensure!(message.ends_with(", profile general, target second"), "{message}");
    }
    Ok(())
}

/// Nobody but the group of all who are authenticated may do anything here: a user of our own gets just what a session needs.
async fn no_events(player: &Player) -> Result<()> {
    player.cluster.allow_sessions(AT, "nobody-but-sessions").await?;
    let words = ["debug", "plain", "--as=nobody-but-sessions", "-c", "untold", "--", "true"];
    let quiet = player.run(AT, &words).await?.ended(0)?;
    ensure!(!quiet.err.contains("event"), "{quiet:?}");
    let words = ["debug", "plain", "-v", "--as=nobody-but-sessions", "-c", "untold-2", "--", "true"];
    player.run(AT, &words).await?.ended(0)?.says(&["No event of this session is written: ", "events is forbidden"])
}

async fn copy_by_tar(player: &Player) -> Result<()> {
    let folder = Folder::new("tar")?;
    let before = entries(player, "readonly").await?;
    player.run(AT, &["cp", "-q", "readonly:/etc/passwd", &folder.at("passwd")]).await?.ended(0)?;
    ensure!(std::fs::read_to_string(folder.at("passwd"))?.starts_with("root:"));
    let sparse =
        ["exec", "rich", "--", "/bin/dd", "if=/dev/zero", "of=/data/sparse", "bs=1", "count=0", "seek=8388608"];
    player.run(AT, &sparse).await?.ended(0)?;
    player.run(AT, &["cp", "-q", "--beside", "rich:/data/sparse", &folder.at("sparse")]).await?.ended(0)?;
    let copied = std::fs::metadata(folder.at("sparse"))?;
    use std::os::unix::fs::MetadataExt;
    ensure!(copied.len() == 8 << 20 && copied.blocks() < 100, "{copied:?}");
    let after = entries(player, "readonly").await?;
    ensure!(before == after, "{before} entries, then {after}");
    Ok(())
}

async fn copy_shared(player: &Player) -> Result<()> {
    let folder = Folder::new("shared")?;
    player.run(AT, &["cp", "-q", "shared:/pause", &folder.at("pause")]).await?.ended(0)?;
    ensure!(std::fs::read(folder.at("pause"))?.starts_with(b"\x7fELF"));
    Ok(())
}

async fn copy_links(player: &Player) -> Result<()> {
    let folder = Folder::new("links")?;
    let make = "mkdir -p /data/real && echo here > /data/real/f && ln -sfn /data/real /data/abs && ln -sfn /data/abs/f /data/file";
    player
        .run(AT, &["exec", "rich", "--", "/bin/busybox", "sh", "-c", &format!("PATH=/bin; {make}")])
        .await?
        .ended(0)?;
    for path in ["rich:/data/abs/f", "rich:/data/file"] {
        player.run(AT, &["cp", "-q", "--beside", path, &folder.at("f")]).await?.ended(0)?;
        ensure!(std::fs::read_to_string(folder.at("f"))? == "here\n", "{path}");
        std::fs::remove_file(folder.at("f"))?;
    }
    let whole = player.run(AT, &["cp", "--beside", "rich:/data", &folder.at("data")]).await?.ended(0)?;
    whole.says(&["Left out: abs -> /data/real (the link leads out of the copy)."])
}
