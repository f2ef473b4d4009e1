//! What is meant when nothing is named: the target, and an image. Pure.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Node, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::Facts;

/// The annotation by which a pod names the container that tools mean when none is given (kubectl's convention).
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// Small, public, static and with a shell. The variable `REMORA_DEBUG_IMAGE` names another.
pub const DEFAULT_IMAGE: &str = "docker.io/library/busybox:1.37-musl";

/// Repositories whose images have a shell, best first. Exact names only: what else is on a node may be anybody's.
const TOOLBOXES: [&str; 6] = [
    "docker.io/library/busybox",
    "registry.k8s.io/e2e-test-images/busybox",
    "docker.io/nicolaka/netshoot",
    "docker.io/library/alpine",
    "docker.io/library/debian",
    "docker.io/library/ubuntu",
];

/// Public and with a tcpdump.
const CAPTURE_IMAGE: &str = "docker.io/nicolaka/netshoot:v0.13";

/// Repositories whose images have a tcpdump.
const WITH_TCPDUMP: [&str; 1] = ["docker.io/nicolaka/netshoot"];

/// What a command needs of the image of its debug container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// `sh`, `cat`, `tar`, `find`: any image will do.
    Files,
    /// `tcpdump` as well.
    Capture,
    /// `gdb` or `jattach` as well.
    Dump,
}

/// No public image is known that has the tools.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("name an image that has gdb (and for Java jattach or jcmd): --image, or REMORA_DEBUG_IMAGE")]
pub struct NoImage;

/// The same, with only such images to choose from as have these tools. One that the user has set as the default is taken to have them.
///
/// # Errors
/// [`NoImage`] if there is none.
pub fn with_tools(facts: Facts, named: Option<&str>, tools: Tools) -> Result<Facts, NoImage> {
    let is_own = facts.default_image != DEFAULT_IMAGE;
    let default_image = match tools {
        Tools::Files => return Ok(facts),
        Tools::Dump if named.is_none() && !is_own => return Err(NoImage),
        Tools::Capture if !is_own => CAPTURE_IMAGE.to_owned(),
        Tools::Capture | Tools::Dump => facts.default_image,
    };
    let suits = |image: &String| {
        full(image) == full(&default_image)
            || (tools == Tools::Capture && !is_own && WITH_TCPDUMP.contains(&repository(&full(image))))
    };
    let images = facts.images.into_iter().filter(suits).collect();
    Ok(Facts { images, default_image, ..facts })
}

/// An image that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its reference.
    pub name: String,
    /// How it was chosen.
    pub choice: ImageChoice,
}

/// How an image was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageChoice {
    /// The user named it.
    Named,
    /// The node has it, so that nothing is pulled.
    OnNode,
    /// It is the default.
    Default,
}

/// The container that is meant when the user names none: the annotated one, else the first.
pub fn default_container(pod: &Pod) -> Option<&str> {
    let annotated = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CONTAINER_ANNOTATION));
    let first = pod.spec.as_ref()?.containers.first().map(|c| c.name.as_str());
    annotated.map(String::as_str).filter(|name| is_there(pod, name)).or(first)
}

/// The image of a request that names none: the default if the node has it, else a known toolbox that it has, else the default.
pub fn image(named: Option<&str>, on_node: &[String], default: &str) -> Image {
    if let Some(name) = named {
        return Image { name: name.to_owned(), choice: ImageChoice::Named };
    }
    let on_node: Vec<&String> = on_node.iter().filter(|name| !name.contains('@')).collect();
    let is_default = on_node.iter().any(|name| full(name) == full(default)).then(|| default.to_owned());
    let toolbox =
        || TOOLBOXES.iter().find_map(|toolbox| on_node.iter().find(|name| repository(&full(name)) == *toolbox));
    match is_default.or_else(|| toolbox().map(|name| (*name).clone())) {
        Some(name) => Image { name, choice: ImageChoice::OnNode },
        None => Image { name: default.to_owned(), choice: ImageChoice::Default },
    }
}

/// The names of all images that a node says it has.
pub fn images_of(node: &Node) -> Vec<String> {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    images.flat_map(|image| image.names.iter().flatten().cloned()).collect()
}

/// The image's programs are static: they run whatever their `/` is.
pub(crate) fn is_static(image: &str) -> bool {
    repository(&full(image)).ends_with("/busybox")
}

/// `busybox` is `docker.io/library/busybox`.
fn full(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

/// Without tag.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    name[path..].find(':').map_or(name, |colon| &name[..path + colon])
}

/// A container or init container of a pod, as a container.
pub(crate) fn container<'p>(pod: &'p Pod, name: &str) -> Option<&'p Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

/// What the node says of it.
pub(crate) fn status<'p>(pod: &'p Pod, name: &str) -> Option<&'p ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    all.into_iter().flatten().flatten().find(|status| status.name == name)
}

/// Since when a container runs, if it does.
pub fn started(pod: &Pod, name: &str) -> Option<Timestamp> {
    Some(status(pod, name)?.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)
}

fn is_there(pod: &Pod, name: &str) -> bool {
    let mut ephemeral = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    container(pod, name).is_some() || ephemeral.any(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_container_is_the_annotated_one_or_the_first() {
        let mut pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "app"}, {"name": "side"}]}})).unwrap();
        assert_eq!(default_container(&pod), Some("app"));
        let mut annotate = |name: &str| {
            pod.metadata.annotations = Some([(DEFAULT_CONTAINER_ANNOTATION.to_owned(), name.to_owned())].into());
            default_container(&pod).map(str::to_owned)
        };
        assert_eq!(annotate("side").as_deref(), Some("side"));
        assert_eq!(annotate("ghost").as_deref(), Some("app"));
    }

    #[test]
    fn an_image_that_the_node_has_is_taken_first() {
        let check = |named: Option<&str>, on_node: &[&str], name: &str, choice: ImageChoice| {
            let on_node: Vec<String> = on_node.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(image(named, &on_node, "busybox:1"), Image { name: name.to_owned(), choice }, "{on_node:?}");
        };
        check(Some("x"), &["docker.io/library/busybox:1"], "x", ImageChoice::Named);
        check(None, &[], "busybox:1", ImageChoice::Default);
        check(None, &["docker.io/library/busybox:1"], "busybox:1", ImageChoice::OnNode);
        let alpine = "docker.io/library/alpine:3";
        check(None, &[alpine, "docker.io/library/busybox:9"], "docker.io/library/busybox:9", ImageChoice::OnNode);
        check(None, &["registry.k8s.io/pause:3.10", alpine], alpine, ImageChoice::OnNode);
        // Somebody's image of a good name, and an image by digest alone: the server would show no name that people know.
        check(
            None,
            &["evil.example/library/busybox:1", "docker.io/library/busybox@sha256:ab"],
            "busybox:1",
            ImageChoice::Default,
        );
    }

    #[test]
    fn only_images_with_the_tools_are_chosen() {
        let check = |tools: Tools, on_node: &[&str], default: &str, expected: Result<&str, NoImage>| {
            let images = on_node.iter().map(|name| (*name).to_owned()).collect();
            let facts = Facts { images, default_image: default.to_owned(), ..Facts::default() };
            let chosen =
                with_tools(facts, None, tools).map(|facts| image(None, &facts.images, &facts.default_image).name);
            assert_eq!(chosen, expected.map(str::to_owned), "{tools:?} {on_node:?} {default}");
        };
        let (busybox, netshoot) = ("docker.io/library/busybox:9", "docker.io/nicolaka/netshoot:v0.1");
        check(Tools::Files, &[busybox], DEFAULT_IMAGE, Ok(busybox));
        check(Tools::Capture, &[busybox], DEFAULT_IMAGE, Ok(CAPTURE_IMAGE));
        check(Tools::Capture, &[busybox, netshoot], DEFAULT_IMAGE, Ok(netshoot));
        check(Tools::Capture, &[netshoot, "me/tools:1"], "me/tools:1", Ok("me/tools:1"));
        check(Tools::Capture, &[netshoot], "me/tools:1", Ok("me/tools:1"));
        check(Tools::Dump, &[busybox], DEFAULT_IMAGE, Err(NoImage));
        check(Tools::Dump, &[busybox], "me/tools:1", Ok("me/tools:1"));
        assert!(
            with_tools(Facts { default_image: DEFAULT_IMAGE.to_owned(), ..Facts::default() }, Some("x"), Tools::Dump)
                .is_ok()
        );
    }

    #[test]
    fn repositories_are_told_from_ports_and_tags() {
        let check = |name: &str, expected: &str| assert_eq!(repository(&full(name)), expected);
        check("busybox", "docker.io/library/busybox");
        check("nicolaka/netshoot:v1", "docker.io/nicolaka/netshoot");
        check("localhost:5000/a/b:1", "localhost:5000/a/b");
        check("quay.io/a/b@sha256:ab", "quay.io/a/b");
    }
}
