//! Who moved it: a route that disagrees with our own annotation (design section 4, the table). Weights, copies and our own route alike.

use jiff::SignedDuration;

use super::{Act, Pass};
use crate::api::{Outcome, Phase, Reason};
use crate::plan::Share;
use crate::route::{Claim, OwnRoute, View};
use crate::state::{Pause, Run, Stance};

/// A second lowering within this time is an applier, whoever it is.
const CONTENDED: SignedDuration = SignedDuration::from_mins(10);

impl Pass<'_> {
    /// A share raised by others is lowered at once; one that was lowered is a person speaking, and is never raised again without `resume`.
    pub(super) fn moved(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let view = self.seen.route.as_ref().ok()?;
        let ours = view.claim.as_ref().filter(|claim| claim.uid == self.seen.uid);
        let old = ours.is_some_and(|claim| claim.epoch < run.read_back);
        if old && !self.seen.fresh {
            self.act = Act::Reread;
            return Some(self.stance(Phase::Progressing, Reason::AsPlanned, "the cache is behind: the route is read again"));
        }
        let said = match ours {
            Some(claim) if !old => claim.share,
            _ => run.share,
        };
        let (found, own) = found(run, view, said);
        if !said.covers(found) {
            let back = found.least(said);
            let message =
                format!("somebody raised the canary's share to {}: it goes back to {} ({})", found.words(), back.words(), view.words());
            return Some(self.put_back(back, message));
        }
        if found == run.share {
            return self.own_route_changed(own);
        }
        let raised_back = found.covers(run.share);
        let known = view.gitops().map(str::to_owned);
        let again = run.lowered.last().is_some_and(|last| self.now.duration_since(*last) < CONTENDED);
        let (now, before, stable) = (self.now, run.share, run.stable.name.clone());
        self.state.epoch += 1;
        let epoch = self.state.epoch;
        if let Some(run) = &mut self.state.run {
            run.share = found;
            run.key_epoch = epoch;
            run.since = Some(now);
            run.intent = None;
        }
        if raised_back {
            return None;
        }
        let (why, who) = match (&known, again) {
            (Some(manager), _) => (Reason::Contended, format!("{manager} applies this object")),
            (None, true) => (Reason::Contended, "for the second time in ten minutes".to_owned()),
            (None, false) => (Reason::ManualOverride, "by hand".to_owned()),
        };
        let to = if own == Some(OwnRoute::Narrower) { "a part of its match".to_owned() } else { found.words() };
        let mut message = if view.entries.iter().all(|entry| entry.weight == 0) {
            format!(
                "every weight of {} of {} was set to 0, {who}, so that its requests get an error: set the weight of {}; the canary's share is never raised again without `resume`",
                view.called(),
                view.object,
                stable
            )
        } else {
            format!("the canary's share was lowered from {} to {to}, {who}: it is never raised again without `resume`", before.words())
        };
        if why == Reason::Contended {
            message.push_str("; let your GitOps tool ignore the weights (docs/gitops.md)");
        }
        self.lowered_by_others(why, message);
        None
    }

    /// It waits for `resume` from now on.
    pub(super) fn lowered_by_others(&mut self, why: Reason, message: String) {
        let now = self.now;
        if let Some(run) = &mut self.state.run {
            run.lowered.push(now);
            let extra = run.lowered.len().saturating_sub(2);
            run.lowered.drain(..extra);
            let since = run.pause.as_ref().map_or(now, |pause| pause.since);
            run.pause = Some(Pause { reason: why.into(), message: message.clone(), since, by: None });
        }
        self.record(Outcome::Paused, why, message, format!("`{}` goes back to the step's traffic", self.command_line("resume")), None);
    }

    /// One write, down to this.
    fn put_back(&mut self, share: Share, message: String) -> Stance {
        let epoch = self.state.epoch + 1;
        let step = self.state.run.as_ref().and_then(|run| run.present()).cloned();
        let mut wanted = self.wanted(share, step.as_ref(), epoch, None);
        wanted.claim.lowered = Some(Reason::ShareRaised.into());
        self.act = Act::Lower(wanted);
        self.stance(Phase::Progressing, Reason::ShareRaised, message)
    }

    /// Our own route is there, but not as it must be: somebody made something else of it, or of the route that it is a copy of.
    fn own_route_changed(&mut self, own: Option<OwnRoute>) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let share = run.share;
        match own? {
            OwnRoute::Changed => {
                let message = "somebody changed the route of the match: it is written again as it was decided".to_owned();
                Some(self.put_back(share, message))
            }
            OwnRoute::Old => {
                let step = run.present().cloned();
                let wanted = self.wanted(share, step.as_ref(), self.state.epoch, None);
                // Nobody's share changes: the claim stays what it is.
                let claim = self.seen.route.as_ref().ok().and_then(|view| view.claim.clone()).unwrap_or(wanted.claim.clone());
                self.act = Act::Lower(crate::route::Wanted { claim: Claim { share, ..claim }, ..wanted });
                self.wake_in(0.05);
                let message = "the managed route was edited: the route of the match, its copy, follows";
                Some(self.stance(Phase::Progressing, Reason::AsPlanned, message))
            }
            OwnRoute::Absent | OwnRoute::AsWanted | OwnRoute::Narrower => None,
        }
    }
}

/// What the canary gets, and how the route of the present step's match stands. One that somebody made narrower does not count as there,
/// whatever becomes of it later.
fn found(run: &Run, view: &View, said: Share) -> (Share, Option<OwnRoute>) {
    let mut found = view.found(&run.canary.name);
    let matches = run.present().map(|step| step.split.matches.as_slice()).filter(|matches| !matches.is_empty() && found.matched);
    let own = matches.and_then(|matches| view.own_route(&run.canary.name, matches).ok());
    let still_narrower = own == Some(OwnRoute::Changed) && said.matched && !run.share.matched;
    if own == Some(OwnRoute::Narrower) || still_narrower {
        found.matched = false;
    }
    (found, own)
}
