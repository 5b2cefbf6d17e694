//! Without a screen: a line for each change.

use std::pin::pin;

use futures::StreamExt;

use super::{WatchArgs, looks};
use crate::{
    api::Rollout,
    cli::{
        Exit, Failure,
        cluster::Cluster,
        controller::signal,
        output::{Format, Output},
        status::{line, value},
    },
    clock::Clock,
    view::View,
};

/// Follows the Rollout until its end, until nobody reads any more, or until a signal.
pub(super) async fn run(args: &WatchArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let (mut looks, mut over, mut stop) = (pin!(looks(cluster, &args.name)), pin!(args.over()), pin!(signal()));
    let mut shown = Shown::default();
    let mut last = cluster.get(&args.name).await?;
    let mut before = None;
    let mut lost = false;
    loop {
        if !shown.tell(&last, clock, output)? {
            return Ok(Exit::Reached);
        }
        if let Some(ended) = args.ended(before.as_ref(), &last) {
            output.hint(&ended.words);
            return Ok(ended.exit);
        }
        before = Some(tokio::select! {
            looked = looks.next() => match looked {
                Some(Ok(rollout)) => {
                    if std::mem::take(&mut lost) {
                        output.hint("connected again");
                    }
                    std::mem::replace(&mut last, rollout)
                }
                Some(Err(failure)) if failure.exit == Exit::Error => {
                    if !std::mem::replace(&mut lost, true) {
                        output.hint(&format!("stale: {}; trying again", failure.message));
                    }
                    continue;
                }
                Some(Err(failure)) => return Err(failure),
                None => return Ok(Exit::Reached),
            },
            () = &mut over => break,
            () = &mut stop => break,
        });
    }
    let Some(ended) = args.left(&last) else { return Ok(Exit::Reached) };
    output.hint(&ended.words);
    Ok(ended.exit)
}

/// What was told last.
#[derive(Default)]
struct Shown {
    text: String,
    object: Option<Rollout>,
}

impl Shown {
    /// Tells what has changed. False: nobody reads any more.
    fn tell(&mut self, rollout: &Rollout, clock: Clock, output: &Output) -> Result<bool, Failure> {
        let now = clock.now();
        let view = View::standing(rollout, now);
        let text = changed(rollout, &view);
        let news = match output.format() {
            Format::Text => self.text != text,
            _ => self.object.as_ref() != Some(rollout),
        };
        if !news {
            return Ok(true);
        }
        let told = output.line("RolloutStatus", &value(rollout, &view)?, || format!("{}  {text}", now.strftime("%FT%TZ")));
        (self.text, self.object) = (text, Some(rollout.clone()));
        told
    }
}

/// Where it stands and what each metric says, in one line.
fn changed(rollout: &Rollout, view: &View) -> String {
    let verdicts: Vec<String> = view.rows.iter().map(|row| format!("{} {}", row.label, row.verdict.text())).collect();
    let verdicts = if verdicts.is_empty() { String::new() } else { format!("; {}", verdicts.join(", ")) };
    format!("{}{verdicts}", line(rollout))
}
