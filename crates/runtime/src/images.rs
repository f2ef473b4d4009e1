//! What the runtime needs of an image store: CRI's image service, and layers to stand a container on.

use async_trait::async_trait;
use remora_cri::{Code, Error, ImageService};
use remora_images::{ImageStore, LayerLease};
use remora_oci_config::ImageConfig;

/// An image as a container needs it.
#[derive(Clone, Debug)]
pub struct LeasedImage {
    /// The hold on its layers; it belongs into the container's record.
    pub lease: LayerLease,
    /// CRI's image id: the digest of its configuration.
    pub id: String,
    /// A name by digest if there is one, else the id: what a container's status shows as `image_ref`.
    pub image_ref: String,
    /// What its containers inherit.
    pub config: ImageConfig,
}

/// An image store that can also lend layers.
#[async_trait]
pub trait Images: ImageService {
    /// Holds the layers of an image (by name, digest or id) for a container until [`release`](Images::release).
    ///
    /// # Errors
    /// `NotFound` for an image that is not here.
    fn lease(&self, image: &str, holder: &str) -> Result<LeasedImage, Error>;

    /// Gives a holder's layers back. Unknown holders are no error.
    ///
    /// # Errors
    /// Layers that nothing needs any more cannot be removed.
    async fn release(&self, holder: &str) -> Result<(), Error>;
}

#[async_trait]
impl Images for ImageStore {
    fn lease(&self, image: &str, holder: &str) -> Result<LeasedImage, Error> {
        let lease = ImageStore::lease(self, image, holder).map_err(|error| worded(image, &error))?;
        let found = self.image(&lease.image.to_string()).map_err(|error| worded(image, &error))?;
        let inherited = found.config.config().clone().unwrap_or_default();
        let config = ImageConfig {
            entrypoint: inherited.entrypoint().clone().unwrap_or_default(),
            cmd: inherited.cmd().clone().unwrap_or_default(),
            env: inherited.env().clone().unwrap_or_default(),
            working_dir: inherited.working_dir().clone().unwrap_or_default(),
            user: inherited.user().clone().unwrap_or_default(),
            stop_signal: inherited.stop_signal().clone().unwrap_or_default(),
        };
        Ok(LeasedImage { lease, id: found.id.to_string(), image_ref: found.image_ref(), config })
    }

    async fn release(&self, holder: &str) -> Result<(), Error> {
        ImageStore::release(self, holder).await.map_err(|error| Error::internal("cannot release image layers", &error))
    }
}

fn worded(image: &str, error: &remora_images::Error) -> Error {
    match error {
        remora_images::Error::NotFound { .. } => Error::not_found("image", image),
        remora_images::Error::Reference(_) | remora_images::Error::Ambiguous { .. } => {
            Error::new(Code::InvalidArgument, error.to_string())
        }
        _ => Error::internal("cannot use the image", error),
    }
}
