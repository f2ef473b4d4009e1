//! The images of most tests: a folder with busybox, under every container at once, and one for targets, without a shell.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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
fn make_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in [
        "sh", "sleep", "cat", "echo", "ps", "ls", "id", "true", "stty", "hostname", "tail", "wc", "mount", "tr",
        "which", "grep",
    ] {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    fs::write(rootfs.join("bin/dynamic"), "#!/lib/ld-none.so\n").unwrap();
    fs::set_permissions(rootfs.join("bin/dynamic"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:34:\nlogs:x:50:web\n").unwrap();
}

/// A program that waits, and a file; no shell, and nothing else that its user would not need.
fn make_shell_less(rootfs: &Path) {
    for folder in ["app", "data", "etc"] {
        fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("app/sleep")).unwrap();
    fs::write(rootfs.join("app/config"), "mode = fast\n").unwrap();
}

/// Images that are unpacked in folders of their names, beside one another.
pub(crate) struct PlainImage {
    pub(crate) folder: PathBuf,
}

/// `busybox` and `shell-less`.
pub(crate) fn make_images(folder: &Path) {
    make_rootfs(&folder.join("busybox"));
    make_shell_less(&folder.join("shell-less"));
}

#[async_trait]
impl Images for PlainImage {
    fn lease(&self, image: &str, holder: &str) -> Result<LeasedImage, Error> {
        let rootfs = self.folder.join(image);
        if !rootfs.exists() {
            return Err(Error::not_found("image", image));
        }
        let id: remora_images::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let lease = LayerLease { holder: holder.to_owned(), image: id, layers: Vec::new(), lowerdirs: vec![rootfs] };
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
