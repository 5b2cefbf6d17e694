//! How soon the traffic is back after an abort, and after the look that fails.

use std::time::Duration;

use haldane::{
    api::{Phase, RolloutStatus},
    sim::traffic::Behaviour,
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    fleet::{Fleet, Size, better, spec},
    process::Controller,
    summary,
};

/// One model alone.
pub(crate) async fn alone(aborts: usize, fails: usize) {
    let fleet = Fleet::start(Size::quick(1, 1000.0)).await;
    fleet.apply(0, &spec(0, "v2", "1h", false)).await;
    let _controller = Controller::start(&fleet).await;
    fleet.until(0, "at 5 %", at_five).await;
    println!("alone: abort to patch in ms: {}", summary(abort_again_and_again(&fleet, aborts).await));
    println!("alone: failing look to patch in ms: {}", summary(fail_again_and_again(&fleet, fails).await));
}

/// One model among others that are in progress, in the same namespace.
pub(crate) async fn among(others: usize, aborts: usize, fails: usize) {
    let fleet = Fleet::start(Size::quick(others + 1, 300.0)).await;
    for index in 0..=others {
        fleet.apply(index, &spec(index, "v2", "1h", false)).await;
    }
    let controller = Controller::start(&fleet).await;
    for index in 0..=others {
        fleet.until(index, "at 5 %", at_five).await;
    }
    let (cpu, begun) = (controller.milliseconds(), fleet.clock.elapsed());
    println!("among {others}: abort to patch in ms: {}", summary(abort_again_and_again(&fleet, aborts).await));
    println!("among {others}: failing look to patch in ms: {}", summary(fail_again_and_again(&fleet, fails).await));
    let seconds = fleet.clock.elapsed().saturating_sub(begun).as_secs_f64();
    println!("  meanwhile {:.3} of a core", (controller.milliseconds() - cpu) / 1000.0 / seconds);
}

/// Half of the requests at 20 % fail from one moment on, with scrapes so many seconds apart and windows of two of them.
pub(crate) async fn plain(scrape: u64, times: usize) {
    let fleet =
        Fleet::start(Size { scrape: Duration::from_secs(scrape), lag: Duration::from_secs(scrape + 5), ..Size::quick(1, 300.0) }).await;
    let mut wanted = spec(0, "v2", "1h", false);
    wanted["strategy"] = json!({"canary": {"weights": [20, 100], "hold": "1h"}});
    wanted["analysis"]["interval"] = json!(format!("{}s", 2 * scrape));
    fleet.apply(0, &wanted).await;
    let _controller = Controller::start(&fleet).await;
    let mut took = Vec::new();
    for time in 0..times {
        fleet.until(0, "at 20 %", |status| status.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        tokio::time::sleep(Duration::from_millis(5000 * scrape + (time as u64 * 1373) % (1000 * scrape))).await;
        fleet.api.faults().forget();
        let bad = fleet.clock.now();
        fleet.behave(0, better().with_errors(0.5));
        fleet.until(0, "rolled back", |status| status.phase == Some(Phase::RolledBack)).await;
        took.extend(fleet.look_and_patch(0).map(|(_, written)| milliseconds((bad, written)) / 1000.0));
        fleet.behave(0, better());
        fleet.say(0, "retry").await;
    }
    println!(
        "half fails at 20 %, scrapes of {scrape} s, windows of {} s, default lag: seconds to the patch: {}",
        2 * scrape,
        summary(took)
    );
}

/// All at the same moment.
pub(crate) async fn together(models: usize) {
    let fleet = Fleet::start(Size::quick(models, 300.0)).await;
    for index in 0..models {
        fleet.apply(index, &spec(index, "v2", "1h", false)).await;
    }
    let _controller = Controller::start(&fleet).await;
    for round in ["abort", "fail"] {
        for index in 0..models {
            fleet.until(index, "at 5 %", at_five).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        fleet.api.faults().forget();
        if round == "abort" {
            for index in 0..models {
                fleet.say(index, "abort").await;
            }
            for index in 0..models {
                fleet.until(index, "aborted", |status| status.phase == Some(Phase::Aborted)).await;
            }
            let took = (0..models).filter_map(|index| fleet.command_and_patch(index)).map(milliseconds);
            println!("{models} at once: abort to patch in ms: {}", summary(took.collect()));
            for index in 0..models {
                fleet.say(index, "retry").await;
            }
        } else {
            let bad = fleet.clock.now();
            (0..models).for_each(|index| fleet.behave(index, failing()));
            for index in 0..models {
                fleet.until(index, "rolled back", |status| status.phase == Some(Phase::RolledBack)).await;
            }
            let pairs: Vec<(Timestamp, Timestamp)> = (0..models).filter_map(|index| fleet.look_and_patch(index)).collect();
            println!("{models} at once: failing look to patch in ms: {}", summary(pairs.iter().copied().map(milliseconds).collect()));
            let whole = pairs.iter().map(|(_, written)| written.duration_since(bad).as_secs_f64() * 1000.0);
            println!("  from the first bad request to the patch, ms: {}", summary(whole.collect()));
        }
    }
}

async fn abort_again_and_again(fleet: &Fleet, times: usize) -> Vec<f64> {
    let mut took = Vec::new();
    for time in 0..times {
        fleet.until(0, "at 5 %", at_five).await;
        // Not always at the same moment of a window.
        tokio::time::sleep(Duration::from_millis(100 + (time as u64 * 137) % 900)).await;
        fleet.api.faults().forget();
        fleet.say(0, "abort").await;
        fleet.until(0, "aborted", |status| status.phase == Some(Phase::Aborted)).await;
        took.extend(fleet.command_and_patch(0).map(milliseconds));
        fleet.say(0, "retry").await;
    }
    took
}

async fn fail_again_and_again(fleet: &Fleet, times: usize) -> Vec<f64> {
    let mut took = Vec::new();
    fleet.behave(0, failing());
    for _ in 0..times {
        fleet.until(0, "rolled back", |status| status.phase == Some(Phase::RolledBack)).await;
        took.extend(fleet.look_and_patch(0).map(milliseconds));
        fleet.api.faults().forget();
        fleet.say(0, "retry").await;
        fleet.until(0, "at 5 %", at_five).await;
    }
    took
}

fn failing() -> Behaviour {
    Behaviour::default().with_errors(0.9)
}

fn at_five(status: &RolloutStatus) -> bool {
    status.phase == Some(Phase::Progressing) && status.step.as_ref().is_some_and(|step| step.weight == 5)
}

fn milliseconds((from, to): (Timestamp, Timestamp)) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}
