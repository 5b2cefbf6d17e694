//! Which page is where.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use serde::Deserialize;

use super::{
    Site,
    door::{Door, Viewer, denied_page, refused},
    events, html, orders,
    reviews::Denied,
};
use crate::{
    api::Rollout,
    web::{self, Frame, Kept, Said},
};

/// Namespaces that are asked about at once.
const AT_ONCE: usize = 8;

pub(super) fn router(prefix: &str) -> Router<Site> {
    let at = |path: &str| format!("{prefix}{path}");
    Router::new()
        .route(&at("/"), get(fleet))
        .route(&at("/events"), get(events::fleet))
        .route(&at("/rollouts/{namespace}/{name}"), get(rollout))
        .route(&at("/rollouts/{namespace}/{name}/events"), get(events::rollout))
        .route(&at("/rollouts/{namespace}/{name}/{verb}"), get(question).post(orders::order))
}

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    q: String,
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    #[serde(default)]
    run: usize,
}

pub(super) async fn fleet(State(site): State<Site>, Extension(viewer): Extension<Viewer>, Query(search): Query<Search>) -> Response {
    let rollouts = match site.seen(&viewer).await {
        Ok(Some(rollouts)) => rollouts,
        Ok(None) => return forbidden(&site, &viewer, "list", "any namespace"),
        Err(denied) => return denied_page(&site, &denied),
    };
    let lost = site.inner.live.lost();
    html(200, web::fleet(&Frame { lost: lost.as_deref(), ..site.frame(Some(&viewer), None) }, &rollouts, &search.q))
}

pub(super) async fn rollout(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    Path((namespace, name)): Path<(String, String)>,
    Query(chosen): Query<Chosen>,
) -> Response {
    match site.may_get(&viewer, &namespace).await {
        Ok(true) => {}
        Ok(false) => return forbidden(&site, &viewer, "get", &format!("namespace {namespace}")),
        Err(denied) => return denied_page(&site, &denied),
    }
    let Some(rollout) = site.inner.live.one(&namespace, &name) else { return missing(&site, &namespace, &name) };
    let said = match (&site.inner.door, &viewer) {
        (Door::Local(local), Viewer::Session(session)) => local.said(session, &format!("{namespace}/{name}")),
        _ => None,
    };
    let lost = site.inner.live.lost();
    let kept = site.inner.records.of(&rollout).await;
    let kept = match &kept {
        Ok(record) => Kept { record: record.as_deref(), run: chosen.run, missing: None },
        Err(missing) => Kept { missing: Some(missing), ..Kept::default() },
    };
    html(200, web::rollout(&Frame { lost: lost.as_deref(), ..site.frame(Some(&viewer), said.as_ref()) }, &rollout, &kept))
}

pub(super) async fn question(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    Path((namespace, name, verb)): Path<(String, String, String)>,
) -> Response {
    if verb != "abort" {
        return Redirect::to(&site.address(&namespace, &name)).into_response();
    }
    match site.may_get(&viewer, &namespace).await {
        Ok(true) => {}
        Ok(false) => return forbidden(&site, &viewer, "get", &format!("namespace {namespace}")),
        Err(denied) => return denied_page(&site, &denied),
    }
    match site.inner.live.one(&namespace, &name) {
        Some(rollout) => html(200, web::question(&site.frame(Some(&viewer), None), &rollout, "", None)),
        None => missing(&site, &namespace, &name),
    }
}

pub(super) async fn nowhere(State(site): State<Site>) -> Response {
    refused(&site, 404, "Nothing is here", "This address leads nowhere.", "All Rollouts are on the first page.")
}

pub(super) fn missing(site: &Site, namespace: &str, name: &str) -> Response {
    let text = format!("There is no Rollout {name} in namespace {namespace}.");
    refused(site, 404, "No such Rollout", &text, "It may have been deleted, or be outside of the namespace that is shown.")
}

fn forbidden(site: &Site, viewer: &Viewer, verb: &str, place: &str) -> Response {
    let who = match viewer {
        Viewer::Person(person) => person.name.as_str(),
        Viewer::Session(_) => "you",
    };
    let text = format!("{who} may not {verb} rollouts.haldane.dev in {place}.");
    refused(site, 403, "Not allowed", &text, "The ClusterRole haldane-viewer, bound in a namespace, allows it there.")
}

impl Site {
    /// What every page has around it, for this viewer.
    pub(super) fn frame<'a>(&'a self, viewer: Option<&Viewer>, said: Option<&'a Said>) -> Frame<'a> {
        let settings = &self.inner.settings;
        let form = match (&self.inner.orders, &self.inner.door, viewer) {
            (Some(_), Door::Local(local), Some(Viewer::Session(session))) => Some(local.form(session)),
            _ => None,
        };
        Frame {
            prefix: &settings.prefix,
            cluster: &settings.cluster,
            namespace: settings.namespace.as_deref(),
            form,
            prometheus: settings.prometheus.as_deref(),
            lost: None,
            said,
            now: self.inner.clock.now(),
        }
    }

    /// Where a Rollout is.
    pub(super) fn address(&self, namespace: &str, name: &str) -> String {
        self.frame(None, None).rollout(namespace, name)
    }

    /// The Rollouts that somebody may see; nothing if they may see none anywhere.
    pub(super) async fn seen(&self, viewer: &Viewer) -> Result<Option<Vec<Arc<Rollout>>>, Denied> {
        let all = self.inner.live.all();
        let (Door::Tokens(reviews), Viewer::Person(person)) = (&self.inner.door, viewer) else { return Ok(Some(all)) };
        if reviews.may(person, "list", "").await? {
            return Ok(Some(all));
        }
        let namespaces: BTreeSet<String> = all.iter().filter_map(|rollout| rollout.namespace()).collect();
        let asked = stream::iter(namespaces).map(async |namespace| {
            let may = reviews.may(person, "list", &namespace).await?;
            Ok::<_, Denied>((namespace, may))
        });
        let mut allowed = BTreeSet::new();
        let mut answers = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
        while let Some(answer) = answers.next().await {
            let (namespace, may) = answer?;
            if may {
                allowed.insert(namespace);
            }
        }
        let seen = all.into_iter().filter(|rollout| rollout.namespace().is_some_and(|namespace| allowed.contains(&namespace)));
        Ok((!allowed.is_empty()).then(|| seen.collect()))
    }

    pub(super) async fn may_get(&self, viewer: &Viewer, namespace: &str) -> Result<bool, Denied> {
        match (&self.inner.door, viewer) {
            (Door::Tokens(reviews), Viewer::Person(person)) => reviews.may(person, "get", namespace).await,
            _ => Ok(true),
        }
    }
}
