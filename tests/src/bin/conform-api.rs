//! `cargo xtask conform api`: plays recorded requests against the API server of a kubeconfig, whosever it is, and compares the answers with
//! those of kube-apiserver v1.34.4. It needs a node that runs pods, the images `k8s.gcr.io/pause:3.1` and `busybox`, and an admin's rights.
//! It works in namespaces of its own, which it deletes.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use remora_testkit::recorded::Case;
use remora_tests::cluster::{ApiServer, Asked, judge, show};
use serde_json::Value;

const CASES: &str = include_str!("../../../crates/apiserver/tests/data/cases.json");
const ANSWERS: &str = include_str!("../../../crates/apiserver/tests/data/exchanges.json");
/// How often a change is tried that meets another writer.
const TRIES: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let play = async |server: &ApiServer, namespace: &str, verbose| Player { server, namespace }.play(verbose).await;
    judge(Asked::parse(), "replay-a", play).await
}

struct Player<'a> {
    server: &'a ApiServer,
    namespace: &'a str,
}

impl Player<'_> {
    async fn play(&self, verbose: bool) -> Result<(usize, usize)> {
        let answers: Vec<Value> = serde_json::from_str(ANSWERS)?;
        let (mut passed, mut failed) = (0, 0);
        for (case, recorded) in Case::read(CASES, self.namespace)?.iter().zip(&answers) {
            let mut got = self.ask(case).await.with_context(|| format!("playing {:?}", case.title()))?;
            // What is put back was read before: the node may have written a status in between, as it may on any cluster.
            let mut tries = 1;
            while case.edited().is_some() && got["code"] == 409 && recorded["answer"]["code"] != 409 && tries < TRIES {
                got = self.ask(case).await?;
                tries += 1;
            }
            if got == recorded["answer"] {
                passed += 1;
                if verbose {
                    show(&format!("ok   {}", case.title()));
                }
            } else {
                failed += 1;
                show(&format!("FAIL {}\n  want {}\n  got  {got}", case.title(), recorded["answer"]));
            }
            if let Some((path, place, expected)) = case.wait() {
                self.server.wait(path, place, expected).await.with_context(|| format!("after {:?}", case.title()))?;
            }
        }
        Ok((passed, failed))
    }

    /// What is compared of the answer.
    async fn ask(&self, case: &Case) -> Result<Value> {
        let now = match case.edited() {
            None => None,
            Some(path) => Some(self.server.send("GET", path, None).await?.body),
        };
        let mut request = http::Request::builder().method(case.method()).uri(case.path());
        request = request.header("accept", case.accept()).header("content-type", case.content_type());
        for (name, value) in case.headers() {
            request = request.header(name, value);
        }
        let answer = self.server.answer(request.body(case.body(now).unwrap_or_default().into_bytes().into())?).await?;
        Ok(case.essence(answer.code, answer.warning.as_deref(), &answer.body, self.namespace))
    }
}
