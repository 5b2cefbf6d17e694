//! `haldane history`: the past rollouts of one Rollout, as far as its status keeps them.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::{Exit, Failure, cluster::Cluster, output::Output, screen};
use crate::{
    api::{HistoryEntry, Outcome, Rollout},
    record::{Record, Run, Window},
    view::{Columns, Terminal, Tone, View, age, called, shared},
    words::{time, whole},
};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Name of the Rollout
    name: String,
    /// The course of the newest rollout of this revision or version: its weights and decisions
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

pub(super) async fn run(args: &HistoryArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let rollout = cluster.get(&args.name).await?;
    if let Some(revision) = &args.revision {
        return course_of(revision, &rollout, cluster.record(&rollout).await.as_ref(), output);
    }
    let history = rollout.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    if history.is_empty() {
        output.hint(&format!("no rollout of {} has ended yet", screen::full_name(&rollout)));
    }
    let value = json!({ "namespace": rollout.namespace(), "name": rollout.name_any(), "items": history });
    output.data("RolloutHistory", &value, || table(history, now, &output.terminal()))?;
    Ok(Exit::Reached)
}

/// The course of one rollout.
fn course_of(revision: &str, rollout: &Rollout, record: Option<&Record>, output: &Output) -> Result<Exit, Failure> {
    let Some(run) = record.and_then(|record| record.of(revision)) else {
        let known: Vec<String> = record.iter().flat_map(|record| &record.runs).map(|run| called(&run.canary)).collect();
        let fix = match (record, known.as_slice()) {
            (None, _) => format!("`haldane doctor {}` says why nothing is recorded", screen::argument(rollout)),
            (Some(_), known) => format!("recorded are {}", known.join(", ")),
        };
        return Err(Failure::new(Exit::NotFound, format!("{} keeps no course of {revision}", screen::full_name(rollout)), fix));
    };
    let value = json!({ "namespace": rollout.namespace(), "name": rollout.name_any(), "run": run });
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    output.data("RolloutCourse", &value, || course((&namespace, &name), run, &output.terminal()))?;
    Ok(Exit::Reached)
}

/// What happened in a rollout, oldest first: what the canary got, what was decided, and the requests in between.
pub(super) fn course((namespace, name): (&str, &str), run: &Run, terminal: &Terminal) -> String {
    let mut lines: Vec<(Timestamp, Tone, String)> = Vec::new();
    for change in &run.changes {
        let step = change.step.and_then(|step| run.steps.get(step)).map_or_else(String::new, |step| format!(", step {}", step.name));
        lines.push((
            change.at,
            Tone::Plain,
            format!("{} {}{step}", run.canary.name, shared(change.traffic.as_deref(), change.weight.into())),
        ));
    }
    for decision in &run.decisions {
        let view = View::decided(namespace, name, decision);
        lines.push((decision.at.0, view.tone, view.headline()));
    }
    lines.sort_by_key(|(at, ..)| *at);
    let mut columns = Columns::new(&["TIME", "AFTER", "STABLE", "CANARY", "WHAT"]);
    for (at, tone, what) in lines {
        let until = || run.windows.iter().filter(|window| window.end <= at);
        let sum = |of: fn(&Window) -> u64| whole(i64::try_from(until().map(of).sum::<u64>()).unwrap_or(i64::MAX));
        let after = time(at.duration_since(run.started).as_secs_f64().max(0.0));
        let cells = [at.strftime("%F %T").to_string(), after, sum(|window| window.stable), sum(|window| window.canary), what];
        columns.push(cells.into(), Some(("WHAT", tone)));
    }
    columns.text(terminal, &["AFTER", "STABLE"])
}

/// A line for each rollout, the newest first.
pub(super) fn table(history: &[HistoryEntry], now: Timestamp, terminal: &Terminal) -> String {
    if history.is_empty() {
        return String::new();
    }
    let mut columns = Columns::new(&["ENDED", "CANARY", "REVISION", "STABLE", "OUTCOME", "REQUESTS", "FAILED", "TOOK", "WHY"]);
    for entry in history {
        let because = View::past("", "", entry).because.unwrap_or_default();
        let took = entry.ended.0.duration_since(entry.started.0).as_secs_f64();
        let exposed = entry.exposure.as_ref();
        let dash = || "-".to_owned();
        let cells = [
            format!("{} ago", age(entry.ended.0, now)),
            entry.canary.name.clone(),
            entry.canary.revision.clone(),
            entry.stable.name.clone(),
            format!("{:?}", entry.outcome),
            exposed.map_or_else(dash, |exposure| whole(exposure.canary_requests)),
            exposed.and_then(|exposure| exposure.canary_errors).map_or_else(dash, whole),
            time(took),
            because.trim_start_matches("because ").to_owned(),
        ];
        let tone = match entry.outcome {
            Outcome::Promoted | Outcome::Passed => Tone::Good,
            Outcome::RolledBack | Outcome::Failed | Outcome::Aborted => Tone::Bad,
            _ => Tone::Plain,
        };
        columns.push(cells.into(), Some(("OUTCOME", tone)));
    }
    columns.text(terminal, &["STABLE", "REVISION", "FAILED"])
}
