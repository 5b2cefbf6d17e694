//! haldane: progressive delivery for machine-learning models on Istio.
//!
//! Observe, judge, decide, act: caches and the newest look at Prometheus become an [`observe`]d value; [`counts`] and [`judge`] turn raw
//! counters into evidence; `decide` is a pure state machine; `drive` says what a decision asks for, as a value; `act` performs at most one
//! guarded mutation a pass; `tell` speaks of it after the traffic is safe.

pub mod act;
pub mod api;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod controller;
pub mod counts;
pub mod dashboard;
pub mod decide;
pub mod doctor;
pub mod drive;
pub mod gateway_api;
pub mod http_access;
pub mod istio;
pub mod judge;
pub mod lease;
pub mod link;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod recorder;
pub mod rehearse;
pub mod route;
pub mod say;
pub mod seen;
pub mod server;
pub mod sim;
pub mod source;
pub mod state;
pub mod supplier;
pub mod telemetry;
pub mod tell;
pub mod template;
pub mod tls;
pub mod traces;
pub mod view;
pub mod web;
pub mod words;
