//! `/healthz`, `/livez`, `/readyz` and `/metrics`. The checks are few: that we answer, and that the store does.

use http::{Response, StatusCode};
use remora_http::Body;
use remora_model::Status;

use crate::objects::store_status;
use crate::response;
use crate::server::Call;

/// The name of the check of the store; kube-apiserver's, so that probes written for it work.
const STORE: &str = "etcd";

/// One check, or all.
pub async fn answer(call: &Call, check: Option<&str>, verbose: bool) -> Result<Response<Body>, Status> {
    let path = call.parts.uri.path().trim_matches('/').split('/').next().unwrap_or_default().to_owned();
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let names = match check {
        None => vec!["ping", STORE],
        Some("ping") => vec!["ping"],
        Some(STORE) => vec![STORE],
        Some(_) => return Err(Status::no_such_resource()),
    };
    let mut lines = String::new();
    let mut failed = false;
    for name in names {
        if excluded.contains(&name) {
            lines += &format!("[+]{name} excluded: ok\n");
        } else if name == STORE && call.state.objects().store().revision().await.is_err() {
            failed = true;
            lines += &format!("[-]{name} failed: reason withheld\n");
        } else {
            lines += &format!("[+]{name} ok\n");
        }
    }
    Ok(match (failed, verbose) {
        (true, _) => response::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{path} check failed\n")),
        (false, true) => response::text(StatusCode::OK, format!("{lines}{path} check passed\n")),
        (false, false) => response::text(StatusCode::OK, "ok"),
    })
}

/// What is counted.
pub async fn metrics(call: &Call) -> Result<Response<Body>, Status> {
    let revision = call.state.objects().store().revision().await.map_err(|error| store_status(&error))?;
    let text = call.state.metrics().text(revision.0).map_err(Status::internal)?;
    let body = remora_http::body::full(text);
    Ok(response::with_type(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body))
}
