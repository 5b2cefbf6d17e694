//! Who moved it: weights that disagree with our own annotation (design section 4, the table).

use jiff::SignedDuration;

use super::{Act, Pass};
use crate::api::names::reason;
use crate::api::{Outcome, Phase};
use crate::state::{Pause, Stance};

/// A second lowering within this time is an applier, whoever it is.
const CONTENDED: SignedDuration = SignedDuration::from_mins(10);

impl Pass<'_> {
    /// A share raised by others is lowered at once; one that was lowered is a person speaking, and is never raised again without `resume`.
    pub(super) fn moved(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let view = self.seen.route.as_ref().ok()?;
        let share = view.share(&run.canary.subset);
        let ours = view.claim.as_ref().filter(|claim| claim.uid == self.seen.uid);
        let old = ours.is_some_and(|claim| claim.epoch < run.read_back);
        if old && !self.seen.fresh {
            self.act = Act::Reread;
            return Some(self.stance(Phase::Progressing, reason::AS_PLANNED, "the cache is behind: the route is read again"));
        }
        let said = match ours {
            Some(claim) if !old => claim.share.weight,
            _ => run.weight,
        };
        if share > said {
            let epoch = self.state.epoch + 1;
            let step = run.present().map(|step| step.name.clone());
            let message = format!("somebody raised the canary's share to {share} %: it goes back to {said} % ({})", view.words());
            let mut wanted = self.wanted(said, epoch, step, None);
            wanted.claim.lowered = Some(reason::SHARE_RAISED.to_owned());
            self.act = Act::Lower(wanted);
            return Some(self.stance(Phase::Progressing, reason::SHARE_RAISED, message));
        }
        if share == run.weight {
            return None;
        }
        let raised_back = share > run.weight;
        let known = view.gitops().map(str::to_owned);
        let again = run.lowered.last().is_some_and(|last| self.now.duration_since(*last) < CONTENDED);
        let (now, before) = (self.now, run.weight);
        self.state.epoch += 1;
        let epoch = self.state.epoch;
        if let Some(run) = &mut self.state.run {
            run.weight = share;
            run.key_epoch = epoch;
            run.since = Some(now);
            run.intent = None;
        }
        if raised_back {
            return None;
        }
        let (why, who) = match (&known, again) {
            (Some(manager), _) => (reason::CONTENDED, format!("{manager} applies this object")),
            (None, true) => (reason::CONTENDED, "for the second time in ten minutes".to_owned()),
            (None, false) => (reason::MANUAL_OVERRIDE, "by hand".to_owned()),
        };
        let mut message =
            format!("the canary's share was lowered from {before} % to {share} %, {who}: it is never raised again without `resume`");
        if why == reason::CONTENDED {
            message.push_str("; let your GitOps tool ignore the weights (docs/gitops.md)");
        }
        if let Some(run) = &mut self.state.run {
            run.lowered.push(now);
            let extra = run.lowered.len().saturating_sub(2);
            run.lowered.drain(..extra);
            let since = run.pause.as_ref().map_or(now, |pause| pause.since);
            run.pause = Some(Pause { reason: why.to_owned(), message: message.clone(), since, by: None });
        }
        self.record(Outcome::Paused, why, message, format!("`{}` goes back to the step's weight", self.command_line("resume")), None);
        None
    }
}
