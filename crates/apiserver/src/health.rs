//! `/healthz`, `/livez`, `/readyz` and `/metrics`. The checks are few: that we answer, and that the store does.

use http::{Response, StatusCode};
use remora_http::{Body, body};
use remora_model::Status;
use remora_model::kinds::KINDS;
use remora_store::{Interval, RangeRequest};

use crate::objects::store_status;
use crate::server::Call;
use crate::{encode, response};

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

/// What is counted, and how much is stored.
pub async fn metrics(call: &Call) -> Result<Response<Body>, Status> {
    let (store, metrics) = (call.state.objects().store(), call.state.metrics());
    for kind in KINDS.iter().filter(|kind| encode::storage_kind(kind) == *kind) {
        let Some(prefix) = kind.store_prefix() else { continue };
        let counted = store.range(RangeRequest::new(Interval::prefix(prefix)).limit(1)).await;
        let counted = counted.map_err(|error| store_status(&error))?;
        metrics.stored(kind.group, kind.plural, counted.kvs.len() as u64 + counted.remaining);
    }
    let revision = store.revision().await.map_err(|error| store_status(&error))?;
    let text = metrics.text(revision.0).map_err(Status::internal)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(response::with_type(StatusCode::OK, content_type, body::full(text)))
}
