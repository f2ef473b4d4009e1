//! The demo's web server: what a distroless image holds. Answers every request with its own user id, from a root that it
//! cannot write to. A static binary, compiled by xtask alone.

use std::ffi::c_int;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn _exit(status: c_int) -> !;
    fn getuid() -> u32;
}

extern "C" fn end(_: c_int) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { _exit(0) }
}

fn main() -> std::io::Result<()> {
    // Process 1 of a PID namespace ignores signals that it has no handler for.
    // SAFETY: `end` calls async-signal-safe functions only.
    unsafe { signal(SIGTERM, end) };
    let listener = TcpListener::bind("0.0.0.0:8080")?;
    println!("listening on 8080");
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(answer) {
            eprintln!("a request failed: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    // SAFETY: getuid cannot fail.
    let user = unsafe { getuid() };
    let writable = std::fs::write("/probe", b"").is_ok();
    let body = format!("hello from user {user}, root {}\n", if writable { "writable" } else { "read-only" });
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
