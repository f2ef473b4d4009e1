//! A plain client of any cluster's API server, for those that judge it: what was asked goes out as it is, what came back is shown as it is.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use futures::{AsyncBufReadExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use remora_testkit::recorded::at;
use serde_json::{Value, json};

/// How long a pod may take to run, or an account to be made.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody's API server.
pub struct ApiServer {
    client: kube::Client,
}

/// What it answered.
pub struct Answer {
    /// HTTP's.
    pub code: u16,
    /// The `Warning` headers.
    pub warning: Option<String>,
    /// The JSON, or `{"raw": TEXT}`.
    pub body: Value,
}

impl ApiServer {
    /// That of a kubeconfig file; without one, of KUBECONFIG.
    ///
    /// # Errors
    /// The file does not say whom to ask.
    pub async fn of(kubeconfig: Option<PathBuf>) -> Result<Self> {
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
        Ok(Self { client: kube::Client::try_from(config)? })
    }

    /// Makes a namespace and waits for its default account.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.done("POST", "/api/v1/namespaces", Some(&namespace)).await?;
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        self.wait(&account, "metadata.name", &"default".into()).await
    }

    /// Asks for something that has to succeed; the answer's body.
    ///
    /// # Errors
    /// It did not.
    pub async fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.send(method, path, body.map(Value::to_string)).await?;
        if !(200..300).contains(&answer.code) {
            bail!("{method} {path}: {}", answer.body);
        }
        Ok(answer.body)
    }

    /// Asks with a JSON body or none.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, method: &str, path: &str, body: Option<String>) -> Result<Answer> {
        let content = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", content);
        self.answer(request.body(body.unwrap_or_default().into_bytes().into())?).await
    }

    /// Asks whatever is wanted.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn answer(&self, request: http::Request<Body>) -> Result<Answer> {
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
    ///
    /// # Errors
    /// It has not become so in time.
    pub async fn wait(&self, path: &str, place: &str, expected: &Value) -> Result<()> {
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

/// What a player of recorded cases is told on its command line.
#[derive(clap::Parser)]
#[command(about = "Plays recorded cases against a cluster and compares")]
pub struct Asked {
    /// Whose cluster; without it that of KUBECONFIG.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Also the cases that pass.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Plays in a namespace of its own, which goes also if the cases could not be played, and says how many have passed and failed. `play` is told whether
/// to show also the cases that pass.
///
/// # Errors
/// The cluster does not answer, or `play` fails.
pub async fn judge(
    asked: Asked,
    prefix: &str,
    play: impl AsyncFnOnce(&ApiServer, &str, bool) -> Result<(usize, usize)>,
) -> Result<ExitCode> {
    let (server, namespace) = (ApiServer::of(asked.kubeconfig).await?, of_this_run(prefix)?);
    server.make_namespace(&namespace).await?;
    let played = play(&server, &namespace, asked.verbose).await;
    let gone = server.done("DELETE", &format!("/api/v1/namespaces/{namespace}"), None).await;
    let (passed, failed) = played?;
    gone?;
    Ok(verdict(passed, failed))
}

/// A name that no other run has.
///
/// # Errors
/// The clock stands before 1970.
pub fn of_this_run(prefix: &str) -> Result<String> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    Ok(format!("{prefix}-{seconds}"))
}

/// The last line of every player, and what it ends with.
pub fn verdict(passed: usize, failed: usize) -> ExitCode {
    show(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of a report.
#[expect(clippy::print_stdout, reason = "a report is printed")]
pub fn show(line: &str) {
    println!("{line}");
}
