//! What an update costs, and what doing nothing costs.

use std::{collections::BTreeMap, time::Duration};

use haldane::{api::Phase, sim::faults::Record};
use jiff::Timestamp;

use super::{
    fleet::{Fleet, Size, usual},
    process::Controller,
    summary,
};

/// The holds of four steps.
const HOLDS: f64 = 40.0;

/// A four-step update of one model alone, so many times, each in a new world.
pub(crate) async fn update(times: usize) {
    for time in 1..=times {
        let fleet = Fleet::start(Size::usual(1, 1000.0)).await;
        fleet.apply(0, &usual(0, "v1")).await;
        let controller = Controller::start(&fleet).await;
        fleet.until(0, "idle", |status| status.phase == Some(Phase::Idle)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let begun = Begun::now(&fleet, &controller);
        fleet.apply(0, &usual(0, "v2")).await;
        fleet.until(0, "promoted", |status| status.phase == Some(Phase::Promoted)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        begun.tell(&format!("update {time}"), 1, &fleet, &controller);
        let after = |record: &Record| record.at.duration_since(begun.at).as_secs_f64();
        let weights: Vec<f64> = routes(&fleet.requests()).map(after).collect();
        println!("  weights written after {weights:.3?} s");
    }
}

/// Many four-step updates at once.
pub(crate) async fn updates(models: usize) {
    let fleet = Fleet::start(Size::usual(models, 300.0)).await;
    for index in 0..models {
        fleet.apply(index, &usual(index, "v1")).await;
    }
    let controller = Controller::start(&fleet).await;
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    let begun = Begun::now(&fleet, &controller);
    for index in 0..models {
        fleet.apply(index, &usual(index, "v2")).await;
    }
    for index in 0..models {
        fleet.until(index, "promoted", |status| status.phase == Some(Phase::Promoted)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    begun.tell(&format!("{models} updates at once"), models, &fleet, &controller);
    let mut first: BTreeMap<String, f64> = BTreeMap::new();
    for record in routes(&fleet.requests()) {
        first.entry(record.name.clone()).or_insert(record.at.duration_since(begun.at).as_secs_f64());
    }
    println!("  seconds to the first shift: {}", summary(first.into_values().collect()));
}

/// What was there before something began.
struct Begun {
    at: Timestamp,
    cpu: f64,
    ticks: f64,
    queries: usize,
}

impl Begun {
    fn now(fleet: &Fleet, controller: &Controller) -> Self {
        fleet.api.faults().forget();
        let (cpu, ticks, queries) = (controller.milliseconds(), controller.ticks(), fleet.prometheus.asked().len());
        Self { at: fleet.clock.now(), cpu, ticks, queries }
    }

    /// What it has cost since, in all and for each of these models.
    fn tell(&self, what: &str, models: usize, fleet: &Fleet, controller: &Controller) {
        let (cpu, ticks) = (controller.milliseconds() - self.cpu, controller.ticks() - self.ticks);
        let (requests, queries) = (fleet.requests(), fleet.prometheus.asked().len() - self.queries);
        let each = |all: f64| all / models as f64;
        println!("{what}: {:.1} requests each, in all {}", each(requests.len() as f64), by_verb(&requests));
        println!("  processor {:.1} ms each (by ticks of 10 ms: {:.1}), {:.1} queries each", each(cpu), each(ticks), each(queries as f64));
        println!("  memory {:.1} MB, at most {:.1} MB", controller.megabytes("VmRSS:"), controller.megabytes("VmHWM:"));
        let mut promoted_after: BTreeMap<&str, f64> = BTreeMap::new();
        for record in requests.iter().filter(|record| promoted(record)) {
            promoted_after.entry(&record.name).or_insert(record.at.duration_since(self.at).as_secs_f64() - HOLDS);
        }
        println!("  seconds beyond the holds of {HOLDS} s: {}", summary(promoted_after.into_values().collect()));
    }
}

/// The first time that so many Rollouts are applied to a controller that has none.
pub(crate) async fn deploy(models: usize) {
    let fleet = Fleet::start(Size { replicas: 2, ..Size::quick(models, 0.0) }).await;
    let controller = Controller::start(&fleet).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, begun) = (controller.milliseconds(), fleet.clock.elapsed());
    fleet.api.faults().forget();
    for index in 0..models {
        fleet.apply(index, &usual(index, "v1")).await;
    }
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    let seconds = fleet.clock.elapsed().saturating_sub(begun).as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "{models} deployed: {seconds:.1} s, processor {:.2} ms each, {:.1} requests each, memory {:.1} MB",
        (controller.milliseconds() - cpu) / models as f64,
        fleet.requests().len() as f64 / models as f64,
        controller.megabytes("VmRSS:"),
    );
}

/// Models at rest: memory, requests and processor time in a minute.
pub(crate) async fn rest(models: usize) {
    let fleet = Fleet::start(Size::quick(models, 0.0)).await;
    for index in 0..models {
        fleet.apply(index, &usual(index, "v1")).await;
    }
    let controller = Controller::start(&fleet).await;
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    fleet.api.faults().forget();
    let cpu = controller.milliseconds();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = fleet.requests();
    let watches = fleet.api.faults().log().iter().filter(|record| record.verb.as_str() == "watch").count();
    println!(
        "{models} at rest: memory {:.1} MB (at most {:.1} MB), {} requests a minute beyond lease and watches, {watches} watches opened again, processor {:.1} ms a minute",
        controller.megabytes("VmRSS:"),
        controller.megabytes("VmHWM:"),
        requests.len(),
        controller.milliseconds() - cpu,
    );
}

fn routes(requests: &[Record]) -> impl Iterator<Item = &Record> {
    requests.iter().filter(|record| record.verb.writes() && record.resource.starts_with("virtualservices"))
}

/// The write of status that says so, and those after it.
fn promoted(record: &Record) -> bool {
    record.subresource == "status" && record.body[1]["value"]["phase"] == "Promoted"
}

fn by_verb(requests: &[Record]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in requests {
        let resource = record.resource.split('.').next().unwrap_or_default();
        let what = if record.subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{}", record.subresource) };
        *counts.entry(format!("{} {what}", record.verb.as_str())).or_default() += 1;
    }
    counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
