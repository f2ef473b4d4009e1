//! Each namespace has the config map `kube-root-ca.crt`, by which its pods verify the API server. Started by
//! [`run`](crate::run). Source of the rules: upstream's `rootcacertpublisher`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};

use crate::Account;
use crate::per_object::{self, CallError, answered, is_ending};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:root-ca-cert-publisher");

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
     service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// Publishes this certificate, until dropped.
pub async fn run(client: Client, authority_pem: String) {
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let ours = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let controller = Controller::new(Api::all(client.clone()), watcher::Config::default())
        .watches(maps, ours, |map| map.namespace().map(|namespace| ObjectRef::new(&namespace)));
    let authority_pem = Arc::new(authority_pem);
    let look = move |namespace| reconcile(client.clone(), Arc::clone(&authority_pem), namespace);
    per_object::run("root-ca", controller, look).await;
}

async fn reconcile(client: Client, authority_pem: Arc<String>, namespace: Arc<Namespace>) -> Result<(), CallError> {
    if is_ending(&namespace) {
        return Ok(());
    }
    let name = namespace.name_any();
    let api: Api<ConfigMap> = Api::namespaced(client, &name);
    let found = api.get_opt(NAME).await.map_err(CallError::new(format!("look for the config map {name}/{NAME}")))?;
    let (post, what) = (PostParams::default(), format!("write the config map {name}/{NAME}"));
    let written = match correction(found, &authority_pem) {
        Correction::None => return Ok(()),
        Correction::Create(map) => api.create(&post, &map).await,
        Correction::Replace(map) => api.replace(NAME, &post, &map).await,
    };
    match written {
        // Someone else was quicker: the watch brings us here again.
        Err(error) if !answered(&error, 409) => Err(CallError::new(what)(error)),
        _ => Ok(()),
    }
}

#[derive(Debug, PartialEq)]
enum Correction {
    None,
    Create(ConfigMap),
    Replace(ConfigMap),
}

/// What must be written. As upstream: other keys go, other annotations stay.
fn correction(found: Option<ConfigMap>, authority_pem: &str) -> Correction {
    let data = Some(BTreeMap::from([(KEY.to_owned(), authority_pem.to_owned())]));
    let (key, text) = DESCRIPTION;
    let Some(mut map) = found else {
        let annotations = Some(BTreeMap::from([(key.to_owned(), text.to_owned())]));
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), annotations, ..ObjectMeta::default() };
        return Correction::Create(ConfigMap { metadata, data, ..ConfigMap::default() });
    };
    let is_described = map.annotations().get(key).is_some_and(|found| found == text);
    if map.data == data && is_described {
        return Correction::None;
    }
    map.data = data;
    map.annotations_mut().insert(key.to_owned(), text.to_owned());
    Correction::Replace(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(annotations: &[(&str, &str)], data: &[(&str, &str)]) -> ConfigMap {
        let owned = |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        let metadata = ObjectMeta { name: Some(NAME.into()), annotations: owned(annotations), ..ObjectMeta::default() };
        ConfigMap { metadata, data: owned(data), ..ConfigMap::default() }
    }

    #[test]
    fn the_config_map_is_made_and_mended() {
        let check = |found: Option<ConfigMap>, expected: Correction| assert_eq!(correction(found, "CERT"), expected);
        let good = map(&[DESCRIPTION], &[(KEY, "CERT")]);
        check(None, Correction::Create(good.clone()));
        check(Some(good.clone()), Correction::None);
        check(Some(map(&[DESCRIPTION], &[(KEY, "OLD")])), Correction::Replace(good.clone()));
        check(Some(map(&[DESCRIPTION], &[(KEY, "CERT"), ("more", "")])), Correction::Replace(good.clone()));
        check(Some(map(&[], &[(KEY, "CERT")])), Correction::Replace(good.clone()));
        check(Some(map(&[], &[])), Correction::Replace(good));
        let mine = map(&[DESCRIPTION, ("my", "own")], &[(KEY, "CERT")]);
        check(Some(map(&[("my", "own")], &[])), Correction::Replace(mine.clone()));
        check(Some(mine), Correction::None);
    }
}
