//! The key behind service account tokens: ES256 (RFC 7518, section 3.4). Tokens themselves are the API server's.

use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey};

use super::certificate::{damaged, key_from_pem};
use super::{PkiError, files};

const REMEDY: &str =
    "restore it from a copy, or remove it to have a new one made (tokens that pods hold are then no longer accepted)";

/// Signs and verifies as ES256: ECDSA with P-256 and SHA-256.
pub struct ServiceAccountKey {
    key: EcdsaKeyPair,
    random: SystemRandom,
    digest: [u8; 32],
    pem: String,
}

/// The system could not give the randomness that a signature needs.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign: the system gives no randomness")]
pub struct SignError;

impl ServiceAccountKey {
    pub(super) fn open_or_create(path: &Path) -> Result<Self, PkiError> {
        let pair = match files::read(path)? {
            Some(text) => key_from_pem(&text).map_err(|what| damaged(path, what, REMEDY))?,
            None => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
                    .map_err(|source| PkiError::Sign { subject: "service account tokens".into(), source })?;
                files::replace(path, &pair.serialize_pem())?;
                pair
            }
        };
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pair.serialized_der(), &random)
            .map_err(|error| damaged(path, format!("key: {error}"), REMEDY))?;
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, &pair.subject_public_key_info()).as_ref());
        Ok(Self { key, random, digest, pem: pair.public_key_pem() })
    }

    /// The signature of a JWT's `header.payload`: r and s, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.key.sign(&self.random, message).map_err(|_| SignError)?;
        Ok(signature.as_ref().to_vec())
    }

    /// Whether we made this signature of this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.key.public_key());
        key.verify(message, signature).is_ok()
    }

    /// SHA-256 of the public key (DER SubjectPublicKeyInfo). In URL-safe base64 without padding it is the `kid` of our tokens,
    /// as in Kubernetes' `keyIDFromPublicKey`.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The public point as a JWK has it: x and y, 32 bytes each.
    pub fn coordinates(&self) -> (&[u8], &[u8]) {
        // Uncompressed: 0x04, x, y (SEC 1, section 2.3.3).
        self.key.public_key().as_ref()[1..].split_at(32)
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> &str {
        &self.pem
    }
}

impl std::fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceAccountKey { .. }")
    }
}
