//! One command, one answer: every flag of `remora debug`, every failure that it tells, and the commands beside it.
//!
//! Pods are those of [`crate::shapes`], in the namespace whose level is not enforced unless a row says otherwise. Words are split as a shell
//! splits them, with single quotes. A named image is never pulled where the node has it: `IMAGE` stands for that.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::play::{Player, Where};

/// A command and what it must do.
struct Row {
    title: &'static str,
    words: &'static str,
    namespace: &'static str,
    place: Where,
    code: i32,
    /// Standard output, if it matters.
    out: Option<&'static str>,
    /// Parts of standard error.
    err: Vec<&'static str>,
    /// Values in the newest entry of the pod, by JSON pointer.
    entry: Vec<(&'static str, &'static str)>,
    /// Values in what is printed, which is JSON.
    json: Vec<(&'static str, &'static str)>,
}

fn row(title: &'static str, words: &'static str) -> Row {
    let (out, err, entry, json) = (None, Vec::new(), Vec::new(), Vec::new());
    Row { title, words, namespace: "privileged", place: Where::Anywhere, code: 0, out, err, entry, json }
}

impl Row {
    fn at(mut self, namespace: &'static str) -> Row {
        self.namespace = namespace;
        self
    }

    fn only(mut self, place: Where) -> Row {
        self.place = place;
        self
    }

    fn code(mut self, code: i32) -> Row {
        self.code = code;
        self
    }

    fn out(mut self, text: &'static str) -> Row {
        self.out = Some(text);
        self
    }

    fn err(mut self, part: &'static str) -> Row {
        self.err.push(part);
        self
    }

    fn entry(mut self, pointer: &'static str, value: &'static str) -> Row {
        self.entry.push((pointer, value));
        self
    }

    fn json(mut self, pointer: &'static str, value: &'static str) -> Row {
        self.json.push((pointer, value));
        self
    }
}

pub(crate) async fn check(player: &mut Player) -> Result<()> {
    for row in choices().into_iter().chain(mirrors()).chain(flags()).chain(failures()).chain(copies()).chain(beside()) {
        if player.wants(row.title, row.place) {
            let outcome = played(player, &row).await;
            player.note(row.title, outcome);
        }
    }
    Ok(())
}

async fn played(player: &Player, row: &Row) -> Result<()> {
    let words = split(row.words, &player.cluster.node);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = player.run(row.namespace, &words).await?.ended(row.code)?;
    row.out.map_or(Ok(()), |out| done.printed(out))?;
    done.says(&row.err)?;
    if !row.json.is_empty() {
        let printed: Value = serde_json::from_str(&done.out).with_context(|| format!("no JSON: {}", done.out))?;
        compare(&printed, &row.json)?;
    }
    if !row.entry.is_empty() {
        let pod = player.cluster.pod(row.namespace, words[1]).await?;
        let entries = pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
        compare(entries.last().context("the pod has no entry")?, &row.entry)?;
    }
    Ok(())
}

fn compare(found: &Value, expected: &[(&str, &str)]) -> Result<()> {
    for (pointer, value) in expected {
        let value: Value = serde_json::from_str(value).with_context(|| format!("the row's own value {value}"))?;
        let at = found.pointer(pointer).unwrap_or(&Value::Null);
        ensure!(*at == value, "{pointer} is {at} instead of {value} in {found}");
    }
    Ok(())
}

/// Splits at blanks but within single quotes; `IMAGE` and `NODE` are filled in.
fn split(line: &str, node: &str) -> Vec<String> {
    let line = line.replace("IMAGE", "--image=busybox --image-pull-policy=IfNotPresent").replace("NODE", node);
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// What is chosen when nothing is said.
fn choices() -> Vec<Row> {
    vec![
        row("nothing said: an image, a target, and a command's status", "debug plain -- sh -c 'exit 7'").code(7),
        row("an image that the node has is not pulled", "debug plain -- true")
            .entry("/imagePullPolicy", r#""IfNotPresent""#),
        row("the first container is the target", "debug plain -q -- true").entry("/targetContainerName", r#""app""#),
        row("the annotated container is the target", "debug two -q -- sh -c 'echo $WHICH'")
            .out("second\n")
            .entry("/targetContainerName", r#""second""#),
        row("which target of several is said", "debug two -- true")
            .err("Defaulted target container \"second\" out of: first, second (--target chooses)."),
        row("a named target is the target", "debug two -q --target=first -- true")
            .entry("/targetContainerName", r#""first""#),
        row("no target is none", "debug two -q --no-target -- cat /proc/1/comm")
            .out("cat\n")
            .entry("/targetContainerName", "null"),
        row("an empty target is none, as for kubectl", "debug plain -q --target= -- true")
            .entry("/targetContainerName", "null"),
        row("the target's processes are seen", "debug plain -q -- cut -c1-6 /proc/1/cmdline").out("/pause\n"),
        row(
            "in a shared process namespace they are seen as well",
            "debug shared -q -- sh -c 'ps -o comm | grep -c pause'",
        )
        .code(0),
        row("the target's files are at hand", "debug rich -q --root=image -- sh -c 'ls -d /proc/1/root/bin/busybox'")
            .out("/proc/1/root/bin/busybox\n"),
        row("a user's files are at hand, too", "debug user -q --root=image -- sh -c 'ls -d /proc/1/root/pause'")
            .out("/proc/1/root/pause\n"),
        row("TYPE/NAME", "debug pod/plain -q -- hostname").out("plain\n"),
        row("a selector", "debug -l shape=plain -- hostname").out("[plain] plain\n"),
        row("several that fit are never guessed", "debug -l 'shape in (plain,user)'")
            .code(2)
            .err("2 pods of selector shape in (plain,user) fit: plain, user"),
        row("a node", "debug node/NODE -q -- ls -d /host/etc").out("/host/etc\n"),
        row("a node session runs in the node's namespaces", "debug node/NODE --plan -o json")
            .json("/spec/hostNetwork", "true")
            .json("/spec/hostPID", "true")
            .json("/spec/hostIPC", "true"),
        row(
            "who it was stands in the entry",
            "debug plain -q IMAGE --attach --as=jane --as-group=system:masters -- true",
        )
        .entry("/env", r#"[{"name":"DEBUG_BY","value":"jane"}]"#),
        row("the target's root is / on Remora's nodes", "debug plain -q -- ls -d /pause")
            .only(Where::OnRemora)
            .out("/pause\n"),
        row(
            "the target's root is / for a named image that asks",
            "debug rich -q IMAGE --attach --root=target -- sh -c 'pwd; ls -d /data'",
        )
        .only(Where::OnRemora)
        .out("/data\n/data\n"),
        row("what a crashed container has left", "debug crashed -q -- cat /left")
            .only(Where::OnRemora)
            .out("evidence\n"),
        row("and how it ended", "debug crashed -q -- grep -c '\"exitCode\":3' /dev/remora/crashed.json")
            .only(Where::OnRemora)
            .out("1\n"),
        row("another's root is refused where no node can give it", "debug plain --root=target -- true")
            .only(Where::Elsewhere)
            .code(2)
            .err("--root works on Remora's own nodes only"),
    ]
}

/// What is as in the target, and each part turned off.
fn mirrors() -> Vec<Row> {
    const SHOW: &str =
        "debug rich -q IMAGE --attach -- sh -c 'echo $MODE $COLOUR $POD $(pwd); grep -c \" /data \" /proc/mounts'";
    vec![
        row("variables, their sources, the directory and volumes are the target's", SHOW)
            .out("fast green rich /data\n1\n"),
        row(
            "PATH and the loader's variables are not",
            "debug rich -q IMAGE --attach -- sh -c 'echo $PATH $LD_PRELOAD'",
        )
        .out("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
        row("a read-only mount stays so", "debug rich -q IMAGE --attach -- sh -c 'touch /ro/x 2>/dev/null || echo no'")
            .out("no\n"),
        row("a mount with subPath is left out, and said", "debug rich IMAGE --attach -- true")
            .err("Not mounted: /part (subPath: the API forbids it in ephemeral containers)."),
        row("what is taken over is said", "debug rich IMAGE --attach -- true")
            .err("As in app: 2 variables, variables from 1 source, working directory /data, 2 volume mounts."),
        row(
            "nothing is taken over",
            "debug rich -q IMAGE --attach --mirror=none -- sh -c 'echo \"$MODE$COLOUR $(pwd)\"'",
        )
        .out(" /\n"),
        row("only variables", "debug rich -q IMAGE --attach --mirror=env -- sh -c 'echo $MODE $COLOUR $(pwd)'")
            .out("fast green /\n"),
        row("only the directory", "debug rich -q IMAGE --attach --mirror=workdir -- sh -c 'echo \"$MODE$(pwd)\"'")
            .out("/data\n"),
        row("only volumes", "debug rich -q IMAGE --attach --mirror=volumes -- sh -c 'echo $(pwd); ls -d /data'")
            .out("/\n/data\n"),
        row("only the user", "debug user -q IMAGE --attach --mirror=user -- sh -c 'echo $(id -u) $(id -g)'")
            .out("1000 2000\n"),
        row("the user and group", "debug user -q IMAGE --attach -- sh -c 'echo $(id -u) $(id -g)'").out("1000 2000\n"),
        row("the user of the pod", "debug nonroot -q IMAGE --attach -- id -u").out("4000\n"),
        row("not the user", "debug user -q IMAGE --attach --mirror=env -- id -u").out("0\n"),
        row("one's own user", "debug user -q IMAGE --attach --user=7:8 -- sh -c 'echo $(id -u) $(id -g)'")
            .out("7 8\n")
            .entry("/securityContext/runAsUser", "7"),
        row("one's own user without a group", "debug user -q IMAGE --attach --user=7 -- id -u")
            .out("7\n")
            .entry("/securityContext/runAsGroup", "null"),
        row("one's own directory", "debug rich -q IMAGE --attach --workdir=/tmp -- pwd").out("/tmp\n"),
        row("one's own variables win", "debug rich -q IMAGE --attach --env=MODE=slow,X=1 -- sh -c 'echo $MODE $X'")
            .out("slow 1\n"),
        row(
            "a read-only target gets a debugger that can write",
            "debug readonly -q IMAGE --attach -- sh -c 'echo x > /x && cat /x'",
        )
        .out("x\n"),
        row("netadmin is root beside another user", "debug nonroot IMAGE --attach --profile=netadmin -- id -u")
            .out("0\n")
            .err("Runs as root: profile netadmin is of no use to another user (--user chooses)."),
    ]
}

/// kubectl's flags, and ours.
fn flags() -> Vec<Row> {
    vec![
        row("--image and a command are not waited for", "debug plain IMAGE -c quiet-one -- sleep 1")
            .out("")
            .entry("/name", r#""quiet-one""#),
        row("--attach waits", "debug plain -q IMAGE --attach -- sh -c 'sleep 0.2; echo done'").out("done\n"),
        row("--attach=false does not", "debug plain -q --attach=false -- sleep 1").out(""),
        row("--container names the entry", "debug plain -q IMAGE -c mine --attach -- true").entry("/name", r#""mine""#),
        row("a name that is taken", "debug plain -q IMAGE -c mine --attach -- true")
            .code(243)
            .err("is in pod plain already"),
        row("--arguments-only are arguments", "debug plain -q IMAGE --attach --arguments-only -- echo hi")
            .out("hi\n")
            .entry("/args", r#"["echo","hi"]"#)
            .entry("/command", "null"),
        row(
            "--image-pull-policy",
            "debug plain -q --image=busybox --image-pull-policy=Never --attach --timeout=20s --plan -o json",
        )
        .json("/create/imagePullPolicy", r#""Never""#),
        row("-i passes input on", "debug plain -q -i -- cat").out("").entry("/stdin", "true"),
        row("-t without a terminal is said", "debug plain -it -- true")
            .err("Unable to use a TTY - input is not a terminal or the right kind of file"),
        row("--default-image", "debug plain --default-image=registry.invalid/none:1 --plan -o json")
            .json("/create/imagePullPolicy", r#""IfNotPresent""#),
        row("--ttl ends it", "debug plain -q --ttl=1s -- sleep 1000").code(143).only(Where::OnRemora),
        row("--ttl ends it by a shell elsewhere", "debug plain -q --ttl=1s -- sleep 1000")
            .code(129)
            .only(Where::Elsewhere),
        row("--idle-timeout needs a terminal elsewhere", "debug plain -q --idle-timeout=1m -- true")
            .only(Where::Elsewhere)
            .code(2)
            .err("--idle-timeout needs a terminal on this node"),
        row("--idle-timeout ends it", "debug plain -q --idle-timeout=1s -- sleep 1000").code(143).only(Where::OnRemora),
        row("--plan of a named container", "debug plain -c p --plan -o yaml").code(0),
        row("--plan tells the ladder", "debug strict --plan -o json")
            .at("restricted")
            .json("/profiles/0/state", r#""refused""#)
            .json("/profiles/1/profile", r#""baseline""#)
            .json("/profiles/2/state", r#""admitted""#)
            .json("/podSecurity/0", r#""enforce=restricted""#)
            .json("/create/securityContext/runAsUser", "1000"),
        row("--plan of what cannot be offers what can", "debug plain --plan -o json")
            .at("baseline")
            .json("/profiles/1/state", r#""admitted""#),
        row("--plan of a copy", "debug plain --plan -o json --copy-to=twin IMAGE").json("/metadata/name", r#""twin""#),
        row("--plan of a node session", "debug node/NODE --plan -o json").json("/spec/hostPID", "true"),
        row("the ladder goes down by itself", "debug strict --attach IMAGE -- id -u")
            .at("restricted")
            .out("1000\n")
            .err("Profile restricted: general and baseline refused by Pod Security level restricted:latest")
            .err("To change that: kubectl label namespace"),
        row("in baseline it is baseline", "debug plain --attach IMAGE -- id -u")
            .at("baseline")
            .out("0\n")
            .err("Profile baseline: general refused by"),
    ]
}

/// Each ends with its cause, a remedy, and an exit status of its own.
fn failures() -> Vec<Row> {
    vec![
        row("a pod that is not there", "debug ghost -- true").code(1).err("pods \"ghost\" not found"),
        row("a node that is not there", "debug node/ghost -- true").code(1).err("nodes \"ghost\" not found"),
        row("a kind that is none", "debug gadget/x -- true")
            .code(1)
            .err("the server doesn't have a resource type \"gadget\""),
        row("a selector of nothing", "debug -l no=such -- true").code(1).err("no pod of selector no=such in namespace"),
        row("a target that is not there", "debug plain -q IMAGE --attach --target=ghost -- true")
            .code(1)
            .err("targetContainerName: Not found: \"ghost\""),
        row("an image that cannot be pulled", "debug plain -q --image=registry.invalid/none:1 --attach -- true")
            .code(242)
            .err("image registry.invalid/none:1 cannot be pulled: "),
        row(
            "an image that may not be pulled",
            "debug plain -q --image=registry.invalid/none:1 --image-pull-policy=Never --attach -- true",
        )
        .code(242)
        .err("leave --image-pull-policy=Never away"),
        row("an image whose name is none", "debug plain --image=Bad_Image -- true")
            .code(2)
            .err("invalid image name \"Bad_Image\": invalid reference format"),
        row("a pull policy that is none", "debug plain --image=busybox --image-pull-policy=Sometimes -- true")
            .code(2)
            .err("invalid image pull policy: Sometimes"),
        row("a program that the image lacks", "debug plain -q IMAGE --attach -- /no/such")
            .code(243)
            .err("cannot be started")
            .err("name another after --"),
        row(
            "a user that is refused",
            "debug nonroot -q IMAGE --attach --mirror=none --profile=restricted --user=0 -- true",
        )
        .code(243)
        .err("--user=UID"),
        row("a profile that is refused", "debug plain -q IMAGE --attach --profile=sysadmin -- true")
            .at("baseline")
            .code(240)
            .err("refused by Pod Security level baseline:latest")
            .err("hint: "),
        row("a pod that lets nobody in any more", "debug plain -q IMAGE --attach -- true")
            .at("restricted")
            .code(240)
            .err("what the pod has already offends"),
        row("a quota that is full", "debug plain -q IMAGE --copy-to=twin --rm --attach -c d -- true")
            .at("quota")
            .code(240)
            .err("exceeded quota"),
        row("a user who may not see pods", "debug plain -q --as=nobody -- true")
            .code(241)
            .err("User \"nobody\" cannot get resource \"pods\""),
        row("a user who may not list pods", "debug -q -l shape=plain --as=nobody -- true")
            .code(241)
            .err("cannot list resource \"pods\""),
        row("a pod that has ended", "debug done -q IMAGE --attach -- true")
            .code(245)
            .err("pod done has ended (Succeeded)"),
        row("a pod without a node", "debug nowhere -q IMAGE --attach -- true")
            .code(244)
            .err("pod nowhere is not scheduled: "),
        row("a time-out", "debug plain -q IMAGE --attach --timeout=1ms -- true")
            .code(246)
            .err("does not run after 1ms")
            .err("its entry stays in the pod"),
        row("no cluster", "debug plain -q --kubeconfig=/no/such -- true").code(1).err("/no/such"),
        row("a custom profile that is not there", "debug plain --custom=/no/such -- true")
            .code(1)
            .err("must pass a container spec json file for custom profile"),
        row("a custom profile and a name", "debug plain --custom=/no/such --image=x -t -- true")
            .code(1)
            .err("custom profile"),
        row("--record without a terminal", "debug plain --record=/tmp/x.cast -- true")
            .code(2)
            .err("--record needs a terminal"),
        row("--replace without a copy", "debug plain --replace -- true")
            .code(2)
            .err("--replace may only be used with --copy-to."),
        row("--same-node without a copy", "debug plain --same-node -- true")
            .code(2)
            .err("--same-node may only be used with --copy-to."),
        row("--set-image without a copy", "debug plain --set-image=*=x -- true")
            .code(2)
            .err("--set-image may only be used with --copy-to."),
        row("--rm without a copy", "debug plain --rm -- true").code(2).err("--copy-to"),
        row("a copy with a target", "debug plain IMAGE --copy-to=x --target=app -- true")
            .code(2)
            .err("--target is incompatible with --copy-to. Use --share-processes instead."),
        row("a copy that changes nothing", "debug plain --copy-to=x")
            .code(2)
            .err("you must specify --image, --set-image or command arguments."),
        row("a copy whose image is none", "debug plain --copy-to=x --set-image=*=Bad_Image")
            .code(2)
            .err("invalid image name \"Bad_Image\": invalid reference format"),
        row("a copy of a node", "debug node/NODE IMAGE --copy-to=x").code(2).err("a node cannot be copied"),
        row("a copy whose name is taken", "debug plain -q IMAGE --copy-to=user -c d --attach -- true")
            .code(1)
            .err("already exists"),
        row("--as-group without --as", "debug plain --as-group=x -- true").code(2).err("--as-group needs --as"),
        row("sessions of a pod that is not there", "debug ls ghost").code(1).err("pods \"ghost\" not found"),
        row("to attach where nothing runs", "debug attach strict").code(1).err("no debug session runs in pod strict"),
        row("to stop what does not run", "debug stop strict").code(1).err("no debug session runs in pod strict"),
        row("logs of no session", "debug logs strict").code(1).err("pod strict has had no debug session"),
    ]
}

/// `--copy-to`
fn copies() -> Vec<Row> {
    vec![
        row("a copy is removed with --rm", "debug plain IMAGE --copy-to=c1 --rm --attach -c d -- sh -c 'exit 4'")
            .code(4)
            .err("Removed pod c1."),
        row("and is gone", "get pod c1").code(1).err("not found"),
        row(
            "a copy shares processes",
            "debug plain -q IMAGE --copy-to=c2 --rm --attach -c d -- sh -c 'sleep 0.5; ps -o comm | grep -c pause'",
        )
        .code(0),
        row(
            "unless it shall not",
            "debug plain -q IMAGE --copy-to=c3 --rm --attach -c d --share-processes=false -- cat /proc/1/comm",
        )
        .out("cat\n"),
        row("a copy without labels", "debug plain --plan -o json IMAGE --copy-to=c4").json("/metadata/labels", "null"),
        row("--keep-labels", "debug plain --plan -o json IMAGE --copy-to=c4 --keep-labels")
            .json("/metadata/labels/shape", r#""plain""#),
        row("--keep-annotations", "debug two --plan -o json IMAGE --copy-to=c4 --keep-annotations")
            .json("/metadata/annotations/kubectl.kubernetes.io~1default-container", r#""second""#),
        row("--same-node", "debug plain --plan -o json IMAGE --copy-to=c4 --same-node")
            .json("/spec/containers/1/image", r#""busybox""#),
        row("--set-image of one", "debug two --plan -o json --copy-to=c4 --set-image=first=busybox:9")
            .json("/spec/containers/0/image", r#""busybox:9""#)
            .json("/spec/containers/1/image", r#""busybox""#),
        row("--set-image of all", "debug two --plan -o json --copy-to=c4 --set-image=*=busybox:9")
            .json("/spec/containers/1/image", r#""busybox:9""#),
        row(
            "another command for a container of a copy",
            "debug rich --plan -o json --copy-to=c4 --container=app -- sleep 1",
        )
        .json("/spec/containers/0/command", r#"["sleep","1"]"#),
        row("--ttl of a copy is its deadline", "debug plain --plan -o json IMAGE --copy-to=c4 --ttl=90s")
            .json("/spec/activeDeadlineSeconds", "90"),
        row("profile netadmin of a copy", "debug plain --plan -o json IMAGE --copy-to=c4 --profile=netadmin")
            .json("/spec/containers/1/securityContext/capabilities/add", r#"["NET_ADMIN","NET_RAW"]"#),
        row("a node's profile sysadmin", "debug node/NODE --plan -o json --profile=sysadmin")
            .json("/spec/containers/0/securityContext/privileged", "true"),
    ]
}

/// The commands beside it.
fn beside() -> Vec<Row> {
    vec![
        row("exec where there is the program", "exec rich -- /bin/sh -c 'echo $MODE; exit 5'").out("fast\n").code(5),
        row("exec fails at once without a terminal", "exec plain -- nosuch")
            .err("remora debug plain --target=app -- nosuch")
            .code(126)
            .only(Where::OnRemora),
        row("exec fails at once without a terminal, in the words of the node", "exec plain -- nosuch")
            .err("remora debug plain --target=app -- nosuch")
            .code(1)
            .only(Where::Elsewhere),
        row("cp of what is not there", "cp -q plain:/nosuch /tmp").code(1).err("nosuch"),
        row("cp without a debug container", "cp plain:/pause /tmp --no-fallback")
            .code(1)
            .err("container app has no tar"),
        row("cp between files here", "cp a b").code(2).err("one of the two must be POD:PATH"),
        row("cp between pods", "cp plain:/a user:/b").code(2).err("one of the two must be a file here"),
        row("cp into a folder that is not there", "cp -q /etc/hostname plain:/no/such/place").code(1).err("/no/such"),
        row("diff of a relative path", "diff rich etc").code(2).err("is not a path from /"),
        row("diff of a pod that is not there", "diff ghost").code(1).err("pods \"ghost\" not found"),
        row("diff says what it cannot know", "diff two /nowhere")
            .only(Where::Elsewhere)
            .out("")
            .err("C is what has changed or was added since the container's start; what was deleted cannot be seen"),
        row("export without a debug container", "export plain --no-fallback -o /dev/null")
            .code(1)
            .err("container app has no sh or no tar"),
        row("export asks the container itself first", "export rich -o /dev/null")
            .err("Exported ")
            .err("Left out, since it is mounted: ")
            .err("/data"),
        row("export is bounded", "export rich -q -o /dev/null --max-size=10Ki").code(1).err("--max-size"),
        row("export without a shell in the container", "export plain -o /dev/null")
            .err("Container app has no sh or no tar: a debug container exports it.")
            .err("Exported "),
        row("capture by an image without tcpdump", "capture plain -q --image=busybox:1.35 -w /dev/null")
            .code(243)
            .err("image busybox:1.35 has no tcpdump"),
        row("capture where nobody may", "capture plain -q --image=busybox:1.35 -w /dev/null")
            .at("restricted")
            .code(240)
            .err("a capture needs the capability NET_RAW (profile netadmin), which is refused"),
        row("dump without an image", "dump plain").code(2).err("name an image that has gdb"),
        row("dump by an image without gdb", "dump plain -q --image=busybox:1.35")
            .code(243)
            .err("image busybox:1.35 has no gdb"),
        row("a heap of what is no Java", "dump plain -q --image=busybox:1.35 --kind=heap")
            .code(1)
            .err("is no Java virtual machine"),
        row("a dump of no process", "dump plain -q --image=busybox:1.35 --pid=99999")
            .code(1)
            .err("there is no process 99999"),
        row("threads go to standard output", "dump plain --kind=threads -o x").code(2).err("threads are printed"),
        row("exec in a named container", "exec two -c first -- hostname").out("two\n"),
        row("debug logs shows what a session has said", "debug logs plain -c mine").out(""),
        row("debug ls names sessions", "debug ls plain -o name").code(0),
        row("logs of a container", "logs crashed --previous").out(""),
        row("get", "get pod plain -o name").out("pod/plain\n"),
        row("version", "version").code(0),
    ]
}
