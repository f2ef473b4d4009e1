//! The only image of most tests: a folder with busybox, under every container at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use remora_cri::{
    Error, ImageFsInfoResponse, ImageService, ImageStatusRequest, ImageStatusResponse, ListImagesRequest,
    ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest,
};
use remora_images::LayerLease;
use remora_oci_config::ImageConfig;
use remora_runtime::{Images, LeasedImage};

/// Debian's static busybox with all its names, and a user database.
pub(crate) fn make_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in
        ["sh", "sleep", "cat", "echo", "grep", "ps", "ls", "id", "true", "stty", "hostname", "tail", "wc", "mount"]
    {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:34:\nlogs:x:50:web\n").unwrap();
}

/// One image under every name, unpacked in a folder.
pub(crate) struct PlainImage {
    pub(crate) rootfs: PathBuf,
}

#[async_trait]
impl Images for PlainImage {
    fn lease(&self, image: &str, holder: &str) -> Result<LeasedImage, Error> {
        if image != "busybox" {
            return Err(Error::not_found("image", image));
        }
        let id: remora_images::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let lease = LayerLease {
            holder: holder.to_owned(),
            image: id,
            layers: Vec::new(),
            lowerdirs: vec![self.rootfs.clone()],
        };
        let config = ImageConfig { env: vec!["PATH=/bin".into()], cmd: vec!["sh".into()], ..Default::default() };
        Ok(LeasedImage { lease, id: id.to_string(), image_ref: id.to_string(), config })
    }

    async fn release(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait]
impl ImageService for PlainImage {
    async fn list_images(&self, _: ListImagesRequest) -> Result<ListImagesResponse, Error> {
        Ok(ListImagesResponse::default())
    }
    async fn image_status(&self, _: ImageStatusRequest) -> Result<ImageStatusResponse, Error> {
        Ok(ImageStatusResponse { image: None, info: BTreeMap::new() })
    }
    async fn pull_image(&self, _: PullImageRequest) -> Result<PullImageResponse, Error> {
        Ok(PullImageResponse::default())
    }
    async fn remove_image(&self, _: RemoveImageRequest) -> Result<(), Error> {
        Ok(())
    }
    async fn image_fs_info(&self) -> Result<ImageFsInfoResponse, Error> {
        Ok(ImageFsInfoResponse::default())
    }
}
