//! How a session's end is told to its client, on the error channel. Pure; called by [`session`](crate::session), for both carriers.
//! Source of the rules: upstream's `remotecommand` servers (`v4WriteStatusFunc`, `v1WriteStatusFunc`, `ServeExec`).

use serde_json::{Value, json};

use crate::{Protocol, SessionEnd, StreamError};

/// The data of the last message on the error channel; none if there is to be none.
pub(crate) fn last_words(protocol: Protocol, end: &Result<SessionEnd, StreamError>) -> Option<String> {
    let status = status(end);
    match protocol {
        Protocol::V5 | Protocol::V4 => Some(status.to_string()),
        Protocol::V3 | Protocol::V2 | Protocol::V1 => status["message"].as_str().map(str::to_owned),
    }
}

/// The session's end as a `metav1.Status` without kind, as upstream sends it.
fn status(end: &Result<SessionEnd, StreamError>) -> Value {
    let failure = |reason: &str, message: String, code: u16| json!({ "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code });
    match end {
        Ok(SessionEnd::Exited(0) | SessionEnd::Detached) => json!({ "metadata": {}, "status": "Success" }),
        Ok(SessionEnd::Exited(code)) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(StreamError::NotFound(text)) => failure("NotFound", text.clone(), 404),
        Err(StreamError::NotRunning(text) | StreamError::Invalid(text)) => failure("BadRequest", text.clone(), 400),
        Err(StreamError::Internal(text)) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {text}"),
            "reason": "InternalError",
            "details": { "causes": [{ "message": text }] },
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_upstream_tells_them() {
        let check = |end: Result<SessionEnd, StreamError>, status: Value, text: Option<&str>| {
            for protocol in [Protocol::V4, Protocol::V5] {
                let told: Value = serde_json::from_str(&last_words(protocol, &end).unwrap()).unwrap();
                assert_eq!(told, status);
            }
            for protocol in [Protocol::V1, Protocol::V2, Protocol::V3] {
                assert_eq!(last_words(protocol, &end).as_deref(), text);
            }
        };
        let success = json!({"metadata": {}, "status": "Success"});
        check(Ok(SessionEnd::Exited(0)), success.clone(), None);
        check(Ok(SessionEnd::Detached), success, None);
        let text = "command terminated with non-zero exit code: exit status 126";
        let causes = json!([{"reason": "ExitCode", "message": "126"}]);
        check(
            Ok(SessionEnd::Exited(126)),
            json!({"metadata": {}, "status": "Failure", "message": text, "reason": "NonZeroExitCode", "details": {"causes": causes}}),
            Some(text),
        );
        let text = "Internal error occurred: error executing command in container: no shim";
        let cause = "error executing command in container: no shim";
        check(
            Err(StreamError::Internal(cause.into())),
            json!({"metadata": {}, "status": "Failure", "message": text, "reason": "InternalError", "code": 500,
                "details": {"causes": [{"message": cause}]}}),
            Some(text),
        );
        check(
            Err(StreamError::NotFound("no container x".into())),
            json!({"metadata": {}, "status": "Failure", "message": "no container x", "reason": "NotFound", "code": 404}),
            Some("no container x"),
        );
    }
}
