//! The namespaces that every cluster has, made at start. Called once by [`run`](crate::run); nobody can delete them, so nothing
//! is watched. Source of the list: upstream's `SystemNamespacesController`.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::per_namespace::answered;
use crate::{Account, retry};

/// As whom: upstream's API server does this itself.
pub const ACCOUNT: Account = Account { user: "system:apiserver", groups: &["system:masters"] };

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Returns when all of them exist.
pub async fn run(client: Client) {
    let api = Api::all(client);
    for name in NAMESPACES {
        let mut failures = 0;
        while let Err(error) = make(&api, name).await {
            failures += 1;
            let error: &dyn std::error::Error = &error;
            tracing::warn!(controller = "bootstrap", namespace = name, error, "will be tried again");
            tokio::time::sleep(retry::pause(failures)).await;
        }
    }
}

async fn make(api: &Api<Namespace>, name: &str) -> Result<(), kube::Error> {
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    match api.create(&PostParams::default(), &namespace).await {
        Err(error) if !answered(&error, 409) => Err(error),
        _ => Ok(()),
    }
}
