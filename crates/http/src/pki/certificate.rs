//! Certificates: made by the authority, read back, judged. Whether one still serves is decided by [`Signed::serves`], which
//! reads no clock.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, ServerNames, files};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * DAY.as_secs());
const LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// With less than this left, a certificate is renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// Clients' clocks may be behind ours by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
const AUTHORITY_NAME: &str = "remora-ca";

const RESTORE: &str =
    "restore it from a copy, or remove it to start with a new authority (every kubeconfig must then be written anew)";
const REMOVE: &str = "remove it, and it is made anew";

/// Whom a certificate is for.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) usage: Usage,
    /// The common name.
    pub(super) name: String,
    pub(super) organization: Option<String>,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub(super) enum Usage {
    Server(ServerNames),
    Client,
}

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    pub(super) fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    fn file(&self) -> String {
        self.certificate_pem() + &self.key_pem()
    }

    /// Both parts of a file, which must belong together.
    fn parse(text: &str) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| "no whole certificate in it")?;
        let key = key_from_pem(text)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| format!("certificate: {error}"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err("certificate and key do not belong together".into());
        }
        Ok(Self { certificate, key })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity { .. }")
    }
}

/// A P-256 key from PEM text, which may hold more than the key.
pub(super) fn key_from_pem(text: &str) -> Result<KeyPair, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "no whole key in it")?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|error| format!("key: {error}"))
}

/// The authority that signs.
#[derive(Debug)]
pub(super) struct Authority {
    identity: Identity,
    pem: String,
}

impl Authority {
    /// Opens the authority or makes it. Its key stays for ever; only its certificate is renewed near its end.
    pub(super) fn open_or_create(path: &Path, now: SystemTime) -> Result<Self, PkiError> {
        let key = match files::read(path)? {
            Some(text) => {
                let identity = Identity::parse(&text).map_err(|what| damaged(path, what, RESTORE))?;
                let signed = Signed::parse(&identity.certificate).map_err(|what| damaged(path, what, RESTORE))?;
                if !signed.authority {
                    return Err(damaged(path, "the certificate is not an authority's".into(), RESTORE));
                }
                if signed.lives(now) {
                    return Ok(Self { pem: identity.certificate_pem(), identity });
                }
                identity.key
            }
            None => new_key(AUTHORITY_NAME)?,
        };
        let certificate =
            authority_params(now).self_signed(&key).map_err(|source| sign_error(AUTHORITY_NAME, source))?;
        let identity = Identity { certificate: certificate.der().clone(), key };
        files::replace(path, &identity.file())?;
        Ok(Self { pem: identity.certificate_pem(), identity })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.identity.certificate
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// What is at `path` if it still serves `subject`, else a new one, with a new key, in its place.
    pub(super) fn open_or_sign(&self, path: &Path, subject: &Subject, now: SystemTime) -> Result<Identity, PkiError> {
        if let Some(text) = files::read(path)? {
            let identity = Identity::parse(&text).map_err(|what| damaged(path, what, REMOVE))?;
            let signed = Signed::parse(&identity.certificate).map_err(|what| damaged(path, what, REMOVE))?;
            if signed.serves(subject, now) && self.has_signed(&identity.certificate) {
                return Ok(identity);
            }
        }
        let identity = self.sign(subject, now)?;
        files::replace(path, &identity.file())?;
        Ok(identity)
    }

    fn sign(&self, subject: &Subject, now: SystemTime) -> Result<Identity, PkiError> {
        let key = new_key(&subject.name)?;
        let signed = || {
            let issuer = Issuer::from_ca_cert_der(&self.identity.certificate, &self.identity.key)?;
            subject.params(now)?.signed_by(&key, &issuer)
        };
        let certificate = signed().map_err(|source| sign_error(&subject.name, source))?;
        Ok(Identity { certificate: certificate.der().clone(), key })
    }

    fn has_signed(&self, certificate: &[u8]) -> bool {
        let parsed = (X509Certificate::from_der(certificate), X509Certificate::from_der(&self.identity.certificate));
        let (Ok((_, certificate)), Ok((_, authority))) = parsed else { return false };
        certificate.verify_signature(Some(authority.public_key())).is_ok()
    }
}

impl Subject {
    fn params(&self, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        live(&mut params, now, LIFE);
        params.distinguished_name.push(DnType::CommonName, &*self.name);
        if let Some(organization) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, &**organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = match &self.usage {
            Usage::Server(_) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        if let Usage::Server(names) = &self.usage {
            for name in &names.dns {
                params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
            }
            params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        }
        Ok(params)
    }
}

/// What a certificate says of itself, as far as we judge it.
#[derive(Debug, PartialEq, Eq)]
struct Signed {
    authority: bool,
    name: Option<String>,
    organization: Option<String>,
    names: ServerNames,
    begins: SystemTime,
    ends: SystemTime,
}

impl Signed {
    fn parse(certificate: &[u8]) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("certificate: {error}"))?;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        Ok(Self {
            authority: parsed.is_ca(),
            name: parsed.subject().iter_common_name().next().and_then(text),
            organization: parsed.subject().iter_organization().next().and_then(text),
            names: names_of(&parsed)?,
            begins: time(parsed.validity().not_before.timestamp()),
            ends: time(parsed.validity().not_after.timestamp()),
        })
    }

    fn lives(&self, now: SystemTime) -> bool {
        self.begins <= now && now + RENEWED_BEFORE < self.ends
    }

    fn serves(&self, subject: &Subject, now: SystemTime) -> bool {
        let names = match &subject.usage {
            Usage::Server(names) => *names == self.names,
            Usage::Client => self.names == ServerNames::default(),
        };
        let same = self.name.as_ref() == Some(&subject.name) && self.organization == subject.organization;
        names && same && self.lives(now)
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> Result<ServerNames, String> {
    let mut names = ServerNames::default();
    let extension = certificate.subject_alternative_name().map_err(|error| format!("its names: {error}"))?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                names.dns.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                names.addresses.insert(address.map_err(|_| "its names: an address of odd length".to_owned())?);
            }
            _ => {}
        }
    }
    Ok(names)
}

fn authority_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    live(&mut params, now, AUTHORITY_LIFE);
    params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn live(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + life).into();
}

fn time(seconds: i64) -> SystemTime {
    // Before 1970 is the same to us as 1970: long ago.
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn new_key(subject: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| sign_error(subject, source))
}

fn sign_error(subject: &str, source: rcgen::Error) -> PkiError {
    PkiError::Sign { subject: subject.to_owned(), source }
}

pub(super) fn damaged(path: &Path, what: String, remedy: &'static str) -> PkiError {
    PkiError::Damaged { path: path.to_owned(), what, remedy }
}

fn certificate_pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
