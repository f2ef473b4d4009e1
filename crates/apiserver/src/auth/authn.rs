//! Who asks: by the connection (client certificate or in-memory connector), else by a service account's bearer token, else
//! nobody. Called by [`crate::server`] for each request, and by token reviews.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use remora_http::{Connection, User};
use remora_model::{ObjectKey, Status, kinds};
use serde::Deserialize;

use super::authz::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use super::token::{Claims, ISSUER, Reference, TokenError};
use crate::server::State;

/// The user of a request, before impersonation.
///
/// # Errors
/// 401 for a bad token.
pub async fn authenticate(state: &State, connection: &Connection, headers: &HeaderMap) -> Result<User, Status> {
    match (connection.user(), bearer(headers)) {
        (Some(user), _) => Ok(with_group(User::clone(user), AUTHENTICATED)),
        (None, Some(text)) => {
            let audiences = [ISSUER.to_owned()];
            let found = check_token(state, text, &audiences).await;
            found.map(|(user, _)| user).map_err(|error| {
                tracing::debug!(%error, "a bearer token was refused");
                Status::unauthorized()
            })
        }
        (None, None) => Ok(User::new(ANONYMOUS, [UNAUTHENTICATED])),
    }
}

fn with_group(mut user: User, group: &str) -> User {
    if !user.groups.iter().any(|g| g == group) {
        user.groups.push(group.to_owned());
    }
    user
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

/// The user of a service account token, and which of the audiences it is meant for.
///
/// # Errors
/// If it is not ours, its time is over, it is meant for others, or what it is bound to is gone.
pub async fn check_token(state: &State, text: &str, audiences: &[String]) -> Result<(User, Vec<String>), TokenError> {
    let claims = state.tokens().verify(state.key(), text, state.now().as_second())?;
    let meant: Vec<String> = audiences.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
    if meant.is_empty() {
        return Err(TokenError::Audience(claims.aud.clone()));
    }
    let account = &claims.bound.serviceaccount;
    check_exists(state, "serviceaccounts", &claims, account).await?;
    if let Some(pod) = &claims.bound.pod {
        check_exists(state, "pods", &claims, pod).await?;
    }
    if let Some(secret) = &claims.bound.secret {
        check_exists(state, "secrets", &claims, secret).await?;
    }
    Ok((account_user(&claims), meant))
}

async fn check_exists(state: &State, plural: &str, claims: &Claims, reference: &Reference) -> Result<(), TokenError> {
    let key = ObjectKey::new(kinds::core(plural), Some(&claims.bound.namespace), &reference.name);
    let found = state.objects().get(&key).await.map_err(|status| TokenError::Lookup(status.message))?;
    let uid = found.and_then(|object| serde_json::from_slice::<Identified>(&object.kv.value).ok());
    match uid {
        Some(object) if object.metadata.uid == reference.uid => Ok(()),
        _ => Err(TokenError::Gone(key.to_string())),
    }
}

/// As much of an object as is needed here, for every request.
#[derive(Deserialize)]
struct Identified {
    metadata: Identity,
}

#[derive(Deserialize)]
struct Identity {
    uid: String,
}

/// The user behind a token, with what upstream tells of its pod.
fn account_user(claims: &Claims) -> User {
    let namespace = &claims.bound.namespace;
    let groups =
        ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), AUTHENTICATED.to_owned()];
    let mut user = User::new(&claims.sub, groups);
    user.uid = Some(claims.bound.serviceaccount.uid.clone());
    let mut tell = |what: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{what}"), vec![value.to_owned()]);
        }
    };
    tell("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &claims.bound.pod {
        tell("pod-name", &pod.name);
        tell("pod-uid", &pod.uid);
    }
    if let Some(node) = &claims.bound.node {
        tell("node-name", &node.name);
        tell("node-uid", &node.uid);
    }
    user
}
