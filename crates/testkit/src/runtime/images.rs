//! The fake's images.

use async_trait::async_trait;
use remora_cri::{
    Code, Error, ImageFsInfoResponse, ImageService, ImageStatusRequest, ImageStatusResponse, ListImagesRequest,
    ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest,
};

use super::FakeRuntime;

/// `busybox` is `docker.io/library/busybox:latest`.
pub(super) fn full_name(name: &str) -> String {
    let tagged = if name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        name.to_owned()
    } else {
        format!("{name}:latest")
    };
    match tagged.split_once('/') {
        None => format!("docker.io/library/{tagged}"),
        Some((host, _)) if host.contains(['.', ':']) => tagged,
        Some(_) => format!("docker.io/{tagged}"),
    }
}

#[async_trait]
impl ImageService for FakeRuntime {
    async fn list_images(&self, _request: ListImagesRequest) -> Result<ListImagesResponse, Error> {
        Ok(ListImagesResponse { images: self.lock().images.values().cloned().collect() })
    }

    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse, Error> {
        let name = request.image.unwrap_or_default().image;
        Ok(ImageStatusResponse { image: self.lock().find_image(&name).cloned(), ..ImageStatusResponse::default() })
    }

    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse, Error> {
        let name = full_name(&request.image.unwrap_or_default().image);
        self.called(format!("pull {name}"));
        let takes = self.lock().pull_takes;
        tokio::time::sleep(takes).await;
        match self.lock().pull(&name) {
            Some(image_ref) => Ok(PullImageResponse { image_ref }),
            None => {
                let message = format!("failed to pull and unpack image \"{name}\": {name}: not found");
                Err(Error::new(Code::NotFound, message))
            }
        }
    }

    async fn remove_image(&self, request: RemoveImageRequest) -> Result<(), Error> {
        let name = request.image.unwrap_or_default().image;
        let mut state = self.lock();
        if let Some(id) = state.find_image(&name).map(|i| i.id.clone()) {
            state.images.remove(&id);
        }
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, Error> {
        Ok(ImageFsInfoResponse::default())
    }
}
