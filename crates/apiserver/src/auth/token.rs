//! Service-account tokens: JSON web tokens signed with ES256, their claims as Kubernetes' (pkg/serviceaccount/claims.go).
//! Pure but for the signature's randomness. Issued by [`crate::verbs::token`], checked by [`super::authn`], which remembers what it has verified:
//! a signature costs more than most requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use remora_http::Pki;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Who issues our tokens, and whom they are meant for unless asked otherwise.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Longer tokens are not looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How many tokens are remembered: those of a node's pods, and some.
const REMEMBERED: usize = 512;

/// Signs and verifies; the binary passes its [`Pki`].
pub trait TokenKey: Send + Sync + 'static {
    /// r and s of an ES256 signature; none if the system gives no randomness.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>>;
    /// Whether this is our signature.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool;
    /// Names the key: SHA-256 of its public half.
    fn digest(&self) -> [u8; 32];
}

impl TokenKey for Pki {
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.service_account_key().sign(message).ok()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.service_account_key().verify(message, signature)
    }

    fn digest(&self) -> [u8; 32] {
        self.service_account_key().digest()
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom it is meant for.
    pub aud: Vec<String>,
    /// Seconds since the Unix epoch when it ends.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// By whom.
    pub iss: String,
    /// The token's own id.
    pub jti: String,
    /// Whom it stands for, and what it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// From when on it is valid.
    pub nbf: i64,
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub sub: String,
}

/// The objects that a token lives and dies with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where they are.
    pub namespace: String,
    /// The node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod that uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
}

/// An object by name and uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// Why a token is not accepted. Never shown to who sent it: they get 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No JSON web token, or none of ours.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by another key, or not at all.
    #[error("the token's signature is not ours")]
    Signature,
    /// Its time is over, or not yet come.
    #[error("the token is not valid at this time")]
    Time,
    /// Meant for others.
    #[error("the token is meant for {0:?}")]
    Audience(Vec<String>),
    /// What it stands for or is bound to is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// It could not be looked up.
    #[error("cannot look up what the token is bound to: {0}")]
    Lookup(String),
}

fn kid(key: &dyn TokenKey) -> String {
    BASE64.encode(key.digest())
}

/// A signed token; none if it could not be signed.
pub fn issue(key: &dyn TokenKey, claims: &Claims) -> Option<String> {
    let header = Header { alg: "ES256".to_owned(), kid: kid(key) };
    let part = |json: Vec<u8>| BASE64.encode(json);
    let message = format!("{}.{}", part(serde_json::to_vec(&header).ok()?), part(serde_json::to_vec(claims).ok()?));
    let signature = key.sign(message.as_bytes())?;
    Some(format!("{message}.{}", BASE64.encode(signature)))
}

/// The claims of a token of ours, whenever it is valid.
fn verify_signature(key: &dyn TokenKey, token: &str) -> Result<Claims, TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let bytes = |text: &str| BASE64.decode(text).map_err(|_| TokenError::Malformed);
    let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| TokenError::Malformed)?;
    if header.alg != "ES256" || header.kid != kid(key) || !key.verify(message.as_bytes(), &bytes(signature)?) {
        return Err(TokenError::Signature);
    }
    let claims: Claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| TokenError::Malformed)?;
    if claims.iss != ISSUER {
        return Err(TokenError::Malformed);
    }
    Ok(claims)
}

fn check_time(claims: &Claims, now: i64) -> Result<(), TokenError> {
    if now < claims.nbf || now >= claims.exp { Err(TokenError::Time) } else { Ok(()) }
}

/// Verifies tokens, each once: a key's signature of the same bytes stays what it is. Whether it is their time is asked whenever they come.
#[derive(Default)]
pub struct Verifier {
    /// By SHA-256 of the token, so that no token is kept.
    known: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Verifier {
    /// The claims of a token of ours that is valid at `now` (seconds since the Unix epoch). Whether its objects still exist
    /// and whom it is meant for is left to the caller. `key` is always the same.
    ///
    /// # Errors
    /// If it is not ours, or not valid now.
    pub fn verify(&self, key: &dyn TokenKey, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let digest = Sha256::digest(token).into();
        let known = self.known().get(&digest).cloned();
        let claims = known.map_or_else(|| verify_signature(key, token).map(Arc::new), Ok)?;
        check_time(&claims, now)?;
        self.remember(digest, &claims, now);
        Ok(claims)
    }

    fn remember(&self, digest: [u8; 32], claims: &Arc<Claims>, now: i64) {
        let mut known = self.known();
        if known.len() >= REMEMBERED && !known.contains_key(&digest) {
            known.retain(|_, claims| check_time(claims, now).is_ok());
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        known.entry(digest).or_insert_with(|| Arc::clone(claims));
    }

    /// Nothing that holds the lock can panic halfway.
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Claims>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs by adding: enough to see that what was signed is what is verified.
    struct Sum(u8);
    impl TokenKey for Sum {
        fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
            Some(vec![message.iter().fold(self.0, |sum, b| sum.wrapping_mul(31).wrapping_add(*b))])
        }
        fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            self.sign(message).as_deref() == Some(signature)
        }
        fn digest(&self) -> [u8; 32] {
            [self.0; 32]
        }
    }

    fn claims() -> Claims {
        let account = Reference { name: "default".into(), uid: "u".into() };
        let bound = Bound { namespace: "a".into(), node: None, pod: None, secret: None, serviceaccount: account };
        Claims {
            aud: vec![ISSUER.into()],
            exp: 200,
            iat: 100,
            iss: ISSUER.into(),
            jti: "j".into(),
            bound,
            nbf: 100,
            sub: "system:serviceaccount:a:default".into(),
        }
    }

    #[test]
    fn a_token_is_valid_for_its_time_and_its_key_only() {
        let token = issue(&Sum(1), &claims()).unwrap();
        let verifier = Verifier::default();
        let verify = |now| verifier.verify(&Sum(1), &token, now).map(Arc::unwrap_or_clone);
        assert_eq!(verify(99), Err(TokenError::Time));
        // The second time it is known.
        for _ in 0..2 {
            assert_eq!(verify(150), Ok(claims()));
        }
        assert_eq!(verify(99), Err(TokenError::Time));
        assert_eq!(verify(200), Err(TokenError::Time));
        assert_eq!(Verifier::default().verify(&Sum(2), &token, 150), Err(TokenError::Signature));
        let mut other = token.clone().into_bytes();
        let middle = token.find('.').unwrap() + 5;
        other[middle] = if other[middle] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(&Sum(1), &String::from_utf8(other).unwrap(), 150).is_err());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "a", "a.b", "a.b.c", "..", &"x".repeat(MAX_TOKEN + 1)] {
            assert!(Verifier::default().verify(&Sum(1), text, 150).is_err());
        }
        let none = BASE64.encode(r#"{"alg":"none","kid":""}"#);
        let body = BASE64.encode(serde_json::to_vec(&claims()).unwrap());
        let unsigned = format!("{none}.{body}.");
        assert_eq!(Verifier::default().verify(&Sum(1), &unsigned, 150), Err(TokenError::Signature));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let verifier = Verifier::default();
        let verify = |jti: usize, exp, now| {
            let token = issue(&Sum(1), &Claims { jti: jti.to_string(), exp, ..claims() }).unwrap();
            verifier.verify(&Sum(1), &token, now).unwrap();
        };
        (0..REMEMBERED).for_each(|jti| verify(jti, if jti == 0 { 400 } else { 200 }, 150));
        assert_eq!(verifier.known().len(), REMEMBERED);
        // Those whose time is over go first.
        verify(REMEMBERED, 400, 300);
        assert_eq!(verifier.known().len(), 2);
        (2..=REMEMBERED).for_each(|jti| verify(jti + REMEMBERED, 400, 300));
        assert_eq!(verifier.known().len(), 1);
    }
}
