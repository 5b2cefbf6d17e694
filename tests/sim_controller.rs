//! The true controller, over HTTP, against the simulated world, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "sim_controller/argocd.rs"]
mod argocd;
#[path = "sim_controller/asks.rs"]
mod asks;
#[path = "sim_controller/beside.rs"]
mod beside;
#[path = "sim_controller/ci.rs"]
mod ci;
#[path = "sim_controller/crashes.rs"]
mod crashes;
#[path = "sim_controller/ends.rs"]
mod ends;
#[path = "sim_controller/gitops.rs"]
mod gitops;
#[path = "sim_controller/incidents.rs"]
mod incidents;
#[path = "sim_controller/kinds.rs"]
mod kinds;
#[path = "sim_controller/mlflow.rs"]
mod mlflow;
#[path = "sim_controller/outages.rs"]
mod outages;
#[path = "sim_controller/outcomes.rs"]
mod outcomes;
#[path = "sim_controller/own.rs"]
mod own;
#[path = "sim_controller/plain.rs"]
mod plain;
#[path = "sim_controller/preflight.rs"]
mod preflight;
#[path = "sim_controller/presets.rs"]
mod presets;
#[path = "sim_controller/records.rs"]
mod records;
#[path = "sim_controller/size.rs"]
mod size;
#[path = "sim_controller/sources.rs"]
mod sources;
#[path = "sim_controller/stage.rs"]
mod stage;
#[path = "sim_controller/strategies.rs"]
mod strategies;
#[path = "sim_controller/strategies_ends.rs"]
mod strategies_ends;
#[path = "sim_controller/strategies_hands.rs"]
mod strategies_hands;
#[path = "sim_controller/unanswered.rs"]
mod unanswered;
