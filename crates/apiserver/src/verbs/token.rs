//! POST to `serviceaccounts/NAME/token`: a signed token for an account, perhaps bound to a pod or secret (upstream:
//! `pkg/registry/core/serviceaccount/storage/token.go`).

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use remora_http::Body;
use remora_model::status::Qualified;
use remora_model::{FieldError, ObjectKey, Path, Status, kinds};
use remora_rules::rbac::node;
use remora_rules::time;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::authz;
use crate::auth::token::{Bound, Claims, ISSUER, Reference, issue};
use crate::request::WriteOptions;
use crate::server::{Call, State};
use crate::{body, response};

/// The shortest life, in seconds.
const SHORTEST: i64 = 600;
/// The longest, in seconds.
const LONGEST: i64 = 1 << 32;
/// For whoever asks for none, in seconds.
const DEFAULT_LIFE: i64 = 3600;

/// A token request with its token.
pub async fn answer(
    call: &Call,
    key: &ObjectKey,
    options: &WriteOptions,
    body: Body,
) -> Result<Response<Body>, Status> {
    let state = &call.state;
    let mut request = body::of_subresource(call, key.kind, "token", body).await?;
    let life = life(&request)?;
    let account = state.objects().require(key).await?.decoded();
    let bound = bound(state, key, &account, &request).await?;
    if let Some(own) = authz::node_of(&call.user) {
        let other = bound.pod.as_ref().map(|_| bound.node.as_ref().map_or("", |node| node.name.as_str()));
        node::check_token(own, other).map_err(|why| Status::forbidden(key.kind.resource(), &key.name, why))?;
    }
    let now = state.now();
    let claims = claims(key, &request, bound, now, life);
    let token = match options.dry_run {
        true => String::new(),
        false => issue(state.key(), &claims).ok_or_else(|| Status::internal("the token could not be signed"))?,
    };
    let ends = Timestamp::from_second(claims.exp).unwrap_or(now);
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["metadata"] = json!({
        "name": key.name,
        "namespace": key.namespace,
        "creationTimestamp": time::seconds(now),
    });
    request["spec"]["audiences"] = json!(claims.aud);
    request["spec"]["expirationSeconds"] = life.into();
    request["status"] = json!({"token": token, "expirationTimestamp": time::seconds(ends)});
    Ok(response::json(StatusCode::CREATED, &request))
}

fn life(request: &Value) -> Result<i64, Status> {
    let life = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_LIFE);
    let why = match life {
        i64::MIN..SHORTEST => "may not specify a duration less than 10 minutes",
        LONGEST.. => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(life),
    };
    let at = Path::new("spec");
    let error = FieldError::invalid(&at.child("expirationSeconds"), life, why);
    Err(Status::invalid(Qualified::new("authentication.k8s.io", "TokenRequest"), "", &[error]))
}

fn claims(key: &ObjectKey, request: &Value, bound: Bound, now: Timestamp, life: i64) -> Claims {
    let asked = request.pointer("/spec/audiences").and_then(Value::as_array);
    let aud: Vec<String> = asked.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let begins = now.as_second();
    let namespace = key.namespace.as_deref().unwrap_or_default();
    Claims {
        aud: if aud.is_empty() { vec![ISSUER.to_owned()] } else { aud },
        exp: now.checked_add(SignedDuration::from_secs(life)).map_or(begins, Timestamp::as_second),
        iat: begins,
        iss: ISSUER.to_owned(),
        jti: Uuid::new_v4().to_string(),
        bound,
        nbf: begins,
        sub: format!("system:serviceaccount:{namespace}:{}", key.name),
    }
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn reference(object: &Value) -> Reference {
    Reference { name: text(object, "/metadata/name").to_owned(), uid: text(object, "/metadata/uid").to_owned() }
}

/// What the token lives and dies with.
async fn bound(state: &State, key: &ObjectKey, account: &Value, request: &Value) -> Result<Bound, Status> {
    let namespace = key.namespace.clone().unwrap_or_default();
    let mut bound = Bound { namespace, node: None, pod: None, secret: None, serviceaccount: reference(account) };
    let Some(asked) = request.pointer("/spec/boundObjectRef").filter(|asked| !asked.is_null()) else {
        return Ok(bound);
    };
    let object = match (text(asked, "/apiVersion"), text(asked, "/kind")) {
        ("v1", kind @ ("Pod" | "Secret")) => {
            let plural = if kind == "Pod" { "pods" } else { "secrets" };
            let at = ObjectKey::new(kinds::core(plural), key.namespace.as_deref(), text(asked, "/name"));
            state.objects().require(&at).await?.decoded()
        }
        (version, kind) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to {version} {kind}",
                key.name
            )));
        }
    };
    let wanted = text(asked, "/uid");
    let is = text(&object, "/metadata/uid");
    if !wanted.is_empty() && wanted != is {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict(Qualified::core(text(asked, "/kind")), text(asked, "/name"), &why));
    }
    if text(asked, "/kind") == "Secret" {
        bound.secret = Some(reference(&object));
        return Ok(bound);
    }
    if text(&object, "/spec/serviceAccountName") != key.name {
        let message = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            key.name
        );
        return Err(Status::bad_request(message));
    }
    bound.node = node_named(state, text(&object, "/spec/nodeName")).await?;
    bound.pod = Some(reference(&object));
    Ok(bound)
}

async fn node_named(state: &State, name: &str) -> Result<Option<Reference>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = state.objects().get(&ObjectKey::new(kinds::core("nodes"), None, name)).await?;
    let uid = found.map(|node| text(&node.decoded(), "/metadata/uid").to_owned()).unwrap_or_default();
    Ok(Some(Reference { name: name.to_owned(), uid }))
}
