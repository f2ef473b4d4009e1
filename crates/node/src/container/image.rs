//! Finding the image for a start: already here, or pulled.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use remora_cri::{AuthConfig, Error as CriError, Image, ImageSpec, ImageStatusRequest, PullImageRequest};
use remora_decide::{Happening, ImageProblem, PullPolicy, with_default_tag};

use crate::actor::ImageFailure;
use crate::context::Context;
use crate::volumes::lookup;

mod credentials;

/// One image, if it is here.
pub(crate) async fn status(context: &Context, image: &str) -> Result<Option<Image>, CriError> {
    let image = Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() });
    Ok(context.config.images.image_status(ImageStatusRequest { image, verbose: false }).await?.image)
}

/// The image's id, pulled if the policy asks for it. Tells what happens.
pub(crate) async fn ensure(
    context: &Context,
    pod: &Pod,
    container: &str,
    image: &str,
    pull_policy: PullPolicy,
) -> Result<String, ImageFailure> {
    let result = find(context, pod, container, image, pull_policy).await;
    if let Err(ImageFailure { problem, message }) = &result {
        let (container, image) = (container.to_owned(), image.to_owned());
        context.tell(pod, &Happening::ImageFailed { container, image, problem: *problem, message: message.clone() });
    }
    result
}

async fn find(
    context: &Context,
    pod: &Pod,
    container: &str,
    image: &str,
    pull_policy: PullPolicy,
) -> Result<String, ImageFailure> {
    let full = with_default_tag(image)
        .map_err(|e| ImageFailure { problem: ImageProblem::InvalidImageName, message: e.to_string() })?;
    if pull_policy == PullPolicy::Always {
        return pull(context, pod, container, image, &full).await;
    }
    let here = status(context, &full).await.map_err(|e| ImageFailure {
        problem: ImageProblem::ImageInspectError,
        message: format!("Failed to inspect image {image:?}: {e}"),
    })?;
    match here {
        Some(found) => {
            let (container, image) = (container.to_owned(), image.to_owned());
            context.tell(pod, &Happening::ImagePresent { container, image });
            Ok(found.id)
        }
        None if pull_policy == PullPolicy::Never => Err(ImageFailure {
            problem: ImageProblem::ErrImageNeverPull,
            message: format!("Container image {image:?} is not present with pull policy of Never"),
        }),
        None => pull(context, pod, container, image, &full).await,
    }
}

async fn pull(context: &Context, pod: &Pod, container: &str, image: &str, full: &str) -> Result<String, ImageFailure> {
    let (name, written) = (container.to_owned(), image.to_owned());
    context.tell(pod, &Happening::Pulling { container: name.clone(), image: written.clone() });
    let begun = tokio::time::Instant::now();
    let result = pull_with_any(context, pod, full).await;
    let image_ref = result.map_err(|e| ImageFailure { problem: ImageProblem::ErrImagePull, message: e.message })?;
    let took = go_milliseconds(begun.elapsed());
    let found = status(context, &image_ref).await.ok().flatten();
    let bytes = found.as_ref().map_or(0, |i| i.size);
    context.tell(pod, &Happening::Pulled { container: name, image: written, waited: took.clone(), took, bytes });
    Ok(found.map_or(image_ref, |i| i.id))
}

/// Tries the pod's credentials for the registry, one after the other; without any, anonymously.
async fn pull_with_any(context: &Context, pod: &Pod, full: &str) -> Result<String, CriError> {
    let credentials = pull_credentials(context, pod, full).await;
    let mut last = None;
    for auth in credentials.into_iter().map(Some).chain([None]) {
        let image = Some(ImageSpec { image: full.to_owned(), ..ImageSpec::default() });
        let request = PullImageRequest { image, auth, sandbox_config: None };
        match context.config.images.pull_image(request).await {
            Ok(answer) => return Ok(answer.image_ref),
            // The first word counts: later tries have fewer rights.
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(last.unwrap_or_else(|| CriError::not_found("image", full)))
}

/// From the pod's `imagePullSecrets`. One that is missing is no error, as upstream has it.
async fn pull_credentials(context: &Context, pod: &Pod, full: &str) -> Vec<AuthConfig> {
    let mut all = Vec::new();
    for reference in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
        match lookup::secret(context, pod, &reference.name, true).await {
            Ok(secret) => all.extend(secret.iter().flat_map(|s: &Secret| credentials::of_secret(s, full))),
            Err(error) => tracing::warn!(%error, "an image pull secret cannot be read"),
        }
    }
    all
}

/// A duration as Go prints it, rounded to milliseconds: `530ms`, `1.034s`, `2m3.5s`.
fn go_milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    while seconds.ends_with('0') {
        seconds.pop();
    }
    let seconds = seconds.trim_end_matches('.');
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        for (milliseconds, expected) in
            [(0, "0ms"), (530, "530ms"), (1000, "1s"), (1034, "1.034s"), (1500, "1.5s"), (123_500, "2m3.5s")]
        {
            assert_eq!(go_milliseconds(Duration::from_millis(milliseconds)), expected);
        }
    }
}
