//! Files into and out of containers: what was typed, and which words do it where the container has a `tar`, and beside it where it has
//! nothing. Pure.
//!
//! Beside means from a debug container: the target's files are below `/proc/PID/root`. A symbolic link in there means a place in the target's
//! root, but the kernel would take an absolute one for a place in the debug container's: so a shell walks the way link by link.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use crate::{DebugRequest, Mirror, Root, TargetChoice, choose, plan};

/// One of the two ends of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A file here.
    Here(PathBuf),
    /// A file in a pod.
    There(Place),
}

/// A file in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pod's namespace, if it was named.
    pub namespace: Option<String>,
    /// The pod.
    pub pod: String,
    /// Its path, in pieces without `.` and `..`.
    pub path: Vec<String>,
}

/// A path that names nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no file: give POD:PATH or NAMESPACE/POD:PATH")]
pub struct NoFile(String);

/// From where the container's files are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By a program of its own.
    Within,
    /// From a debug container; whose processes are the target's.
    Beside(Processes),
}

/// How a debug container finds its target among the processes that it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processes {
    /// It sees the target's alone: the first is the target's first.
    Joined,
    /// It sees the whole pod's, or the node's: those whose cgroup has this in its name.
    Shared(String),
}

/// `POD:PATH`, `NAMESPACE/POD:PATH`, or a path here. `C:\x` is one of Windows'.
///
/// # Errors
/// [`NoFile`] for a pod without a path, or a path without a pod.
pub fn end(text: &str) -> Result<End, NoFile> {
    let Some((pod, path)) = text.split_once(':') else { return Ok(End::Here(text.into())) };
    let is_here = pod.starts_with(['.', '/']) || pod.contains('\\') || (pod.len() == 1 && path.starts_with('\\'));
    if is_here {
        return Ok(End::Here(text.into()));
    }
    let (namespace, pod) = pod.split_once('/').map_or((None, pod), |(namespace, pod)| (Some(namespace), pod));
    if pod.is_empty() || path.is_empty() || namespace.is_some_and(str::is_empty) {
        return Err(NoFile(text.to_owned()));
    }
    Ok(End::There(Place { namespace: namespace.map(str::to_owned), pod: pod.to_owned(), path: pieces(path) }))
}

/// Pieces of a path; `..` takes the one before it away.
fn pieces(path: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for piece in path.split('/') {
        match piece {
            "" | "." => {}
            ".." => drop(pieces.pop()),
            piece => pieces.push(piece.to_owned()),
        }
    }
    pieces
}

impl Place {
    /// The folder that it is in, and its name there; the root is `.` in itself.
    pub fn split(&self) -> (String, &str) {
        match self.path.split_last() {
            Some((name, folder)) => (format!("/{}", folder.join("/")), name),
            None => ("/".to_owned(), "."),
        }
    }

    /// As it is written in a pod.
    pub fn full(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    /// The file of this name in it.
    #[must_use]
    pub fn join(&self, name: &str) -> Place {
        let mut joined = self.clone();
        joined.path.push(name.to_owned());
        joined
    }

    /// Where a symbolic link here leads to.
    #[must_use]
    pub fn follow(&self, link: &str) -> Place {
        let (folder, _) = self.split();
        let path = if link.starts_with('/') { pieces(link) } else { pieces(&format!("{folder}/{link}")) };
        Place { path, ..self.clone() }
    }
}

/// Finds the target's first process, `$process`, and its root, `$root`. Only within itself it has none but `/`.
const TARGET: &str = r#"
case $1 in
self) process=/proc/self root= ;;
1) process=/proc/1 root=/proc/1/root ;;
*) root=/nowhere
   for at in /proc/[0-9]*; do
     if grep -q -- "$1" "$at/cgroup" 2>/dev/null; then process=$at root=$at/root; break; fi
   done ;;
esac
if ! ls "$root/" >/dev/null 2>&1; then echo "the files of the container cannot be reached: it may run as another user" >&2; exit 77; fi
"#;
/// The way to `$2` in the target's root: `$at`.
const WALK: &str = r#"
rest=$2 at= links=0
while [ -n "$rest" ]; do
  part=${rest%%/*}
  case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
  case $part in
  ''|.) ;;
  ..) at=${at%/*} ;;
  *) if [ -L "$root$at/$part" ] && [ $links -lt 40 ]; then
       links=$((links + 1)) to=$(readlink "$root$at/$part")
       case $to in /*) at= ;; esac
       rest=$to/$rest
     else at=$at/$part; fi ;;
  esac
done
"#;
/// What is mounted in the target.
const MOUNTS: &str = r#"exec cat "$process/mountinfo""#;
/// The whole root, but nothing of what is mounted in it: of a folder its place stays, empty, a file goes, since what is below it cannot be had.
/// Not every tar can be told what to leave out, nor take names from a file: so `find` names the files, and there may be several archives, one
/// after the other.
const PACK_ROOT: &str = r#"
shift; n=$#
while [ $n -gt 0 ]; do at=$1; shift; n=$((n - 1)); set -- "$@" -path "$at" -o; done
cd "$root/" && exec find . \( "$@" -path .// \) -prune ! -type d -o -exec tar --no-recursion -cf - {} +"#;
/// One line for each file below `$top`, but for what is mounted there.
const LIST: &str = r#"
n=$#
while [ $n -gt 0 ]; do at=$1; shift; n=$((n - 1)); set -- "$@" -path "$at" -prune -o; done
cd "$top/" && exec find . "$@" -exec stat -c '%f %u %g %s %Y %Z %n' {} +"#;
const IS_FOLDER: &str = r#"test -d "$root$at/" "#;
const PACK: &str = r#"cd "$root$at/" && exec tar -cf - -- "$3""#;
const UNPACK: &str = r#"cd "$root$at/" && exec tar -xopf -"#;

impl Reach {
    /// Writes the file of this name in a folder, and all below it, to standard output, as a tar.
    pub fn pack(&self, folder: &str, name: &str) -> Vec<String> {
        match self {
            Reach::Within => words(&["tar", "-cf", "-", "-C", folder, "--", name]),
            Reach::Beside(processes) => script(PACK, processes, folder, name),
        }
    }

    /// Makes a tar from standard input into files below a folder. Owners are not taken over: they mean somebody else here.
    pub fn unpack(&self, folder: &str) -> Vec<String> {
        match self {
            Reach::Within => words(&["tar", "-xopf", "-", "-C", folder]),
            Reach::Beside(processes) => script(UNPACK, processes, folder, ""),
        }
    }

    /// Tells what is mounted in the target, as proc(5) has it.
    pub fn mounts(&self) -> Vec<String> {
        self.shell(MOUNTS, &[])
    }

    /// Writes the whole root to standard output, without what these mounts have in it, as one tar or several, one after the other.
    pub fn pack_root(&self, mounts: &[MountPoint]) -> Vec<String> {
        self.shell(PACK_ROOT, &patterns(mounts))
    }

    /// Tells of each file in the root, a line each: [`crate::changes::entry`] reads it.
    pub fn list(&self, mounts: &[MountPoint]) -> Vec<String> {
        self.shell(&format!("top=$root; shift{LIST}"), &patterns(mounts))
    }

    fn shell(&self, last: &str, arguments: &[&str]) -> Vec<String> {
        let script = format!("{TARGET}{last}");
        let whose = match self {
            Reach::Within => "self",
            Reach::Beside(processes) => processes.whose(),
        };
        words(&[&["sh", "-c", &script, "sh", whose], arguments].concat())
    }

    /// Ends with 0 if this is a folder.
    pub fn is_folder(&self, path: &str) -> Vec<String> {
        match self {
            Reach::Within => words(&["test", "-d", path]),
            Reach::Beside(processes) => script(IS_FOLDER, processes, path, ""),
        }
    }
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn script(last: &str, processes: &Processes, folder: &str, name: &str) -> Vec<String> {
    words(&["sh", "-c", &format!("{TARGET}{WALK}{last}"), "sh", processes.whose(), folder, name])
}

impl Processes {
    /// What [`TARGET`] is to look for.
    fn whose(&self) -> &str {
        match self {
            Processes::Joined => "1",
            Processes::Shared(id) => id,
        }
    }
}

/// A program in the debug container that is given the target's first process: `$process`, and what is in `arguments` as `$1` and so on.
pub(crate) fn with_process(processes: &Processes, script: &str, arguments: &[&str]) -> Vec<String> {
    Reach::Beside(processes.clone()).shell(&format!("shift\n{script}"), arguments)
}

/// Where a Remora node shows the files of the target's image, as they were, to who asks for them.
const PRISTINE: &str = "/dev/remora/image";
/// The variable of an entry by which a Remora node is asked for them.
const IMAGE_VARIABLE: &str = "REMORA_IMAGE";

/// A request with the wish to see the files of the target's image, which only a Remora node can fulfil.
#[must_use]
pub fn with_image(mut request: DebugRequest) -> DebugRequest {
    request.env.push(plan::variable(IMAGE_VARIABLE, "target"));
    request
}

/// Tells of each file of the target's image, as [`Reach::list`] does of those that are there now.
pub fn list_image() -> Vec<String> {
    words(&["sh", "-c", &format!("top={PRISTINE}{LIST}"), "sh"])
}

/// A place where something is mounted in a container's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where.
    pub path: String,
    /// As `find` is told of it: from `.`, with whatever it takes for a wildcard made plain.
    pub pattern: String,
}

fn patterns(mounts: &[MountPoint]) -> Vec<&str> {
    mounts.iter().map(|mount| mount.pattern.as_str()).collect()
}

/// So many mounts are taken for true.
const MAX_MOUNTS: usize = 10_000;

/// What is mounted in a root, but for the root itself and what is below another mount. None if the text is no mountinfo of proc(5), or a name
/// in it no text.
pub fn mount_points(mountinfo: &str) -> Option<Vec<MountPoint>> {
    let places = mountinfo.lines().take(MAX_MOUNTS).map(|line| unescaped(line.split(' ').nth(4)?));
    let mut places = places.collect::<Option<Vec<String>>>()?;
    places.retain(|place| place != "/");
    places.sort_unstable();
    let mut points: Vec<MountPoint> = Vec::new();
    for path in places {
        if !points.iter().any(|point| is_below(&path, &point.path)) {
            let plain = |c: char| [Some('\\').filter(|_| "*?[\\".contains(c)), Some(c)];
            let pattern = path.chars().flat_map(plain).flatten().collect::<String>();
            points.push(MountPoint { path, pattern: format!(".{pattern}") });
        }
    }
    Some(points)
}

/// Whether a path is this one, or below it.
pub(crate) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Blanks and the like are written there as a backslash and three octal digits.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (octal, rest) = (piece.get(..3)?, piece.get(3..)?);
        bytes.push(u8::from_str_radix(octal, 8).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|path| path.starts_with('/'))
}

/// The debug container that stands beside a target: it does nothing until its input ends, and so it ends with whoever made it.
pub fn standby(target: &str, image: Option<String>) -> DebugRequest {
    DebugRequest {
        image,
        target: TargetChoice::Named(target.to_owned()),
        command: vec!["cat".to_owned()],
        stdin: true,
        attach: true,
        mirror: Mirror { user: true, ..Mirror::NONE },
        root: Root::Image,
        ..DebugRequest::default()
    }
}

/// How the target is found from a debug container; none if the node has not yet said which container it is.
pub fn processes(pod: &Pod, target: &str) -> Option<Processes> {
    let spec = pod.spec.as_ref()?;
    if spec.share_process_namespace != Some(true) && spec.host_pid != Some(true) {
        return Some(Processes::Joined);
    }
    let id = choose::status(pod, target)?.container_id.as_deref()?.split_once("://")?.1;
    Some(Processes::Shared(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ends_are_told_from_paths_here() {
        let there = |namespace: Option<&str>, pod: &str, path: &[&str]| {
            let path = path.iter().map(|piece| (*piece).to_owned()).collect();
            Ok(End::There(Place { namespace: namespace.map(str::to_owned), pod: pod.to_owned(), path }))
        };
        let here = |path: &str| Ok(End::Here(path.into()));
        let check = |text: &str, expected: Result<End, NoFile>| assert_eq!(end(text), expected, "{text}");
        check("web:/etc/hosts", there(None, "web", &["etc", "hosts"]));
        check("web:data/../log/./x", there(None, "web", &["log", "x"]));
        check("web:../../etc", there(None, "web", &["etc"]));
        check("shop/web:/", there(Some("shop"), "web", &[]));
        check("file", here("file"));
        check("./a:b", here("./a:b"));
        check("/a:b", here("/a:b"));
        check("C:\\x", here("C:\\x"));
        for wrong in ["web:", ":/x", "/web:"] {
            let expected = if wrong.starts_with('/') { here(wrong) } else { Err(NoFile(wrong.to_owned())) };
            check(wrong, expected);
        }
    }

    #[test]
    fn links_lead_on_from_where_they_are() {
        let Ok(End::There(place)) = end("web:/var/log/now") else { panic!("no place") };
        assert_eq!(place.follow("today/x").full(), "/var/log/today/x");
        assert_eq!(place.follow("../run").full(), "/var/run");
        assert_eq!(place.follow("/srv").full(), "/srv");
        assert_eq!(place.split(), ("/var/log".to_owned(), "now"));
        assert_eq!(place.follow("/").split(), ("/".to_owned(), "."));
    }

    #[test]
    fn a_shared_process_namespace_is_searched_for_the_container() {
        let pod = |share: bool, id: Option<&str>| -> Pod {
            serde_json::from_value(
                json!({"spec": {"containers": [], "shareProcessNamespace": share}, "status": {"containerStatuses": [
                {"name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 0, "containerID": id}]}}),
            )
            .unwrap()
        };
        assert_eq!(processes(&pod(false, None), "app"), Some(Processes::Joined));
        assert_eq!(processes(&pod(true, Some("containerd://abc")), "app"), Some(Processes::Shared("abc".to_owned())));
        assert_eq!(processes(&pod(true, None), "app"), None);
    }

    #[test]
    fn mounts_are_told_by_their_places() {
        let line = |place: &str| format!("36 35 98:0 /mnt1 {place} rw,noatime master:1 - ext3 /dev/root rw\n");
        let text: String = ["/", "/proc/sys", "/proc", "/data", "/data2", "/a\\040b\\134", "/x[1]"].map(line).concat();
        let points = mount_points(&text).unwrap();
        let shown: Vec<String> = points.into_iter().map(|point| format!("{} {}", point.path, point.pattern)).collect();
        let expected = ["/a b\\ ./a b\\\\", "/data ./data", "/data2 ./data2", "/proc ./proc", "/x[1] ./x\\[1]"];
        assert_eq!(shown, expected);
        for wrong in ["no mountinfo", "36 35 98:0 / relative rw", "36 35 98:0 / /x\\9 rw", "36 35 98:0 / /x\\377 rw"] {
            assert_eq!(mount_points(wrong), None, "{wrong}");
        }
    }

    /// Played by this machine's programs, on a folder of its own as the root.
    #[test]
    fn what_is_mounted_is_neither_packed_nor_listed() {
        let root = std::env::temp_dir().join(format!("remora-pack-{}", std::process::id()));
        for file in ["a/b", "data/hidden", "etc/hosts", "etc/own", "x[1]/in"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let points = ["/data", "/etc/hosts", "/x[1]"].map(|place| format!("1 2 0:3 / {place} rw"));
        let points = mount_points(&points.join("\n")).unwrap();
        let play = |script: &str| {
            let script = format!("root=$1 top=$1; {script} | sort");
            let shell = std::process::Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(&root)
                .args(patterns(&points))
                .output();
            String::from_utf8(shell.unwrap().stdout).unwrap()
        };
        let packed = play(&PACK_ROOT.replace(" +", " + | tar -tf -"));
        assert_eq!(packed, "./\n./a/\n./a/b\n./data/\n./etc/\n./etc/own\n./x[1]/\n");
        let listed = play(&format!("shift{LIST}").replace("'%f %u %g %s %Y %Z %n'", "%n"));
        assert_eq!(listed, ".\n./a\n./a/b\n./etc\n./etc/own\n");
        std::fs::remove_dir_all(&root).unwrap();
    }

    /// The walk is played by this machine's shell, in a tree whose links point at places that are not here.
    #[test]
    fn the_walk_stays_in_the_targets_root() {
        let root = std::env::temp_dir().join(format!("remora-walk-{}", std::process::id()));
        for folder in ["srv/data", "var"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let links = [("/srv", "var/abs"), ("../srv/data", "var/rel"), ("../../../../srv", "var/up"), ("loop", "loop")];
        for (to, at) in links {
            std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        }
        let walk = format!("root=$1{WALK} echo \"$at\"");
        let check = |path: &str, expected: &str| {
            let shell = std::process::Command::new("sh").args(["-c", &walk, "sh"]).arg(&root).arg(path).output();
            assert_eq!(String::from_utf8(shell.unwrap().stdout).unwrap().trim(), expected, "{path}");
        };
        check("/var/abs/data", "/srv/data");
        check("/var/rel", "/srv/data");
        check("/var/up/data/x y", "/srv/data/x y");
        check("/var/../srv", "/srv");
        check("/", "");
        check("/loop/x", "/loop/x");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
