//! Prints the figures of docs/performance.md: `cargo bench --bench controller`, or only some of its parts:
//! `cargo bench --bench controller -- update rest`. The parts are `update`, `updates`, `deploy`, `reaction`, `plain`, `crowd`, `fleet`, `rest` and `scale`.
//! `--program=PATH` measures another build of the program; numbers after `scale` are how many Rollouts are under way and at rest.
//!
//! The controller is the program itself, in its own process; this one serves the API, the mesh, Prometheus and a webhook over HTTP.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench")]

#[path = "controller/cost.rs"]
mod cost;
#[path = "controller/fleet.rs"]
mod fleet;
#[path = "controller/formula.rs"]
mod formula;
#[path = "controller/process.rs"]
mod process;
#[path = "controller/reaction.rs"]
mod reaction;
#[path = "controller/scale.rs"]
mod scale;

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|word| word == part);
    if wants("update") {
        cost::update(3).await;
    }
    if wants("updates") {
        cost::updates(50).await;
    }
    if wants("deploy") {
        cost::deploy(300).await;
        cost::deploy(2000).await;
    }
    if wants("reaction") {
        reaction::alone(100, 40).await;
    }
    if wants("plain") {
        reaction::plain(5, 15).await;
        reaction::plain(15, 8).await;
    }
    if wants("crowd") {
        reaction::among(50, 30, 10).await;
    }
    if wants("fleet") {
        reaction::together(50).await;
    }
    if wants("rest") {
        cost::rest(0).await;
        cost::rest(300).await;
    }
    // By name alone: it takes a quarter of an hour.
    if asked.iter().any(|word| word == "scale") {
        let mut sizes = asked.iter().filter_map(|word| word.parse().ok());
        scale::scale(sizes.next().unwrap_or(1000), sizes.next().unwrap_or(10_000)).await;
    }
}

/// Median, 99th percentile and most, in the unit of the values.
pub fn summary(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values.get(((values.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    format!("p50 {:.1}, p99 {:.1}, most {:.1} (n {})", at(0.5), at(0.99), at(1.0), values.len())
}
