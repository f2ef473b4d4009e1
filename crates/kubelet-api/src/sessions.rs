//! Logs, exec, attach, port-forward and run: each found among the pods, then handed to [`PodStreams`]. Framing is
//! [`remora_streaming`]'s business.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use remora_http::{Body, body, upgrade};
use remora_rules::pod::log::{LogOptions, StreamOptions};
use remora_rules::pod::port_forward::ports_from_query;
use remora_streaming::port_forward::{MOST_PORTS, serve};
use remora_streaming::{
    ExecOptions, ForwardProtocol, Joined, LogOptions as NodeOptions, PodContainer, PodName, PodStreams, Refusal,
    SessionEnd, Stdio, StreamError, Wanted, Work, negotiate, negotiate_forward,
};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::answer;
use crate::endpoint::Target;
use crate::pods::{find, has, text};
use crate::server::Call;

/// What `/run` gives back at most: 16 MiB, CRI's bound for a command that is run to its end.
const MOST_OUTPUT: u64 = 16 << 20;
/// Bytes of output that wait to be read.
const BUFFER: usize = 64 * 1024;

type Refused = Box<Response<Body>>;

fn refuse(code: StatusCode, words: impl Into<String>) -> Refused {
    Box::new(answer::text(code, words.into()))
}

fn either(answered: Result<Response<Body>, Refused>) -> Response<Body> {
    answered.unwrap_or_else(|refused| *refused)
}

fn query(call: &Call) -> Vec<(String, String)> {
    form_urlencoded::parse(call.head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

fn pairs(query: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn container(pod: &Value, name: &str) -> PodContainer {
    let PodName { namespace, pod, uid } = pod_name(pod);
    PodContainer { namespace, pod, uid, container: name.to_owned() }
}

fn pod_name(pod: &Value) -> PodName {
    let [namespace, pod, uid] =
        ["/metadata/namespace", "/metadata/name", "/metadata/uid"].map(|path| text(pod, path).to_owned());
    PodName { namespace, pod, uid }
}

/// `/containerLogs/…`
pub(crate) async fn logs(call: &Call, target: &Target) -> Response<Body> {
    let answered = async {
        let options = log_options(call)?;
        let name = &target.pod;
        let missing = || refuse(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist"));
        let pod = call.agent().pod(&target.namespace, name).ok_or_else(missing)?;
        if !has(&pod, &target.container) {
            let words = format!("container {:?} not found in pod {name:?}", target.container);
            return Err(refuse(StatusCode::NOT_FOUND, words));
        }
        let at = container(&pod, &target.container);
        let chunks = call.state.config.streams.logs(&at, options).await;
        let chunks = chunks.map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
        let body = body::until_shutdown(body::stream(chunks), call.connection.shutdown().clone());
        Ok(answer::with_type(StatusCode::OK, "text/plain", body))
    };
    either(answered.await)
}

/// `tail` is an older name of `tailLines`, where `all` is none.
fn log_options(call: &Call) -> Result<NodeOptions, Refused> {
    let mut query = query(call);
    let tail = query.iter().find(|(name, _)| name == "tail").map(|(_, value)| value.clone());
    if let Some(tail) = tail {
        query.retain(|(name, _)| name != "tailLines");
        if tail != "all" {
            query.push(("tailLines".to_owned(), tail));
        }
    }
    let read = LogOptions::from_query("", pairs(&query)).map_err(|status| match status.code {
        422 => refuse(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#),
        _ => refuse(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#),
    })?;
    Ok(node_options(&read, (call.state.config.clock)()))
}

fn node_options(asked: &LogOptions, now: Timestamp) -> NodeOptions {
    let unsigned = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    NodeOptions {
        since: asked.since(now),
        tail_lines: unsigned(asked.tail_lines),
        limit_bytes: unsigned(asked.limit_bytes),
        follow: asked.follow,
        previous: asked.previous,
        timestamps: asked.timestamps,
        stream: None,
    }
}

/// `/exec/…`
pub(crate) fn exec(call: &Call, target: &Target) -> Response<Body> {
    either(join(call, target, |options| {
        let (command, tty) = (options.command.clone(), options.tty);
        if command.is_empty() {
            return Err(refuse(StatusCode::BAD_REQUEST, "you must specify at least one command to execute"));
        }
        Ok(Work::Exec(ExecOptions { command, tty }))
    }))
}

/// `/attach/…`
pub(crate) fn attach(call: &Call, target: &Target) -> Response<Body> {
    either(join(call, target, |_| Ok(Work::Attach)))
}

fn join(
    call: &Call,
    target: &Target,
    work: impl FnOnce(&StreamOptions) -> Result<Work, Refused>,
) -> Result<Response<Body>, Refused> {
    let options = stream_options(&query(call));
    options.check_streams().map_err(|status| refuse(StatusCode::BAD_REQUEST, status.message))?;
    let pod = find(call, target)?;
    let work = work(&options)?;
    if !has(&pod, &target.container) {
        return Err(refuse(StatusCode::NOT_FOUND, format!("container not found ({:?})", target.container)));
    }
    let accepted = negotiate(&call.head.headers).map_err(|refusal| no_upgrade(&refusal))?;
    let wanted = Wanted { stdin: options.stdin, stdout: options.stdout, stderr: options.stderr, tty: options.tty };
    let response = accepted.response(body::empty());
    let (streams, at) = (Arc::clone(&call.state.config.streams), container(&pod, &target.container));
    let joined = Joined { streams, at, work, wanted, accepted };
    spawn(call, async move |io| joined.run(io).await);
    Ok(response)
}

/// What kube-apiserver asks a kubelet for has other names than what it is asked for (core/v1: `ExecStdinParam` = `input`, …). Both are understood.
fn stream_options(query: &[(String, String)]) -> StreamOptions {
    StreamOptions::from_query(pairs(query).map(|(name, value)| match name {
        "input" => ("stdin", value),
        "output" => ("stdout", value),
        "error" => ("stderr", value),
        other => (other, value),
    }))
}

/// `/portForward/…`
pub(crate) fn port_forward(call: &Call, target: &Target) -> Response<Body> {
    either(forward(call, target))
}

fn forward(call: &Call, target: &Target) -> Result<Response<Body>, Refused> {
    // The kubelet's own parameter is `port`; the API server's is `ports`.
    let mut query = query(call);
    query.iter_mut().filter(|(name, _)| name == "port").for_each(|(name, _)| *name = "ports".to_owned());
    let bad = |words: String| refuse(StatusCode::BAD_REQUEST, words);
    let ports = ports_from_query(pairs(&query)).map_err(|status| bad(status.message))?;
    let pod = find(call, target)?;
    let accepted = negotiate_forward(&call.head.headers).map_err(|refusal| no_upgrade(&refusal))?;
    if accepted.protocol() == ForwardProtocol::Channels && ports.is_empty() {
        return Err(bad("query parameter \"port\" is required".to_owned()));
    }
    if ports.len() > MOST_PORTS {
        return Err(bad(format!("{} ports are more than the {MOST_PORTS} of one request", ports.len())));
    }
    let response = accepted.response(body::empty());
    let (at, streams) = (pod_name(&pod), Arc::clone(&call.state.config.streams));
    spawn(call, async move |io| serve(io, accepted.protocol(), &ports, at, streams).await);
    Ok(response)
}

/// Goes on once the 101 is sent, on a task that outlives the request.
fn spawn<F>(call: &Call, work: impl FnOnce(upgrade::Upgraded) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let mut request = Request::new(());
    *request.extensions_mut() = call.head.extensions.clone();
    call.connection.spawn(async move {
        match upgrade::on(request).await {
            Ok(io) => work(io).await,
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "a session's upgrade failed"),
        }
    });
}

fn no_upgrade(refusal: &Refusal) -> Refused {
    let mut response = answer::text(refusal.status(), refusal.to_string());
    response.headers_mut().extend(refusal.headers());
    Box::new(response)
}

/// `/run/…`: a command to its end, without input; its words are parted by spaces.
pub(crate) async fn run(call: &Call, target: &Target) -> Response<Body> {
    either(run_to_end(call, target).await)
}

async fn run_to_end(call: &Call, target: &Target) -> Result<Response<Body>, Refused> {
    let pod = find(call, target)?;
    let query = query(call);
    let words = pairs(&query).find(|(name, _)| *name == "cmd").map(|(_, value)| value).unwrap_or_default();
    let command: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let at = container(&pod, &target.container);
    let (output, end) = collect(call.state.config.streams.as_ref(), &at, command).await;
    match end {
        Ok(SessionEnd::Exited(0)) => Ok(answer::with_type(StatusCode::OK, "application/json", body::full(output))),
        Ok(SessionEnd::Exited(code)) => Err(failed(format!("command exited with {code}"), &output)),
        Ok(SessionEnd::Detached) => Err(failed("the command's output is longer than 16 MiB".to_owned(), &output)),
        Err(error) => Err(failed(error.to_string(), &output)),
    }
}

fn failed(why: String, output: &[u8]) -> Refused {
    let output = String::from_utf8_lossy(output);
    refuse(StatusCode::INTERNAL_SERVER_ERROR, if output.is_empty() { why } else { format!("{why}: {output}") })
}

/// What a command says on both of its outputs; one that says too much is left alone.
async fn collect(
    streams: &dyn PodStreams,
    at: &PodContainer,
    command: Vec<String>,
) -> (Vec<u8>, Result<SessionEnd, StreamError>) {
    let (stdout, out) = tokio::io::duplex(BUFFER);
    let (stderr, err) = tokio::io::duplex(BUFFER);
    let stdio = Stdio { stdout: Some(Box::new(stdout)), stderr: Some(Box::new(stderr)), ..Stdio::default() };
    let running = streams.exec(at, ExecOptions { command, tty: false }, stdio);
    let read = async |from: tokio::io::DuplexStream| {
        let mut text = Vec::new();
        // A pipe of this process breaks only when its other end is dropped: that is its end.
        let _ended = from.take(MOST_OUTPUT).read_to_end(&mut text).await;
        text
    };
    let (end, mut output, more) = tokio::join!(running, read(out), read(err));
    output.extend(more);
    let is_whole = (output.len() as u64) < MOST_OUTPUT;
    (output, if is_whole { end } else { end.and(Ok(SessionEnd::Detached)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_joins_is_understood_by_both_names() {
        let read = |query: &str| {
            let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            stream_options(&query)
        };
        let expected = StreamOptions {
            command: vec!["ls".to_owned(), "-l".to_owned()],
            stdin: true,
            stdout: true,
            tty: true,
            ..StreamOptions::default()
        };
        assert_eq!(read("command=ls&command=-l&input=1&output=1&tty=1"), expected);
        assert_eq!(read("command=ls&command=-l&stdin=true&stdout=true&tty=true"), expected);
        assert!(read("error=1").stderr);
    }
}
