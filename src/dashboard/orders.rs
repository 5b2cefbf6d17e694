//! Orders: forms of this site to commands, bound to what was shown.

use std::sync::Arc;

use axum::{
    Extension, Form,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use futures::future::BoxFuture;
use serde::Deserialize;

use super::{
    Site,
    door::{Door, Viewer, refused},
    html,
    pages::missing,
};
use crate::{
    api::Rollout,
    command::Verb,
    view::Tone,
    web::{self, Bound, Said},
};

/// A command, with what was shown when it was given.
pub struct Order {
    /// What is ordered.
    pub verb: Verb,
    /// Why.
    pub reason: Option<String>,
    /// What it is bound to.
    pub shown: Arc<Rollout>,
}

/// Gives a command, and says what became of it.
pub type Orders = Arc<dyn Fn(Order) -> BoxFuture<'static, Said> + Send + Sync>;

/// The fields of a form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    token: String,
    uid: String,
    epoch: String,
    step: String,
    revision: String,
    reason: String,
    name: String,
}

pub(super) async fn order(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    Path((namespace, name, verb)): Path<(String, String, String)>,
    Form(fields): Form<Fields>,
) -> Response {
    let inner = &site.inner;
    let (Some(orders), Door::Local(local), Viewer::Session(session)) = (&inner.orders, &inner.door, &viewer) else {
        return refused(&site, 405, "Read-only", "This dashboard takes no orders.", "");
    };
    if !local.is_form(session, &fields.token) {
        return refused(
            &site,
            403,
            "Not from this page",
            "The form has no token of this session. Nothing was done.",
            "Open the page again.",
        );
    }
    let Some(verb) = Verb::ALL.into_iter().find(|known| known.name() == verb) else {
        return refused(&site, 404, "No such command", &format!("There is no command {verb}."), "");
    };
    let Some(rollout) = inner.live.one(&namespace, &name) else { return missing(&site, &namespace, &name) };
    let place = format!("{namespace}/{name}");
    let back = || Redirect::to(&site.address(&namespace, &name)).into_response();
    let shown = Bound { uid: fields.uid, epoch: fields.epoch, step: fields.step, revision: fields.revision };
    if let Some(changed) = shown.broken(verb, &Bound::to(&rollout)) {
        let fix = "Nothing was done. Look at it as it is now, and decide again.".to_owned();
        local.say(session, &place, Said { tone: Tone::Bad, text: format!("{verb} was not given: {changed}"), fix });
        return back();
    }
    let reason = fields.reason.trim();
    if verb == Verb::Abort {
        let wrong = match (fields.name == name, reason.is_empty()) {
            (false, _) => Some(format!("This is not {name}: nothing was done.")),
            (true, true) => Some("An abort needs a reason.".to_owned()),
            (true, false) => None,
        };
        if let Some(wrong) = wrong {
            return html(422, web::question(&site.frame(Some(&viewer), None), &rollout, reason, Some(&wrong)));
        }
    }
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    let said = orders(Order { verb, reason, shown: rollout }).await;
    local.say(session, &place, said);
    back()
}
