//! The question before an abort: the name must be typed. It works without a script.

use maud::html;

use super::actions::bound;
use super::frame::Frame;
use crate::api::Rollout;
use crate::view::{View, called};

/// The page that asks; with what was typed, and what was wrong with it.
pub fn question(frame: &Frame<'_>, rollout: &Rollout, reason: &str, wrong: Option<&str>) -> String {
    let (namespace, name) = (rollout.metadata.namespace.clone().unwrap_or_default(), rollout.metadata.name.clone().unwrap_or_default());
    let place = frame.rollout(&namespace, &name);
    let view = View::standing(rollout, frame.now);
    let status = rollout.status.as_ref();
    let stable = view.stable.clone().unwrap_or_else(|| "stable".to_owned());
    let canary = status.and_then(|status| status.canary.as_ref()).map_or_else(|| "the canary".to_owned(), called);
    let main = html! {
        section.panel.narrow {
            h1 { "Abort " (namespace) "/" (name) "?" }
            p { (view.headline()) "." }
            ul {
                li { "100 % of the traffic goes to " b { (stable) } ", now." }
                li { b { (canary) } " is refused until its pods change or somebody retries it." }
            }
            @if let Some(token) = &frame.form {
                form method="post" action=(format!("{place}/abort")) {
                    (bound(token, rollout))
                    label { span { "Why" } input type="text" name="reason" value=(reason) maxlength="500" required autocomplete="off"; }
                    label {
                        span { "Type " b { (name) } " to confirm" }
                        input type="text" name="name" required autocomplete="off" spellcheck="false" autocapitalize="off";
                    }
                    @if let Some(wrong) = wrong { p.note.bad role="alert" { (wrong) } }
                    div.actions { button.button.danger type="submit" { "Abort" } a.button href=(place) { "Keep it" } }
                }
            } @else {
                p.fix { "This page is read-only: " code { "haldane abort " (name) " -n " (namespace) " --reason TEXT" } }
            }
        }
    };
    frame.page(&format!("Abort {namespace}/{name}"), None, &main)
}
