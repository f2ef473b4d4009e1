//! A client of exec and attach sessions.

use remora_streaming::{Reader, Stdio, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::HANGS;

/// The other ends of a session's streams.
pub(crate) struct Client {
    pub(crate) stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    seen: String,
}

impl Client {
    /// With or without input; with a terminal there is no standard error.
    pub(crate) fn new(stdin: bool, tty: bool) -> (Self, Stdio) {
        let pipe = || tokio::io::duplex(64 << 10);
        let ((input, its_input), (output, its_output), (errors, its_errors)) = (pipe(), pipe(), pipe());
        let stdio = Stdio {
            stdin: stdin.then(|| Box::new(its_input) as Reader),
            stdout: Some(Box::new(its_output) as Writer),
            stderr: (!tty).then(|| Box::new(its_errors) as Writer),
            resize: None,
        };
        (Client { stdin: input, stdout: output, stderr: errors, seen: String::new() }, stdio)
    }

    pub(crate) async fn end_input(&mut self) {
        self.stdin.shutdown().await.unwrap();
    }

    pub(crate) async fn stdout(&mut self) -> String {
        let mut text = String::new();
        tokio::time::timeout(HANGS, self.stdout.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    pub(crate) async fn stderr(&mut self) -> String {
        let mut text = String::new();
        tokio::time::timeout(HANGS, self.stderr.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    /// Reads output until it holds this text, which is then taken off.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            let read = tokio::time::timeout(HANGS, self.stdout.read(&mut buffer)).await;
            let length = read.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen)).unwrap();
            assert!(length > 0, "no {text:?} in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at);
    }
}
