//! Service account tokens, bound to their pod and asked for from the API.
//!
//! Source: kubernetes `pkg/kubelet/token/token_manager.go`: a token is asked for anew when 80 % of its life, or 24 h, are over.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;

use super::VolumeError;
use crate::context::{Context, id_of};

const LONGEST_USE: SignedDuration = SignedDuration::from_hours(24);

/// A token and when to ask for the next.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) refresh: Timestamp,
}

/// Asks the API for a token as the projection describes it.
pub(super) async fn request(
    context: &Context,
    pod: &Pod,
    projection: &ServiceAccountTokenProjection,
) -> Result<Token, VolumeError> {
    let id = id_of(pod);
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).filter(|a| !a.is_empty());
    let api: Api<ServiceAccount> = Api::namespaced(context.config.client.clone(), id.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: projection.audience.clone().into_iter().filter(|a| !a.is_empty()).collect(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(id.name.to_owned()),
                uid: Some(id.uid.to_owned()),
            }),
            expiration_seconds: Some(projection.expiration_seconds.unwrap_or(3600)),
        },
        ..TokenRequest::default()
    };
    let asked = context.now();
    let answer = api.create_token_request(account.unwrap_or("default"), &PostParams::default(), &request).await;
    let answer = answer.map_err(|e| VolumeError::Token(lookup_words(&e)))?;
    let status = answer.status.ok_or_else(|| VolumeError::Token("the answer has no token".to_owned()))?;
    Ok(Token { text: status.token, refresh: refresh_at(asked, status.expiration_timestamp.0) })
}

fn refresh_at(asked: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(asked);
    asked.saturating_add((life * 4 / 5).min(LONGEST_USE)).unwrap_or(expires)
}

fn lookup_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_its_life_or_a_day() {
        let asked = Timestamp::UNIX_EPOCH;
        for (life, expected) in [(3600, 2880), (3607, 2885), (400_000, 86_400)] {
            let expires = asked + SignedDuration::from_secs(life);
            assert_eq!(refresh_at(asked, expires).as_second(), expected);
        }
    }
}
