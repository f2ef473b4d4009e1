//! Access reviews and identity reviews: questions that are answered from the authorizer and the authenticator, and kept
//! nowhere (upstream: `pkg/registry/authorization`, `pkg/registry/authentication`).

use http::{Response, StatusCode};
use remora_http::{Body, User};
use remora_model::{FieldError, Path, Status};
use remora_rules::decode::Decoded;
use serde_json::{Value, json};

use crate::auth::authn;
use crate::auth::authz::{self, AUTHENTICATED, Attributes};
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
        "SelfSubjectRulesReview" => rules_review(call),
        "SelfSubjectAccessReview" => access(&review, what, &call.user)?,
        _ => {
            check_namespace(&review, what)?;
            access(&review, what, &subject(&review, what)?)?
        }
    };
    review["status"] = status;
    let metadata = review.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.retain(|_, value| !value.is_null());
    } else {
        review["metadata"] = json!({});
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

fn access(review: &Value, what: &Collection, user: &User) -> Result<Value, Status> {
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
    let decision = authz::decide(user, &attributes);
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

/// What the user may do, as a list.
fn rules_review(call: &Call) -> Value {
    let is_master = call.user.groups.iter().any(|g| g == authz::MASTERS);
    let is_known = call.user.groups.iter().any(|g| g == AUTHENTICATED);
    let mut resources = Vec::new();
    let mut paths = Vec::new();
    if is_master {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    if is_known {
        let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
        resources.push(json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": reviews}));
        let own =
            json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]});
        resources.push(own);
    }
    for rule in authz::rules_of(&call.user) {
        resources.push(json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources}));
    }
    let public =
        ["/healthz", "/livez", "/readyz", "/version", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
    paths.push(json!({"verbs": ["get"], "nonResourceURLs": public}));
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
