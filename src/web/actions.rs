//! What a person may order, bound to what was shown.

use maud::{Markup, html};

use super::frame::Frame;
use crate::api::{Phase, Reason, Rollout, RolloutStatus};
use crate::command::Verb;
use crate::view::present_and_next;

/// What an order is bound to: if one of these has changed, the person has seen something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// `metadata.uid` of the Rollout.
    pub uid: String,
    /// Its epoch.
    pub epoch: String,
    /// Name of the step under way; empty: none.
    pub step: String,
    /// Revision of the canary; empty: none.
    pub revision: String,
}

impl Bound {
    /// What this Rollout shows.
    pub fn to(rollout: &Rollout) -> Self {
        let status = rollout.status.as_ref();
        Self {
            uid: rollout.metadata.uid.clone().unwrap_or_default(),
            epoch: status.map_or(0, |status| status.epoch).to_string(),
            step: present_and_next(rollout).0.unwrap_or_default(),
            revision: status.and_then(|status| status.canary.as_ref()).map(|canary| canary.revision.clone()).unwrap_or_default(),
        }
    }

    /// What has changed between what was shown and what is there; an abort is safe at any time, and needs the same Rollout alone.
    pub fn broken(&self, verb: Verb, now: &Self) -> Option<String> {
        if self.uid != now.uid {
            return Some("the Rollout was deleted and made again since this page was shown".to_owned());
        }
        if verb == Verb::Abort {
            return None;
        }
        let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        let changed = [("revision", &self.revision, &now.revision), ("step", &self.step, &now.step), ("epoch", &self.epoch, &now.epoch)];
        let (what, shown, is) = changed.into_iter().find(|(_, shown, is)| shown != is)?;
        Some(format!("the page showed {what} {}, and now it is {}", or_none(shown), or_none(is)))
    }
}

/// An order that makes sense now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What is ordered.
    pub verb: Verb,
    /// What the button says.
    pub label: String,
    /// What it means, where that is not plain.
    pub means: Option<String>,
}

/// What makes sense now. The controller has the last word.
pub fn offered(rollout: &Rollout) -> Vec<Offer> {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    let active = matches!(status.phase, Some(Phase::Waiting | Phase::Progressing | Phase::Paused | Phase::Holding));
    let reason = status.decision.as_ref().and_then(|decision| decision.reason.known());
    let approval = status.phase == Some(Phase::Paused) && reason == Some(Reason::ApprovalRequired);
    let canary = status.canary.as_ref().map_or("the canary", |canary| canary.name.as_str());
    let stable = status.stable.as_ref().map_or("stable", |stable| stable.name.as_str());
    let offer = |verb, label: &str, means: Option<String>| Offer { verb, label: label.to_owned(), means };
    let mut offers = Vec::new();
    if active {
        offers.push(match present_and_next(rollout).1 {
            Some((_, share)) if approval => {
                offer(Verb::Promote, &format!("Approve {share}"), Some(format!("{canary} goes on to {share}.")))
            }
            Some((_, share)) => {
                let means = format!("{canary} goes on to {share} without the proof that this step asks for.");
                offer(Verb::Promote, &format!("Promote to {share}"), Some(means))
            }
            None => offer(Verb::Promote, "Promote", Some(format!("{canary} becomes stable now, before its hold is over."))),
        });
        if status.phase != Some(Phase::Paused) {
            offers.push(offer(Verb::Pause, "Pause", None));
        } else if !rollout.spec.paused && !approval {
            offers.push(offer(Verb::Resume, "Resume", None));
        }
        offers.push(offer(Verb::Abort, "Abort", None));
    }
    if status.phase == Some(Phase::Promoted) {
        let means = format!("All traffic goes back to the version before {stable}, at once.");
        offers.push(offer(Verb::Rollback, "Roll back", Some(means)));
    }
    let ended = matches!(status.phase, Some(Phase::RolledBack | Phase::Aborted | Phase::Failed | Phase::Passed));
    if ended && (!status.refused.is_empty() || status.phase == Some(Phase::Passed)) {
        offers.push(offer(Verb::Retry, "Retry", Some(format!("{canary} starts again at the first step."))));
    }
    offers
}

/// The fields that bind a form to what is shown.
pub(super) fn bound(token: &str, rollout: &Rollout) -> Markup {
    let Bound { uid, epoch, step, revision } = Bound::to(rollout);
    html! {
        input type="hidden" name="token" value=(token);
        input type="hidden" name="uid" value=(uid);
        input type="hidden" name="epoch" value=(epoch);
        input type="hidden" name="step" value=(step);
        input type="hidden" name="revision" value=(revision);
    }
}

/// The buttons.
pub(super) fn buttons(frame: &Frame<'_>, rollout: &Rollout, place: &str) -> Markup {
    let Some(token) = &frame.form else { return html! {} };
    let offers = offered(rollout);
    html! {
        @if !offers.is_empty() {
            nav.actions aria-label="Commands" {
                @for offer in &offers {
                    @let action = format!("{place}/{}", offer.verb);
                    @match (&offer.means, offer.verb) {
                        (_, Verb::Abort) => { a.button.danger href=(action) { (offer.label) "…" } }
                        (None, _) => {
                            form method="post" action=(action) { (bound(token, rollout)) button.button type="submit" { (offer.label) } }
                        }
                        (Some(means), verb) => {
                            details.ask id=(format!("ask-{verb}")) {
                                summary.button { (offer.label) "…" }
                                form.panel method="post" action=(action) {
                                    p { (means) }
                                    (bound(token, rollout))
                                    label { span { "Why" } input type="text" name="reason" maxlength="500" autocomplete="off" placeholder="goes into the decision record"; }
                                    button.button.primary type="submit" { (offer.label) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
