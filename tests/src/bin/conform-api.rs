//! `cargo xtask conform api`: plays recorded requests against the API server of a kubeconfig, whosever it is, and compares the answers with
//! those of kube-apiserver v1.34.4. It needs a node that runs pods, the images `k8s.gcr.io/pause:3.1` and `busybox`, and an admin's rights.
//! It works in namespaces of its own, which it deletes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Parser;
use futures::{AsyncBufReadExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use remora_testkit::recorded::{Case, at};
use serde_json::{Value, json};

const CASES: &str = include_str!("../../../crates/apiserver/tests/data/cases.json");
const ANSWERS: &str = include_str!("../../../crates/apiserver/tests/data/exchanges.json");
/// How long a pod may take to run, or an account to be made.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a change is tried that meets another writer.
const TRIES: usize = 10;

#[derive(Parser)]
struct Arguments {
    /// Whose API server; without it that of KUBECONFIG.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Also the cases that pass.
    #[arg(short, long)]
    verbose: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let player = Player { client: client(arguments.kubeconfig).await?, namespace: format!("replay-a-{seconds}") };
    player.prepare().await?;
    let played = player.play(arguments.verbose).await;
    let gone = player.send("DELETE", &format!("/api/v1/namespaces/{}", player.namespace), None).await;
    let (passed, failed) = played?;
    gone?;
    show(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<Client> {
    let mut config = match kubeconfig {
        None => kube::Config::infer().await.context("reading KUBECONFIG")?,
        Some(path) => {
            let shown = path.display().to_string();
            let read = Kubeconfig::read_from(path).with_context(|| format!("reading {shown}"))?;
            let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            config.with_context(|| format!("using {shown}"))?
        }
    };
    // A 504 is an answer here, not to be asked again until it is another.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

#[expect(clippy::print_stdout, reason = "a report is printed")]
fn show(line: &str) {
    println!("{line}");
}

struct Player {
    client: Client,
    namespace: String,
}

struct Answer {
    code: u16,
    warning: Option<String>,
    body: Value,
}

impl Player {
    /// A namespace whose default account is there.
    async fn prepare(&self) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let made = self.send("POST", "/api/v1/namespaces", Some(namespace.to_string())).await?;
        if made.code != 201 {
            bail!("making namespace {}: {}", self.namespace, made.body);
        }
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.namespace);
        self.wait(&account, "metadata.name", &"default".into()).await
    }

    async fn play(&self, verbose: bool) -> Result<(usize, usize)> {
        let answers: Vec<Value> = serde_json::from_str(ANSWERS)?;
        let (mut passed, mut failed) = (0, 0);
        for (case, recorded) in Case::read(CASES, &self.namespace)?.iter().zip(&answers) {
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
                self.wait(path, place, expected).await.with_context(|| format!("after {:?}", case.title()))?;
            }
        }
        Ok((passed, failed))
    }

    /// What is compared of the answer.
    async fn ask(&self, case: &Case) -> Result<Value> {
        let now = match case.edited() {
            None => None,
            Some(path) => Some(self.send("GET", path, None).await?.body),
        };
        let mut request = http::Request::builder().method(case.method()).uri(case.path());
        request = request.header("accept", case.accept()).header("content-type", case.content_type());
        for (name, value) in case.headers() {
            request = request.header(name, value);
        }
        let answer = self.answer(request.body(case.body(now).unwrap_or_default().into_bytes().into())?).await?;
        Ok(case.essence(answer.code, answer.warning.as_deref(), &answer.body, &self.namespace))
    }

    async fn send(&self, method: &str, path: &str, body: Option<String>) -> Result<Answer> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.answer(request.body(body.unwrap_or_default().into_bytes().into())?).await
    }

    async fn answer(&self, request: http::Request<Body>) -> Result<Answer> {
        let response = self.client.send(request).await?;
        let code = response.status().as_u16();
        let warnings: Vec<&str> =
            response.headers().get_all("warning").iter().filter_map(|w| w.to_str().ok()).collect();
        let warning = Some(warnings.join(", ")).filter(|all| !all.is_empty());
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = || json!({"raw": String::from_utf8_lossy(&bytes)});
        Ok(Answer { code, warning, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) })
    }

    /// Watches the object until the value at a place is this one.
    async fn wait(&self, path: &str, place: &str, expected: &Value) -> Result<()> {
        let (collection, name) = path.rsplit_once('/').context("a path without a name")?;
        let seconds = PATIENCE.as_secs();
        let uri = format!("{collection}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={seconds}");
        let request = http::Request::get(uri).body(Vec::new())?;
        let mut lines = self.client.request_stream(request).await?.lines();
        while let Some(line) = lines.try_next().await? {
            let event: Value = serde_json::from_str(&line)?;
            if at(&event["object"], place) == expected {
                return Ok(());
            }
        }
        bail!("{path} has not come to have {place} = {expected} within {seconds} s")
    }
}
