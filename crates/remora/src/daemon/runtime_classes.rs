//! A runtime class for each low-level runtime of this machine, by its handler's name, so that pods can name it without further ado. What is
//! there already is left alone: people may have changed it.

use anyhow::{Context, Result};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Error};

/// Offers the handlers of this machine. Called once, when the API server serves.
pub(crate) async fn offer(client: Client, handlers: impl IntoIterator<Item = String>) -> Result<()> {
    let classes: Api<RuntimeClass> = Api::all(client);
    for handler in handlers.into_iter().filter(|handler| !handler.is_empty()) {
        let metadata = ObjectMeta { name: Some(handler.clone()), ..ObjectMeta::default() };
        let class = RuntimeClass { metadata, handler, ..RuntimeClass::default() };
        match classes.create(&PostParams::default(), &class).await {
            Err(Error::Api(status)) if status.code == 409 => {}
            created => created.map(drop).with_context(|| format!("creating the runtime class {}", class.handler))?,
        }
    }
    Ok(())
}
