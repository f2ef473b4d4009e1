//! From what users type (`po`, `pod/web`, `deploy`) to a resource of the API, by asking the server's discovery.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};

use crate::CommandError;
use crate::cluster::Cluster;

/// A resource as its URLs need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group_version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// The path of its collection: in one namespace, or in all.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group_version.contains('/') { "/apis" } else { "/api" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.group_version, self.plural),
            None => format!("{root}/{}/{}", self.group_version, self.plural),
        }
    }
}

/// Finds a resource by plural, singular, kind or short name: in the core group first, then in the others.
pub(crate) async fn find(cluster: &Cluster, word: &str) -> Result<Resource, CommandError> {
    let core = cluster.client.list_core_api_resources("v1").await?;
    if let Some(found) = pick(&core, word) {
        return Ok(found);
    }
    for group in cluster.client.list_api_groups().await?.groups {
        let Some(version) = group.preferred_version.or_else(|| group.versions.into_iter().next()) else { continue };
        let list = cluster.client.list_api_group_resources(&version.group_version).await?;
        if let Some(found) = pick(&list, word) {
            return Ok(found);
        }
    }
    Err(CommandError::failed(format!("the server doesn't have a resource type \"{word}\"")))
}

fn pick(list: &APIResourceList, word: &str) -> Option<Resource> {
    let word = word.to_lowercase();
    let found = list.resources.iter().find(|r| !r.name.contains('/') && answers_to(r, &word))?;
    Some(Resource {
        group_version: list.group_version.clone(),
        plural: found.name.clone(),
        kind: found.kind.clone(),
        namespaced: found.namespaced,
    })
}

fn answers_to(resource: &APIResource, word: &str) -> bool {
    let short = resource.short_names.iter().flatten().any(|name| name == word);
    short || resource.name == word || resource.singular_name == word || resource.kind.to_lowercase() == word
}

/// Splits `pods`, `pods web db` and `pod/web` into a resource's name and objects' names.
pub(crate) fn split(words: &[String]) -> Result<(String, Vec<String>), CommandError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(CommandError::usage("name a resource, such as `pods` or `pod/web`"));
    };
    match first.split_once('/') {
        None => Ok((first.clone(), rest.to_vec())),
        Some((resource, name)) if rest.is_empty() && !name.is_empty() => {
            Ok((resource.to_owned(), vec![name.to_owned()]))
        }
        Some(_) => Err(CommandError::usage("give one RESOURCE/NAME, or a resource and names, not both")),
    }
}

/// The name of a pod given as `web` or `pod/web`.
pub(crate) fn pod_name(word: &str) -> Result<&str, CommandError> {
    match word.split_once('/') {
        None => Ok(word),
        Some(("pod" | "pods" | "po", name)) => Ok(name),
        Some((other, _)) => Err(CommandError::usage(format!("{other} is no pod: give a pod's name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_kubectl_splits_them() {
        let check = |words: &[&str], expected: Option<(&str, &[&str])>| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let expected =
                expected.map(|(r, names)| (r.to_owned(), names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()));
            assert_eq!(split(&words).ok(), expected, "{words:?}");
        };
        check(&["pods"], Some(("pods", &[])));
        check(&["po", "a", "b"], Some(("po", &["a", "b"])));
        check(&["pod/a"], Some(("pod", &["a"])));
        check(&["pod/a", "b"], None);
        check(&["pod/"], None);
        check(&[], None);
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let pods = Resource { group_version: "v1".into(), plural: "pods".into(), kind: "Pod".into(), namespaced: true };
        assert_eq!(pods.path(Some("a")), "/api/v1/namespaces/a/pods");
        assert_eq!(pods.path(None), "/api/v1/pods");
        let leases = Resource { group_version: "coordination.k8s.io/v1".into(), plural: "leases".into(), ..pods };
        assert_eq!(leases.path(Some("a")), "/apis/coordination.k8s.io/v1/namespaces/a/leases");
    }
}
