//! What the controllers that look at objects one by one (namespaces, most of them) have in common: kube-runtime's `Controller`, pauses after
//! failures, one line in the log for each failure.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use serde::de::DeserializeOwned;

use crate::retry::Failures;

/// A call to the API that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub(crate) struct CallError {
    what: String,
    #[source]
    source: kube::Error,
}

impl CallError {
    /// An error that says what was tried.
    pub(crate) fn new(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |source| Self { what: what.into(), source }
    }
}

/// Whether the API answered with this HTTP status.
pub(crate) fn answered(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Whether a namespace is on its way out, so that nothing may be made in it any more.
pub(crate) fn is_ending(namespace: &Namespace) -> bool {
    let terminating = namespace.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Terminating");
    namespace.metadata.deletion_timestamp.is_some() || terminating
}

/// Reconciles each object whenever the controller's watches say so.
pub(crate) async fn run<K, R, F>(name: &'static str, controller: Controller<K>, reconcile: R)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    R: Fn(Arc<K>) -> F + Send + 'static,
    F: Future<Output = Result<(), CallError>> + Send + 'static,
{
    let look = move |object, _| {
        let looked = reconcile(object);
        Box::pin(async move { looked.await.map(|()| Action::await_change()) })
    };
    let pause = |object: Arc<K>, _: &CallError, failures: Arc<Failures>| {
        Action::requeue(failures.failed(&ObjectRef::from_obj(object.as_ref()).to_string()))
    };
    let failures = Arc::new(Failures::default());
    let looks = controller.run(look, pause, Arc::clone(&failures));
    let tell = async |look| match look {
        Ok((object, _)) => {
            let object: ObjectRef<K> = object;
            failures.succeeded(&object.to_string());
        }
        // It went while it waited for its turn.
        Err(ControllerError::ObjectNotFound(_)) => {}
        Err(error) => {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = name, error, "will be tried again");
        }
    };
    looks.for_each(tell).await;
}
