//! Each namespace has the service account `default`. Started by [`run`](crate::run).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};

use crate::Account;
use crate::per_object::{self, CallError, answered, is_ending};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:service-account-controller");

const NAME: &str = "default";

/// Runs until dropped.
pub async fn run(client: Client) {
    let accounts: Api<ServiceAccount> = Api::all(client.clone());
    let ours = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let controller =
        Controller::new(Api::all(client.clone()), watcher::Config::default())
            .watches(accounts, ours, |account| account.namespace().map(|namespace| ObjectRef::new(&namespace)));
    per_object::run("service-account", controller, move |namespace| reconcile(client.clone(), namespace)).await;
}

async fn reconcile(client: Client, namespace: Arc<Namespace>) -> Result<(), CallError> {
    if is_ending(&namespace) {
        return Ok(());
    }
    let name = namespace.name_any();
    let api: Api<ServiceAccount> = Api::namespaced(client, &name);
    let found =
        api.get_opt(NAME).await.map_err(CallError::new(format!("look for the service account {name}/{NAME}")))?;
    if found.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    match api.create(&PostParams::default(), &account).await {
        Err(error) if !answered(&error, 409) => {
            Err(CallError::new(format!("make the service account {name}/{NAME}"))(error))
        }
        _ => Ok(()),
    }
}
