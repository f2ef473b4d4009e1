//! Which store a node has, as the command line names it; [`backup`] copies it to files and back.

mod backup;

use std::sync::Arc;

use remora_cli::{CommandError, StoreArgs};
use remora_store::sqlite::SqliteEngine;
use remora_store::{Engine, Error, Store, watched};
use remora_store_etcd::{Address, EtcdConfig, EtcdEngine, Login, TlsFiles};

pub(crate) use self::backup::run;

use crate::place::Place;

/// Opens the store with the watch cache in front of it.
pub(crate) async fn open(place: &Place, args: &StoreArgs) -> Result<Arc<dyn Store>, CommandError> {
    let engine = open_engine(place, args).await?;
    let store = watched(engine).await.map_err(|error| cannot("opening the store", &error))?;
    Ok(Arc::new(store))
}

/// Opens what keeps the objects: an etcd, or SQLite in the data folder.
pub(crate) async fn open_engine(place: &Place, args: &StoreArgs) -> Result<Arc<dyn Engine>, CommandError> {
    match etcd(args)? {
        Some(config) => {
            let engine = EtcdEngine::open(config).await.map_err(|error| unreachable(&error))?;
            Ok(Arc::new(engine))
        }
        None => {
            let engine = SqliteEngine::open(place.store()).await;
            Ok(Arc::new(engine.map_err(|error| cannot("opening the store", &error))?))
        }
    }
}

/// The etcd that the command line names.
pub(crate) fn etcd(args: &StoreArgs) -> Result<Option<EtcdConfig>, CommandError> {
    let Some(store) = &args.store else {
        let names_etcd = args.etcd_cafile.is_some() || args.etcd_user.is_some();
        return if names_etcd {
            Err(CommandError::usage("--etcd-… without --store: which etcd is meant?").hint("--store etcd://HOST:2379"))
        } else {
            Ok(None)
        };
    };
    let address: Address = store.parse().map_err(CommandError::usage)?;
    let tls = args
        .etcd_cafile
        .clone()
        .map(|authority| TlsFiles { authority, identity: args.etcd_certfile.clone().zip(args.etcd_keyfile.clone()) });
    let login = args.etcd_user.clone().zip(args.etcd_password_file.clone());
    let login = login.map(|(user, password_file)| Login { user, password_file });
    if login.is_some() && tls.is_none() {
        tracing::warn!("etcd's password goes over the network in plain text: --etcd-cafile makes it TLS");
    }
    Ok(Some(EtcdConfig { address, tls, login }))
}

fn unreachable(error: &Error) -> CommandError {
    CommandError::unreachable(error).hint(
        "is etcd running, and does it listen there for clients? An etcd with TLS needs --etcd-cafile (and \
         --etcd-certfile, --etcd-keyfile), one with users --etcd-user and --etcd-password-file",
    )
}

/// A failure of the store. Its own words hold the remedy.
pub(crate) fn cannot(what: &str, error: &Error) -> CommandError {
    CommandError::caused(what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_an_etcd() {
        let check = |args: StoreArgs, expected: Result<Option<(&str, bool, bool)>, &str>| match (etcd(&args), expected)
        {
            (Ok(None), Ok(None)) => {}
            (Ok(Some(found)), Ok(Some((endpoint, tls, login)))) => {
                let first = found.address.endpoints[0].to_string();
                assert_eq!((first.as_str(), found.tls.is_some(), found.login.is_some()), (endpoint, tls, login));
            }
            (Err(error), Err(part)) => assert!(error.message.contains(part), "{error} lacks {part:?}"),
            (result, expected) => panic!("expected {expected:?}, got {result:?}"),
        };
        let store = Some("etcd://a:1".to_owned());
        check(StoreArgs::default(), Ok(None));
        check(StoreArgs { store: store.clone(), ..StoreArgs::default() }, Ok(Some(("a:1", false, false))));
        let tls = StoreArgs { etcd_cafile: Some("ca".into()), ..StoreArgs::default() };
        check(tls.clone(), Err("which etcd"));
        check(StoreArgs { store: store.clone(), ..tls }, Ok(Some(("a:1", true, false))));
        let login =
            StoreArgs { etcd_user: Some("u".into()), etcd_password_file: Some("f".into()), ..StoreArgs::default() };
        check(StoreArgs { store, ..login }, Ok(Some(("a:1", false, true))));
        check(StoreArgs { store: Some("http://a".into()), ..StoreArgs::default() }, Err("begin with etcd://"));
    }
}
