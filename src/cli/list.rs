//! `haldane list`.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Exit, Failure, cluster::Cluster, output::Output, screen};
use crate::api::{Rollout, RolloutStatus};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

pub(super) async fn run(args: &ListArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let rollouts = cluster.list(args.all_namespaces).await?;
    if rollouts.is_empty() {
        let place = if args.all_namespaces { "any namespace".into() } else { format!("namespace {}", cluster.namespace) };
        output.hint(&format!("no Rollouts in {place}"));
    }
    let items: Vec<Value> = rollouts.iter().map(item).collect();
    output.data("RolloutList", &json!({ "items": items }), || table(&rollouts, args.all_namespaces, now, output))?;
    Ok(Exit::Reached)
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
        "next": status.decision.as_ref().map(|decision| &decision.next),
    })
}

fn table(rollouts: &[Rollout], namespaces: bool, now: Timestamp, output: &Output) -> String {
    if rollouts.is_empty() {
        return String::new();
    }
    let head = ["NAMESPACE", "NAME", "PHASE", "STEP", "WEIGHT", "STABLE", "CANARY", "VERDICT", "SINCE"].map(str::to_owned);
    let mut rows = vec![(head, None)];
    for rollout in rollouts {
        let empty = RolloutStatus::default();
        let status = rollout.status.as_ref().unwrap_or(&empty);
        let step = status.step.as_ref();
        let dash = || "-".to_owned();
        let cells = [
            rollout.namespace().unwrap_or_default(),
            rollout.name_any(),
            screen::phase(status),
            step.map_or_else(dash, |step| step.name.clone()),
            step.map_or_else(dash, |step| step.traffic.clone().unwrap_or_else(|| step.weight.to_string())),
            status.stable.as_ref().map_or_else(dash, |stable| stable.name.clone()),
            status.canary.as_ref().map_or_else(|| rollout.spec.canary.destination().name().to_owned(), |canary| canary.name.clone()),
            status.verdict.map_or_else(dash, |verdict| format!("{verdict:?}")),
            status.decision.as_ref().map_or_else(dash, |decision| screen::age(decision.at.0, now)),
        ];
        rows.push((cells, status.phase));
    }
    let mut widths = [0; 9];
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (cells, phase) in &rows {
        let cell = |(i, (cell, width)): (usize, (&String, &usize))| {
            let padded = format!("{cell:width$}");
            if i == 2 { output.paint(screen::tone(*phase), &padded) } else { padded }
        };
        let line: Vec<String> = cells.iter().zip(&widths).enumerate().skip(usize::from(!namespaces)).map(cell).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}
