//! haldane: progressive delivery for machine-learning models on Istio.
//!
//! Observe, judge, decide, act: caches and the newest look at Prometheus become an [`observe`]d value; [`counts`] and [`judge`] turn raw
//! counters into evidence; `decide` is a pure state machine; `act` performs at most one guarded mutation a pass; `tell` speaks of it after
//! the traffic is safe.

pub mod api;
pub mod config;
pub mod counts;
pub mod judge;
pub mod observe;
pub mod plan;
pub mod sim;
