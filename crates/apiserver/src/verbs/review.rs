//! Access reviews and identity reviews: questions that are answered from the authorizer and the authenticator, and kept
//! nowhere (upstream: `pkg/registry/authorization`, `pkg/registry/authentication`).

use http::{Response, StatusCode};
use remora_http::{Body, User};
use remora_model::text::aggregate;
use remora_model::{FieldError, Path, Status};
use remora_rules::decode::Decoded;
use remora_rules::rbac::access::{Rules, resolution_error};
use remora_rules::rbac::rule;
use serde_json::{Value, json};

use crate::auth::authn;
use crate::auth::authz::{self, Attributes};
use crate::auth::token::ISSUER;
use crate::request::Collection;
use crate::response;
use crate::server::Call;

/// The review with its answer.
pub async fn answer(call: &Call, what: &Collection, decoded: Decoded) -> Result<Response<Body>, Status> {
    let Decoded { object: mut review, warnings } = decoded;
    let status = match what.kind.kind {
        "SelfSubjectReview" => json!({"userInfo": shown(&call.user)}),
        "TokenReview" => token_review(call, &review).await,
        "SelfSubjectRulesReview" => rules_review(call, &review)?,
        "SelfSubjectAccessReview" => access(call, &review, what, &call.user)?,
        _ => {
            check_namespace(&review, what)?;
            access(call, &review, what, &subject(&review, what)?)?
        }
    };
    review["status"] = status;
    let metadata = review.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.retain(|_, value| !value.is_null());
    } else {
        review["metadata"] = json!({});
    }
    if let Some(namespace) = &what.namespace {
        review["metadata"]["namespace"] = namespace.as_str().into();
    }
    let mut response = response::json(StatusCode::CREATED, &review);
    response::warn(&mut response, &warnings);
    Ok(response)
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value, path: &str) -> Vec<String> {
    let list = value.pointer(path).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn access(call: &Call, review: &Value, what: &Collection, user: &User) -> Result<Value, Status> {
    let resource = review.pointer("/spec/resourceAttributes");
    let path = review.pointer("/spec/nonResourceAttributes");
    let attributes = match (resource, path) {
        (Some(of), None) => Attributes::Resource {
            verb: text(of, "/verb"),
            group: text(of, "/group"),
            resource: text(of, "/resource"),
            subresource: text(of, "/subresource"),
            namespace: text(of, "/namespace"),
            name: text(of, "/name"),
        },
        (None, Some(of)) => Attributes::Path { verb: text(of, "/verb"), path: text(of, "/path") },
        _ => {
            let at = Path::new("spec");
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let error = FieldError::invalid(&at.child("resourceAttributes"), Value::Null, why);
            return Err(Status::invalid(what.kind.qualified(), "", &[error]));
        }
    };
    let decision = call.state.authorizer().decide(user, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

/// Whose rights are asked for.
fn subject(review: &Value, what: &Collection) -> Result<User, Status> {
    let mut user = User::new(text(review, "/spec/user"), texts(review, "/spec/groups"));
    if user.name.is_empty() && user.groups.is_empty() {
        let at = Path::new("spec");
        let error = FieldError::invalid(&at.child("user"), "", "at least one of user or group must be specified");
        return Err(Status::invalid(what.kind.qualified(), "", &[error]));
    }
    user.uid = Some(text(review, "/spec/uid").to_owned()).filter(|uid| !uid.is_empty());
    Ok(user)
}

/// A local review asks about its own namespace.
fn check_namespace(review: &Value, what: &Collection) -> Result<(), Status> {
    let Some(namespace) = &what.namespace else { return Ok(()) };
    if text(review, "/spec/resourceAttributes/namespace") == namespace {
        return Ok(());
    }
    let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
    Err(Status::bad_request(message))
}

fn shown(user: &User) -> Value {
    let mut value = json!({"username": user.name, "groups": user.groups});
    if let Some(uid) = &user.uid {
        value["uid"] = uid.as_str().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

async fn token_review(call: &Call, review: &Value) -> Value {
    let mut audiences = texts(review, "/spec/audiences");
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    match authn::check_token(&call.state, text(review, "/spec/token"), &audiences).await {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": shown(&user), "audiences": audiences})
        }
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    }
}

/// What the user may do in a namespace, as a list.
fn rules_review(call: &Call, review: &Value) -> Result<Value, Status> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let Rules { rules, missing } = call.state.authorizer().rules_for(&call.user, namespace);
    let is_node = authz::node_of(&call.user).is_some();
    let resources = rules.iter().filter(|rule| !rule::resources(rule).is_empty()).map(|of| {
        let mut shown = json!({"verbs": of.verbs, "apiGroups": rule::groups(of), "resources": rule::resources(of)});
        if !rule::names(of).is_empty() {
            shown["resourceNames"] = json!(rule::names(of));
        }
        shown
    });
    let paths = rules.iter().filter(|rule| !rule::paths(rule).is_empty());
    let paths = paths.map(|of| json!({"verbs": of.verbs, "nonResourceURLs": rule::paths(of)}));
    let mut status = json!({
        "resourceRules": resources.collect::<Vec<Value>>(),
        "nonResourceRules": paths.collect::<Vec<Value>>(),
        "incomplete": is_node,
    });
    let by_node = is_node.then(|| "node authorizer does not support user rule resolution".to_owned());
    let by_roles = Some(resolution_error(&missing)).filter(|error| !error.is_empty());
    let errors = aggregate(by_node.into_iter().chain(by_roles));
    if !errors.is_empty() {
        status["evaluationError"] = errors.into();
    }
    Ok(status)
}
