//! What is in a process: which program in a debug container takes its memory, its heap or its threads, and sends it. Pure.
//!
//! A file of a dump is made in the debug container (of a heap: by the target, in its own `/tmp`), sent as a tar, and removed again, however that
//! ends: what an ephemeral container has written stays on the node as long as the pod.

use crate::files::{Processes, with_process};

/// What is taken of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// All of its memory.
    Core,
    /// The objects of a Java virtual machine.
    Heap,
    /// What its threads are at.
    Threads,
}

/// `$1` is the process among those that the debug container sees; empty for the target's first one. `$2` is the file's name. `$pid` and `$of` are
/// the process in words, `$java` is set if it is a Java virtual machine.
const PROCESS: &str = r#"
pid=${1:-${process#/proc/}} of=/proc/${1:-${process#/proc/}}
if [ ! -d "$of" ]; then echo "there is no process $pid" >&2; exit 77; fi
java=; if grep -q /libjvm.so "$of/maps" 2>/dev/null; then java=yes; fi
has() { command -v "$1" >/dev/null; }
lacks() { echo "the image has no $1" >&2; exit 127; }
# Most of a memory is zeros.
pack() { if has gzip; then tar -cf - "$@" | gzip -1; else tar -cf - "$@"; fi; }
"#;

/// gdb reads what the target's files say of its symbols; of what they would have it run, nothing.
const CORE: &str = r#"
has gdb || lacks gdb
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT; trap 'exit 1' HUP INT TERM
gdb -nx -batch -iex 'set auto-load off' -iex "set sysroot $of/root" -p "$pid" -ex "generate-core-file $folder/$2" </dev/null >"$folder/said" 2>&1
if [ ! -s "$folder/$2" ]; then tail -n 5 "$folder/said" >&2; exit 1; fi
# What is in a memory is nobody else's business here, nor where it goes.
chmod 600 "$folder/$2"
pack -C "$folder" -- "$2""#;

/// The machine writes the file, as its own user, where it has a `/tmp`.
const HEAP: &str = r#"
[ -n "$java" ] || { echo "process $pid is no Java virtual machine: --kind=core takes the memory of any process" >&2; exit 1; }
has jattach || has jcmd || lacks jattach
folder=$of/root/tmp name=$2
trap 'rm -f "$folder/$name"' EXIT; trap 'exit 1' HUP INT TERM
if has jattach; then said=$(jattach "$pid" dumpheap "/tmp/$name" 2>&1); else said=$(jcmd "$pid" GC.heap_dump "/tmp/$name" 2>&1); fi
if [ ! -s "$folder/$name" ]; then echo "$said" >&2; exit 1; fi
pack -C "$folder" -- "$name""#;

/// Of a Java virtual machine in its own words, of others in gdb's.
const THREADS: &str = r#"
if [ -n "$java" ] && has jattach; then
  said=$(jattach "$pid" threaddump 2>&1) || { echo "$said" >&2; exit 1; }
  # Two lines are about jattach itself.
  echo "$said" | sed -e '/^Connected to remote JVM$/d' -e '/^JVM response code = 0$/d'
  exit
fi
if [ -n "$java" ] && has jcmd; then exec jcmd "$pid" Thread.print </dev/null; fi
has gdb || { [ -n "$java" ] && lacks jattach || lacks gdb; }
said=$(gdb -nx -batch -iex 'set auto-load off' -iex "set sysroot $of/root" -p "$pid" -ex 'thread apply all bt' 2>&1 </dev/null)
case $said in *"Thread "*) echo "$said" ;; *) echo "$said" | tail -n 5 >&2; exit 1 ;; esac"#;

impl Dump {
    /// Sends it to standard output: of [`Dump::Threads`] text, else a tar of one file of this name, which may be packed by gzip.
    pub fn command(self, processes: &Processes, pid: Option<u32>, file: &str) -> Vec<String> {
        let script = match self {
            Dump::Core => CORE,
            Dump::Heap => HEAP,
            Dump::Threads => THREADS,
        };
        let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
        with_process(processes, &format!("{PROCESS}{script}"), &[&pid, file])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scripts are played by this machine's shell, for a process of its own.
    fn play(dump: Dump, pid: u32) -> (Option<i32>, String) {
        let words = dump.command(&Processes::Joined, Some(pid), "x");
        let script = words[2].split_once("\nshift\n").unwrap().1;
        let shell = std::process::Command::new("sh").args(["-c", script, "sh", &pid.to_string(), "x"]).output();
        let shell = shell.unwrap();
        (shell.status.code(), String::from_utf8_lossy(&shell.stderr).into_owned())
    }

    #[test]
    fn what_is_no_process_and_what_is_no_java_is_told() {
        let itself = std::process::id();
        let (code, said) = play(Dump::Core, u32::MAX);
        assert_eq!((code, said.as_str()), (Some(77), "there is no process 4294967295\n"));
        let (code, said) = play(Dump::Heap, itself);
        assert_eq!(code, Some(1));
        assert!(said.contains("is no Java virtual machine"), "{said}");
    }

    #[test]
    fn the_process_and_the_files_name_are_given_to_the_script() {
        let words = Dump::Core.command(&Processes::Shared("abc".to_owned()), None, "core.7");
        assert_eq!(words[3..], ["sh", "abc", "", "core.7"]);
    }
}
