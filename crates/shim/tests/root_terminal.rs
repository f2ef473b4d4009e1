//! A container's terminal, on remora-create and on runc: the prompt, line editing by the kernel, job control, sizes, ends.

mod world;

use remora_shim_protocol::{Frame, TerminalSize};
use serde_json::json;
use world::{Runtime, World, on_each};

fn shell(runtime: Runtime) -> World {
    let mut world = World::new(runtime, &["/bin/sh"]).with_tty();
    world.spec["process"]["env"] = json!(["PATH=/bin", "TERM=dumb", "PS1=$ "]);
    world
}

#[test]
fn the_prompt_is_never_missed_and_commands_run() {
    on_each("prompt", |runtime| {
        let mut running = shell(runtime).start();
        let mut client = running.attach();
        client.until("$ ");
        client.stdin("tty; echo $((6*7))\n");
        let seen = client.until("42\r\n$ ");
        assert!(seen.contains("/dev/console") || seen.contains("/dev/pts/0"), "{seen:?}");
        drop(client);
        // The daemon died; another client sees what was shown, and goes on.
        let mut client = running.attach();
        let seen = client.until("42\r\n$ ");
        assert!(seen.contains("BusyBox") && seen.contains("tty; echo"), "{seen:?}");
        client.stdin("exit 9\n");
        assert_eq!(client.until_exit().1.exit_code, 9);
        running.assert_over();
        assert!(running.log().contains(&"stdout F 42".to_owned()), "{:?}", running.log());
    });
}

/// What a terminal of 24 lines and 80 columns shows after this output.
fn screen(output: &str) -> String {
    let mut terminal = vt100::Parser::default();
    terminal.process(output.as_bytes());
    terminal.screen().contents()
}

#[test]
fn whoever_attaches_sees_the_screen_as_it_is_and_all_see_what_comes() {
    on_each("screen", |runtime| {
        let mut world = shell(runtime);
        // Draws over and over, as top does, with a question to the terminal each time; far more than what is kept of output.
        let script = r"i=0; while [ $i -lt 3000 ]; do printf '\033[6n\033[2J\033[3;5Hround %d' $i; i=$((i+1)); done; printf '\033[5;1Hdone'; read go; printf ' and on'; read go";
        world.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        let running = world.start();
        let mut first = running.attach();
        first.until("done");
        let mut second = running.attach();
        let seen = second.until("done");
        assert_eq!(screen(&seen), "\n\n    round 2999\n\ndone");
        assert!(!seen.contains("\x1b[6n"), "a question is asked again: {seen:?}");
        second.stdin("\n");
        first.until(" and on");
        second.until(" and on");
        let mut third = running.attach();
        assert!(screen(&third.until(" and on")).ends_with("done\n and on"));
        first.stdin("\n");
        assert_eq!(first.until_exit().1.exit_code, 0);
        assert_eq!(second.until_exit().1.exit_code, 0);
        assert_eq!(third.until_exit().1.exit_code, 0);
    });
}

#[test]
fn job_control_works() {
    on_each("job control", |runtime| {
        let running = shell(runtime).start();
        let mut client = running.attach();
        let first = client.until("$ ");
        assert!(!first.contains("job control"), "{first:?}");
        // Ctrl-C ends the foreground job and not the shell. (Typed only once the job runs: while the shell edits its line, the key has no such
        // meaning.)
        client.stdin("sh -c 'echo up; exec sleep 1000'\n");
        client.until("up\r\n");
        client.stdin("\x03");
        client.until("$ ");
        client.stdin("echo $?\n");
        client.until("130\r\n$ ");
        // Ctrl-Z stops it; it can be continued.
        client.stdin("sh -c 'echo up; exec cat'\n");
        client.until("up\r\n");
        client.stdin("\x1a");
        client.until("Stopped");
        client.until("$ ");
        client.stdin("fg\n");
        client.until("exec cat");
        client.stdin("hello\n");
        client.until("hello\r\n");
        // Ctrl-D ends cat's input, and on an empty line the shell's.
        client.stdin("\x04");
        client.until("$ ");
        client.stdin("\x04");
        client.until_exit();
    });
}

#[test]
fn the_size_follows_the_client() {
    on_each("resize", |runtime| {
        let running = shell(runtime).start();
        let mut client = running.attach();
        client.until("$ ");
        client.send(&Frame::Resize(TerminalSize { width: 133, height: 44 }));
        client.stdin("stty size\n");
        client.until("44 133\r\n");
        client.stdin("exit\n");
        assert_eq!(client.until_exit().1.exit_code, 0);
    });
}

#[test]
fn a_program_is_told_of_a_new_size() {
    on_each("window change", |runtime| {
        let mut world = shell(runtime);
        let script = "trap 'stty size; exit 4' WINCH; echo set; while :; do sleep 0.01; done";
        world.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        let running = world.start();
        let mut client = running.attach();
        client.until("set\r\n");
        client.send(&Frame::Resize(TerminalSize { width: 90, height: 20 }));
        let (output, record) = client.until_exit();
        assert_eq!((output.as_str(), record.exit_code), ("20 90\r\n", 4));
    });
}

#[test]
fn a_shell_is_left_by_the_end_of_input() {
    on_each("end of input", |runtime| {
        let mut world = shell(runtime);
        world.stdio.stdin_once = true;
        let running = world.start();
        let mut client = running.attach();
        client.until("$ ");
        client.send(&Frame::CloseStdin);
        assert_eq!(client.until_exit().1.exit_code, 0);
    });
}

#[test]
fn the_terminal_belongs_to_the_user() {
    on_each("terminal's owner", |runtime| {
        let mut world = shell(runtime);
        world.spec["process"]["args"] = json!([
            "/bin/sh",
            "-c",
            "read go; echo again > /dev/stdout && ls -ln /proc/self/fd/0 && stat -L -c %u /dev/stdin || busybox stat -L -c %u /dev/stdin"
        ]);
        world.spec["process"]["user"] = json!({ "uid": 4711, "gid": 4711 });
        world.spec["process"]["capabilities"] = json!({});
        let running = world.start();
        let mut client = running.attach();
        client.stdin("\n");
        let (output, record) = client.until_exit();
        assert_eq!(record.exit_code, 0, "{output:?}");
        assert!(output.contains("again\r\n") && output.ends_with("4711\r\n"), "{output:?}");
    });
}
