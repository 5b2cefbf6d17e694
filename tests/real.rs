//! Stories on the real parts: kube-apiserver, istiod, Envoy, Prometheus, Alertmanager and a scikit-learn model, with traffic.
//!
//! They need a running stack: `tests/stack/build && tests/stack/up`, then
//! `tests/stack/enter cargo test --offline --test real -- --test-threads=1`. `tests/run` does all of it. Without a stack they fail.

// What is measured here is measured on a real clock, and the stack is named by environment variables.
#![allow(clippy::disallowed_methods)]

#[cfg(test)]
mod real {
    mod between;
    mod climb;
    mod controller;
    mod load;
    #[path = "../shipped/queries.rs"]
    mod queries;
    mod recorder;
    mod ways;
    mod webhook;
    mod world;

    mod alike;
    mod backtest;
    mod beside;
    mod commands;
    mod crash;
    mod dashboards;
    mod delete;
    mod doctor;
    mod hands;
    mod manifest;
    mod mlflow;
    mod outage;
    mod promote;
    mod replicas;
    mod revisions;
    mod rollback;
    mod services;
    mod stack;
    mod stores;
    mod strategies;
    mod tables;
    mod unreached;
    mod walk;
}
