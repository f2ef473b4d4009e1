//! Whole clusters on fakes: the real API server, controllers and node agent over a runtime in memory. No root, paused time.

mod behaviours;
mod claims;
mod cluster;
mod election;
mod node;
mod resize;
mod services;
mod static_pods;
mod usage;
