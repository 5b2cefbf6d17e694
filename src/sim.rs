//! A world in one process, on loopback: a Kubernetes API, a mesh of proxies, open-loop traffic and a Prometheus. The true controller runs
//! against it over HTTP, in the demo and in the tests. Nothing in here is used by the controller itself.
//!
//! The traffic engine ticks every 100 ms: it reads the route from the store, lets each proxy have it after that proxy's own delay, draws
//! how many requests came and what became of them, adds that to the counters of sidecars, gateways and models, and scrapes the targets
//! that are due. Time comes from tokio, so that a test with paused time plays hours in seconds.

pub mod alerts;
pub mod apiserver;
pub mod cluster;
pub mod faults;
pub mod kinds;
pub mod mesh;
pub mod objects;
pub mod prometheus;
pub mod route_kind;
pub mod store;
pub mod traffic;
mod world;

pub use route_kind::RouteKind;
pub use world::{APP, NAMESPACE, World, WorldConfig};
