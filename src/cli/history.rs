//! `haldane history`: the past rollouts of one Rollout, as far as its status keeps them.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::{Exit, Failure, cluster::Cluster, output::Output, screen};
use crate::{
    api::{HistoryEntry, Outcome},
    view::{Columns, Terminal, Tone, View, age},
    words::{time, whole},
};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Name of the Rollout
    name: String,
}

pub(super) async fn run(args: &HistoryArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let rollout = cluster.get(&args.name).await?;
    let history = rollout.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    if history.is_empty() {
        output.hint(&format!("no rollout of {} has ended yet", screen::full_name(&rollout)));
    }
    let value = json!({ "namespace": rollout.namespace(), "name": rollout.name_any(), "items": history });
    output.data("RolloutHistory", &value, || table(history, now, &output.terminal()))?;
    Ok(Exit::Reached)
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
