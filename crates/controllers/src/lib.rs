//! The controllers of the cluster: each watches what it is for, and brings it closer to what it should be.
//!
//! What it is not: it stores nothing and knows no way into the API but `kube::Client`. Each controller is given a client of
//! its own account, whose rights the API server limits.
//! Called by the binary, which drops the future of [`run`] to stop.
//!
//! | module | watches | sees to it that |
//! |---|---|---|
//! | [`namespace`] | namespaces | what is in a deleted namespace goes, then the namespace |
//! | [`service_account`] | namespaces, service accounts | each namespace has the account `default` |
//! | [`root_ca`] | namespaces, config maps | each namespace has `kube-root-ca.crt` |
//! | [`resource_quota`] | resource quotas | what they limit is counted once; the API server keeps count from then on |
//! | [`role_aggregation`] | cluster roles | a role that is made of others has their rules |
//! | [`replica_set`] | replica sets, pods | as many pods as wanted are there |
//! | [`deployment`] | deployments, replica sets | pods of the present template replace others |
//! | [`disruption`] | disruption budgets, pods | evictions know what they may do |
//! | [`endpoints`] | services, pods | what is behind a service is written down |
//! | [`storage`] | claims, volumes, storage classes | each claim gets a volume, one that is there or one that is made for it |
//! | [`taint_eviction`] | nodes, and pods while some node is tainted | pods go from nodes whose taints they do not tolerate |
//! | [`garbage`] | everything's metadata | what nobody owns any more goes |
//! | [`scheduler`] | pods without a node, nodes | each such pod gets a node, or its user is told why not |
//!
//! Where several nodes share a store, [`election`] says whose controllers work.
//!
//! All are level-triggered: an event says "look again", and each look may be repeated with no harm.
#![forbid(unsafe_code)]

pub mod deployment;
pub mod disruption;
pub mod election;
pub mod endpoints;
pub mod garbage;
pub mod namespace;
mod objects;
mod per_object;
mod pods;
mod recorder;
pub mod replica_set;
pub mod resource_quota;
mod retry;
pub mod role_aggregation;
pub mod root_ca;
pub mod scheduler;
#[cfg(test)]
mod scripted;
pub mod service_account;
pub mod storage;
pub mod taint_eviction;
mod turns;
mod workloads;
mod world;

use std::convert::Infallible;

use kube::Client;

/// As whom a controller calls the API: upstream's names, so that its roles fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: &'static str,
    /// Its groups, without `system:authenticated`, which every user has.
    pub groups: &'static [&'static str],
}

impl Account {
    /// A service account of `kube-system`; `user` is `system:serviceaccount:kube-system:NAME`.
    const fn service_account(user: &'static str) -> Self {
        Self { user, groups: &["system:serviceaccounts", "system:serviceaccounts:kube-system"] }
    }
}

/// One client per controller.
#[derive(Clone)]
pub struct Clients {
    /// For [`namespace`].
    pub namespace: Client,
    /// For [`service_account`].
    pub service_account: Client,
    /// For [`role_aggregation`].
    pub role_aggregation: Client,
    /// For [`root_ca`].
    pub root_ca: Client,
    /// For [`resource_quota`].
    pub resource_quota: Client,
    /// For [`garbage`], and for what all controllers of workloads are told.
    pub garbage: Client,
    /// For [`replica_set`].
    pub replica_set: Client,
    /// For [`deployment`].
    pub deployment: Client,
    /// For [`disruption`].
    pub disruption: Client,
    /// For [`endpoints`]: what it writes in the older form.
    pub endpoint: Client,
    /// For [`endpoints`]: what it reads, and slices.
    pub endpoint_slice: Client,
    /// For [`storage`].
    pub storage: Client,
    /// For [`taint_eviction`].
    pub taint_eviction: Client,
    /// For [`scheduler`].
    pub scheduler: Client,
}

impl Clients {
    /// All clients, made by `connect` for each account.
    pub fn connect(connect: impl Fn(Account) -> Client) -> Self {
        Self {
            namespace: connect(namespace::ACCOUNT),
            service_account: connect(service_account::ACCOUNT),
            role_aggregation: connect(role_aggregation::ACCOUNT),
            root_ca: connect(root_ca::ACCOUNT),
            resource_quota: connect(resource_quota::ACCOUNT),
            garbage: connect(garbage::ACCOUNT),
            replica_set: connect(replica_set::ACCOUNT),
            deployment: connect(deployment::ACCOUNT),
            disruption: connect(disruption::ACCOUNT),
            endpoint: connect(endpoints::ACCOUNT),
            endpoint_slice: connect(endpoints::SLICE_ACCOUNT),
            storage: connect(storage::ACCOUNT),
            taint_eviction: connect(taint_eviction::ACCOUNT),
            scheduler: connect(scheduler::ACCOUNT),
        }
    }
}

/// What controllers must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This machine's name, by which the scheduler signs its events.
    pub host: String,
    /// The certificate (PEM) by which pods verify the API server.
    pub authority_pem: String,
    /// The folder of this machine in which volumes are made for claims.
    pub volumes: String,
}

/// Runs all controllers, until dropped. Errors of the API are retried, for ever, with growing pauses.
pub async fn run(clients: Clients, settings: Settings) -> Infallible {
    let Clients { namespace, service_account, role_aggregation, root_ca, resource_quota, scheduler, .. } = clients;
    let Clients { garbage, replica_set, deployment, disruption, endpoint, endpoint_slice, storage, .. } = clients;
    let taint_eviction = clients.taint_eviction;
    let workloads = workloads::Clients {
        garbage,
        replica_set,
        deployment,
        disruption,
        endpoint,
        endpoint_slice,
        storage,
        taint_eviction,
    };
    let Settings { host, authority_pem, volumes } = settings;
    let place = storage::Place { folder: volumes, node: host.clone() };
    tokio::join!(
        namespace::run(namespace),
        service_account::run(service_account),
        role_aggregation::run(role_aggregation),
        root_ca::run(root_ca, authority_pem),
        resource_quota::run(resource_quota),
        workloads::run(workloads, place),
        scheduler::run(scheduler, &host),
    );
    // Each of them goes on as long as its watch does, and a watch is started anew for ever.
    std::future::pending().await
}
