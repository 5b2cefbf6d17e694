//! Tells browsers that there is something new. They ask for the page again, so there is one way in which a page is made.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures::{Stream, stream};
use kube::ResourceExt;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Site,
    door::{Viewer, denied_page, refused},
};

/// Times on a page grow old.
const TICK: Duration = Duration::from_secs(10);
/// Several changes within this time are one.
const TOGETHER: Duration = Duration::from_millis(250);
/// A stream ends then, and the browser opens a new one: its rights are looked at again.
const LIFE: Duration = Duration::from_secs(300);

pub(super) async fn fleet(State(site): State<Site>, Extension(_): Extension<Viewer>) -> Response {
    Sse::new(changes(site, None)).into_response()
}

pub(super) async fn rollout(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    match site.may_get(&viewer, &namespace).await {
        Ok(true) => Sse::new(changes(site, Some((namespace, name)))).into_response(),
        Ok(false) => refused(&site, 403, "Not allowed", "You may not see this Rollout.", ""),
        Err(denied) => denied_page(&site, &denied),
    }
}

/// `changed` when the Rollout, or any of them, is not as before; `tick` else.
fn changes(site: Site, of: Option<(String, String)>) -> impl Stream<Item = Result<Event, Infallible>> {
    let (begin, number) = (Instant::now(), site.inner.live.changes());
    let before = version(&site, of.as_ref());
    stream::unfold((site, of, number, before), move |(site, of, mut number, before)| async move {
        let next = Instant::now() + TICK;
        loop {
            if begin.elapsed() > LIFE {
                return None;
            }
            let Ok(changed) = timeout(next.saturating_duration_since(Instant::now()), number.changed()).await else {
                return Some((Ok(Event::default().event("tick").data("")), (site, of, number, before)));
            };
            changed.ok()?;
            sleep(TOGETHER).await;
            number.mark_unchanged();
            let now = version(&site, of.as_ref());
            if of.is_none() || now != before {
                return Some((Ok(Event::default().event("changed").data("")), (site, of, number, now)));
            }
        }
    })
}

fn version(site: &Site, of: Option<&(String, String)>) -> Option<String> {
    let (namespace, name) = of?;
    site.inner.live.one(namespace, name)?.resource_version()
}
