//! `haldane list`: what needs a person first, then what waits, then the rest.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Exit, Failure, cluster::Cluster, output::Output, screen};
use crate::{
    api::{Rollout, RolloutStatus},
    view::{Columns, Terminal, View, age, place_in_fleet, tone},
};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

pub(super) async fn run(args: &ListArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let mut rollouts = cluster.list(args.all_namespaces).await?;
    if rollouts.is_empty() {
        let place = if args.all_namespaces { "any namespace".into() } else { format!("namespace {}", cluster.namespace) };
        output.hint(&format!("no Rollouts in {place}"));
    }
    sort(&mut rollouts);
    let items: Vec<Value> = rollouts.iter().map(item).collect();
    output.data("RolloutList", &json!({ "items": items }), || table(&rollouts, args.all_namespaces, now, &output.terminal()))?;
    Ok(Exit::Reached)
}

/// What went wrong comes first, then what waits, then what moves; of these the newest.
pub(super) fn sort(rollouts: &mut [Rollout]) {
    rollouts.sort_by_cached_key(place_in_fleet);
}

fn item(rollout: &Rollout) -> Value {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    json!({
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "phase": status.phase,
        "step": status.step,
        "stable": status.stable,
        "canary": status.canary,
        "verdict": status.verdict,
        "since": status.decision.as_ref().map(|decision| &decision.at),
        "reason": status.decision.as_ref().map(|decision| &decision.reason),
        "next": status.decision.as_ref().map(|decision| &decision.next),
    })
}

/// The fleet in columns; those that say least go first where there is no room.
pub(super) fn table(rollouts: &[Rollout], namespaces: bool, now: Timestamp, terminal: &Terminal) -> String {
    if rollouts.is_empty() {
        return String::new();
    }
    let mut columns = Columns::new(&["NAMESPACE", "NAME", "PHASE", "STEP", "WEIGHT", "STABLE", "CANARY", "VERDICT", "SINCE", "WHY"]);
    if !namespaces {
        columns.hide("NAMESPACE");
    }
    for rollout in rollouts {
        let empty = RolloutStatus::default();
        let status = rollout.status.as_ref().unwrap_or(&empty);
        let step = status.step.as_ref();
        let dash = || "-".to_owned();
        let because = View::standing(rollout, now).because.unwrap_or_default();
        let cells = [
            rollout.namespace().unwrap_or_default(),
            rollout.name_any(),
            screen::phase(status),
            step.map_or_else(dash, |step| step.name.clone()),
            step.map_or_else(dash, |step| step.traffic.clone().unwrap_or_else(|| step.weight.to_string())),
            status.stable.as_ref().map_or_else(dash, |stable| stable.name.clone()),
            status.canary.as_ref().map_or_else(|| rollout.spec.canary.destination().name().to_owned(), |canary| canary.name.clone()),
            status.verdict.map_or_else(dash, |verdict| format!("{verdict:?}")),
            status.decision.as_ref().map_or_else(dash, |decision| age(decision.at.0, now)),
            because.trim_start_matches("because ").to_owned(),
        ];
        columns.push(cells.into(), Some(("PHASE", tone(status.phase))));
    }
    columns.text(terminal, &["VERDICT", "STEP", "STABLE", "WEIGHT", "CANARY"])
}
