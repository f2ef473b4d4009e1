//! CRI's `ImageService` on the store: translation only.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remora_cri as cri;

use crate::error::chain;
use crate::{Credentials, Error, Image, ImageStore, ResolveError};

#[async_trait]
impl cri::ImageService for ImageStore {
    async fn list_images(&self, request: cri::ListImagesRequest) -> Result<cri::ListImagesResponse, cri::Error> {
        let name = request.filter.and_then(|filter| filter.image).map(|spec| spec.image).unwrap_or_default();
        let images = match name.as_str() {
            "" => self.list(),
            name => found(self.image(name))?.into_iter().collect(),
        };
        Ok(cri::ListImagesResponse { images: images.into_iter().map(to_cri).collect() })
    }

    async fn image_status(&self, request: cri::ImageStatusRequest) -> Result<cri::ImageStatusResponse, cri::Error> {
        let image = found(self.image(&named(request.image)?))?;
        Ok(cri::ImageStatusResponse { image: image.map(to_cri), ..Default::default() })
    }

    async fn pull_image(&self, request: cri::PullImageRequest) -> Result<cri::PullImageResponse, cri::Error> {
        let name = named(request.image)?;
        let credentials = request.auth.map(credentials).transpose()?.flatten();
        let image = self.pull(&name, credentials).await.map_err(to_error)?;
        Ok(cri::PullImageResponse { image_ref: image.id.to_string() })
    }

    async fn remove_image(&self, request: cri::RemoveImageRequest) -> Result<(), cri::Error> {
        let removed = self.remove(&named(request.image)?).await;
        found(removed).map(drop)
    }

    async fn image_fs_info(&self) -> Result<cri::ImageFsInfoResponse, cri::Error> {
        let usage = self.usage();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let filesystem = cri::FilesystemUsage {
            timestamp: i64::try_from(now).unwrap_or(i64::MAX),
            fs_id: Some(cri::FilesystemIdentifier { mountpoint: usage.path.display().to_string() }),
            used_bytes: Some(cri::UInt64Value { value: usage.bytes }),
            inodes_used: Some(cri::UInt64Value { value: usage.inodes }),
        };
        Ok(cri::ImageFsInfoResponse { image_filesystems: vec![filesystem], container_filesystems: Vec::new() })
    }
}

fn named(spec: Option<cri::ImageSpec>) -> Result<String, cri::Error> {
    let name = spec.map(|spec| spec.image).unwrap_or_default();
    match name.is_empty() {
        true => Err(cri::Error::new(cri::Code::InvalidArgument, "image name is empty")),
        false => Ok(name),
    }
}

/// What is not there is an answer, not a failure.
fn found(result: Result<Image, Error>) -> Result<Option<Image>, cri::Error> {
    match result {
        Err(Error::NotFound { .. }) => Ok(None),
        other => other.map(Some).map_err(to_error),
    }
}

fn to_cri(image: Image) -> cri::Image {
    let user = image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let (uid, username) = to_user(&user);
    cri::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        uid: uid.map(|value| cri::Int64Value { value }),
        username,
        spec: None,
        pinned: false,
    }
}

/// `1000:1000` is user 1000, `www:www` is `www`; nothing is left to the caller, who takes it for root.
fn to_user(user: &str) -> (Option<i64>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match user.parse() {
        Ok(uid) => (Some(uid), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// A pull secret: name and password, together or apart. The rest of `AuthConfig` is not offered yet and said so.
fn credentials(auth: cri::AuthConfig) -> Result<Option<Credentials>, cri::Error> {
    let refuse = |problem: &str| cri::Error::new(cri::Code::InvalidArgument, problem);
    if !auth.username.is_empty() {
        return Ok(Some(Credentials { username: auth.username, password: auth.password }));
    }
    if !auth.auth.is_empty() {
        let decoded = STANDARD.decode(auth.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
        let (username, password) = pair.ok_or_else(|| refuse("invalid docker auth: not base64 of name:password"))?;
        return Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }));
    }
    match auth.identity_token.is_empty() && auth.registry_token.is_empty() {
        true => Ok(None),
        false => Err(refuse("identity and registry tokens are not supported")),
    }
}

fn to_error(error: Error) -> cri::Error {
    let code = match &error {
        Error::Reference(_) | Error::Ambiguous { .. } => cri::Code::InvalidArgument,
        Error::NotFound { .. } => cri::Code::NotFound,
        Error::Resolve { source, .. } if matches!(**source, ResolveError::NotFound { .. }) => cri::Code::NotFound,
        _ => cri::Code::Internal,
    };
    cri::Error::new(code, chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_user_is_a_number_or_a_name() {
        for (text, expected) in [
            ("", (None, "")),
            ("0", (Some(0), "")),
            ("65532:65532", (Some(65532), "")),
            ("www-data:www", (None, "www-data")),
        ] {
            assert_eq!(to_user(text), (expected.0, expected.1.to_owned()), "{text}");
        }
    }

    #[test]
    fn secrets_come_as_a_pair_or_in_base64() {
        let pair = Some(Credentials { username: "u".into(), password: "p:q".into() });
        let auth = |auth: &str| cri::AuthConfig { auth: auth.into(), ..Default::default() };
        assert_eq!(credentials(cri::AuthConfig::default()).unwrap(), None);
        assert_eq!(credentials(auth("dTpwOnE=")).unwrap(), pair);
        assert!(credentials(auth("%")).is_err());
        let plain = cri::AuthConfig { username: "u".into(), password: "p:q".into(), ..Default::default() };
        assert_eq!(credentials(plain).unwrap(), pair);
    }
}
