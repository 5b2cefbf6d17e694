//! `haldane watch`: one Rollout live. A full screen on a terminal, else a line for each change.

mod app;
mod arms;
mod frame;
mod keys;
mod live;
mod plain;
mod spark;
mod table;
#[cfg(test)]
mod tests;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use futures::{Stream, stream};

use super::{
    Exit, Failure,
    cluster::Cluster,
    output::{Format, Output},
    status::{Ended, duration, ended, goal::Goal, out_of_time},
};
use crate::{api::Rollout, clock::Clock};

/// How often the object is read. An answer to each is what makes the view live: a dead connection is seen at once.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Name of the Rollout
    name: String,
    /// A line for each change, also on a terminal
    #[arg(long)]
    plain: bool,
    /// End with the exit code of `status` at promoted, paused, rolled-back, done (any end) or step=NAME
    #[arg(long, value_name = "GOAL")]
    until: Option<Goal>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration, requires = "until")]
    timeout: Duration,
}

pub(super) async fn run(args: &WatchArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    if matches!(output.format(), Format::Json | Format::Yaml | Format::Name) {
        return Err(Failure::new(Exit::Usage, "watch prints many objects", "use -o jsonl, a line of JSON for each change"));
    }
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    match terminal && !args.plain && output.format() == Format::Text {
        true => live::run(args, cluster, clock, output).await,
        false => plain::run(args, cluster, clock, output).await,
    }
}

impl WatchArgs {
    /// Whether what was read ends the watching.
    fn ended(&self, before: Option<&Rollout>, now: &Rollout) -> Option<Ended> {
        self.until.as_ref().and_then(|goal| ended(goal, before, now))
    }

    /// The end where the time is over, or a person leaves.
    fn left(&self, rollout: &Rollout) -> Option<Ended> {
        self.until.as_ref().map(|goal| out_of_time(goal, self.timeout, rollout))
    }

    /// When the time is over; without a goal never.
    async fn over(&self) {
        match self.until {
            Some(_) => tokio::time::sleep(self.timeout).await,
            None => std::future::pending().await,
        }
    }
}

/// The Rollout, read again and again.
fn looks(cluster: &Cluster, name: &str) -> impl Stream<Item = Result<Rollout, Failure>> {
    stream::unfold((), async move |()| {
        tokio::time::sleep(PACE).await;
        Some((cluster.get(name).await, ()))
    })
}
