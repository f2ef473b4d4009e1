//! Who asks, and whether they may. A client's certificate is proved by the handshake; a token is looked at by the API server (TokenReview), which
//! also says what anybody may do (SubjectAccessReview). Nobody is anonymous here.
//!
//! No answer is kept: a right that is taken away, or a token whose pod is gone, counts at once. A review is one request to an API server that is near.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use remora_http::{Connection, User};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::endpoint::Asked;

/// The longest token that the API server is asked about: no real one comes near.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Reviews at one time: strangers with made-up tokens must not keep the API server busy.
const REVIEWS: usize = 16;
/// Everyone who was authenticated is in it.
const AUTHENTICATED: &str = "system:authenticated";

/// The API server could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the API server cannot be asked who may do what")]
pub struct AccessError(#[source] pub kube::Error);

/// What somebody wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRight<'a> {
    /// `get`, `create`, …; empty for methods that have none.
    pub verb: &'a str,
    /// `proxy`, `stats`, …
    pub subresource: &'a str,
}

/// The API server's word on tokens and rights.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Whose token it is; none if it is not good.
    async fn token(&self, token: &str) -> Result<Option<User>, AccessError>;
    /// Whether a user may have this of the node.
    async fn may(&self, user: &User, right: NodeRight<'_>) -> Result<bool, AccessError>;
}

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Denied {
    /// 401
    Unknown,
    /// 403, with the words for it.
    Forbidden(String),
    /// 500
    Failed(AccessError, String),
}

/// Lets a request pass, or not.
pub(crate) async fn admit(
    access: &dyn Access,
    connection: &Connection,
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<User, Denied> {
    let user = authenticate(access, connection, headers).await?;
    for subresource in asked.rights {
        let (name, verb) = (&user.name, asked.verb);
        let allowed = access.may(&user, NodeRight { verb, subresource }).await.map_err(|error| {
            let about = format!("user={name}, verb={verb}, resource=nodes, subresource={subresource}");
            Denied::Failed(error, format!("Authorization error ({about})"))
        })?;
        if allowed {
            return Ok(user);
        }
    }
    let rights = asked.rights.join(" ");
    let about = format!("user={}, verb={}, resource=nodes, subresource(s)=[{rights}]", user.name, asked.verb);
    Err(Denied::Forbidden(format!("Forbidden ({about})\n")))
}

async fn authenticate(access: &dyn Access, connection: &Connection, headers: &HeaderMap) -> Result<User, Denied> {
    if let Some(user) = connection.user() {
        return Ok(authenticated(User::clone(user)));
    }
    let token = bearer(headers).filter(|token| token.len() <= LONGEST_TOKEN).ok_or(Denied::Unknown)?;
    match access.token(token).await {
        Ok(Some(user)) => Ok(authenticated(user)),
        Ok(None) => Err(Denied::Unknown),
        Err(error) => Err(Denied::Failed(error, "Unauthorized".to_owned())),
    }
}

fn authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Asks an API server, with a node's rights.
#[derive(Clone)]
pub struct ApiAccess {
    client: kube::Client,
    node: String,
    places: Arc<Semaphore>,
}

impl ApiAccess {
    /// About the node of this name. The client's user must be allowed to create both kinds of reviews, as every node is.
    pub fn new(client: kube::Client, node: impl Into<String>) -> Self {
        Self { client, node: node.into(), places: Arc::new(Semaphore::new(REVIEWS)) }
    }

    /// The review's status.
    async fn review(&self, path: &str, review: &Value) -> Result<Value, AccessError> {
        // The semaphore is never closed; without a place the answer would only come sooner.
        let _place = self.places.acquire().await.ok();
        let request = http::Request::post(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(review.to_string().into_bytes());
        let request = request.map_err(|error| AccessError(kube::Error::HttpError(error)))?;
        let mut answer: Value = self.client.request(request).await.map_err(AccessError)?;
        Ok(answer["status"].take())
    }
}

#[async_trait]
impl Access for ApiAccess {
    async fn token(&self, token: &str) -> Result<Option<User>, AccessError> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let status = self.review("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
        Ok((status["authenticated"] == true).then(|| user(&status["user"])))
    }

    async fn may(&self, user: &User, right: NodeRight<'_>) -> Result<bool, AccessError> {
        let review = access_review(user, right, &self.node);
        let status = self.review("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        Ok(status["allowed"] == true && status["denied"] != true)
    }
}

fn user(shown: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = shown["extra"].as_object().into_iter().flatten();
    User {
        name: shown["username"].as_str().unwrap_or_default().to_owned(),
        uid: shown["uid"].as_str().map(str::to_owned),
        groups: texts(&shown["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

fn access_review(user: &User, right: NodeRight<'_>, node: &str) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "uid": user.uid.as_deref().unwrap_or_default(),
            "groups": user.groups,
            "extra": user.extra,
            "resourceAttributes": {
                "verb": right.verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": right.subresource,
                "name": node,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_tells_all_that_is_known_of_a_user() {
        let shown = json!({
            "username": "system:serviceaccount:a:b",
            "uid": "u",
            "groups": ["system:serviceaccounts"],
            "extra": {"authentication.kubernetes.io/pod-name": ["p"]},
        });
        let user = authenticated(user(&shown));
        let review = access_review(&user, NodeRight { verb: "get", subresource: "stats" }, "n");
        assert_eq!(
            review["spec"],
            json!({
                "user": "system:serviceaccount:a:b",
                "uid": "u",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/pod-name": ["p"]},
                "resourceAttributes": {
                    "verb": "get", "version": "v1", "resource": "nodes", "subresource": "stats", "name": "n",
                },
            })
        );
    }

    #[test]
    fn a_token_is_what_follows_bearer() {
        let check = |value: &'static str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_static(value))]);
            assert_eq!(bearer(&headers), expected, "{value}");
        };
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic abc", None);
        check("Bearer ", None);
        check("Bearer", None);
    }
}
