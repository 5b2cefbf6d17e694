//! What an update costs, and what doing nothing costs.

use std::{collections::BTreeMap, time::Duration};

use haldane::{api::Phase, sim::faults::Record};

use super::{
    fleet::{Fleet, Size, spec},
    process::Controller,
    summary,
};

/// The holds of four steps.
const HOLDS: f64 = 40.0;

/// A four-step update of one model alone, so many times, each in a new world.
pub(crate) async fn update(times: usize) {
    for time in 1..=times {
        let fleet = Fleet::start(Size { models: 1, rps: 1000.0 }).await;
        fleet.apply(0, &spec(0, "v1", "10s", true)).await;
        let controller = Controller::start(&fleet).await;
        fleet.until(0, "idle", |status| status.phase == Some(Phase::Idle)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        fleet.api.faults().forget();
        let (cpu, ticks) = (controller.milliseconds(), controller.ticks());
        let begun = fleet.clock.now();
        fleet.apply(0, &spec(0, "v2", "10s", true)).await;
        fleet.until(0, "promoted", |status| status.phase == Some(Phase::Promoted)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (cpu, ticks) = (controller.milliseconds() - cpu, controller.ticks() - ticks);
        let requests = fleet.requests();
        let after = |record: &Record| record.at.duration_since(begun).as_secs_f64();
        let weights: Vec<f64> = routes(&requests).map(after).collect();
        let promoted = requests.iter().find(|record| promoted(record)).map_or(f64::NAN, after);
        println!("update {time}: {} requests: {}", requests.len(), by_verb(&requests));
        println!("  {:.3} s beyond the holds of {HOLDS} s; weights written after {weights:.3?} s", promoted - HOLDS);
        println!("  processor {cpu:.1} ms (by ticks of 10 ms: {ticks:.0} ms)");
    }
}

/// Many four-step updates at once.
pub(crate) async fn updates(models: usize) {
    let fleet = Fleet::start(Size { models, rps: 300.0 }).await;
    for index in 0..models {
        fleet.apply(index, &spec(index, "v1", "10s", false)).await;
    }
    let controller = Controller::start(&fleet).await;
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    fleet.api.faults().forget();
    let cpu = controller.milliseconds();
    let begun = fleet.clock.now();
    for index in 0..models {
        fleet.apply(index, &spec(index, "v2", "10s", false)).await;
    }
    for index in 0..models {
        fleet.until(index, "promoted", |status| status.phase == Some(Phase::Promoted)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu = controller.milliseconds() - cpu;
    let requests = fleet.requests();
    println!("{models} updates at once: {:.1} requests each: {}", requests.len() as f64 / models as f64, by_verb(&requests));
    let mut first: BTreeMap<&str, f64> = BTreeMap::new();
    for record in requests.iter().filter(|record| promoted(record)) {
        first.entry(&record.name).or_insert(record.at.duration_since(begun).as_secs_f64() - HOLDS);
    }
    println!("  seconds beyond the holds: {}", summary(first.values().copied().collect()));
    let (memory, most) = (controller.megabytes("VmRSS:"), controller.megabytes("VmHWM:"));
    println!("  processor {:.1} ms each; memory {memory:.1} MB, at most {most:.1} MB", cpu / models as f64);
}

/// Models at rest: memory, requests and processor time in a minute.
pub(crate) async fn rest(models: usize) {
    let fleet = Fleet::start(Size { models, rps: 0.0 }).await;
    for index in 0..models {
        fleet.apply(index, &spec(index, "v1", "10s", false)).await;
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
