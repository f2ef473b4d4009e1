//! Config maps and secrets, read from the API when a pod needs them.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::context::{Context, id_of};

/// An object that cannot be had. The words are shown in statuses and events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("{kind} {name:?} not found")]
    NotFound { kind: &'static str, name: String },
    #[error("cannot read {kind} {name:?}: {source}")]
    Api {
        kind: &'static str,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// A config map of the pod's namespace. A missing one is none if it is optional.
pub(crate) async fn config_map(
    context: &Context,
    pod: &Pod,
    name: &str,
    optional: bool,
) -> Result<Option<ConfigMap>, LookupError> {
    get(context, pod, "configmap", name, optional).await
}

/// A secret of the pod's namespace. A missing one is none if it is optional.
pub(crate) async fn secret(
    context: &Context,
    pod: &Pod,
    name: &str,
    optional: bool,
) -> Result<Option<Secret>, LookupError> {
    get(context, pod, "secret", name, optional).await
}

async fn get<K>(
    context: &Context,
    pod: &Pod,
    kind: &'static str,
    name: &str,
    optional: bool,
) -> Result<Option<K>, LookupError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(context.config.client.clone(), id_of(pod).namespace);
    let failed = |source| LookupError::Api { kind, name: name.to_owned(), source: Box::new(source) };
    match api.get_opt(name).await.map_err(failed)? {
        None if !optional => Err(LookupError::NotFound { kind, name: name.to_owned() }),
        found => Ok(found),
    }
}
