//! Stores that refuse: what is asked again, when, and what is kept.

use axum::http::StatusCode;

use super::*;
use crate::clock::Clock;

impl World {
    pub(super) fn refuses(&self, query: &str) -> Option<(StatusCode, &'static str)> {
        let mut received = self.received.lock().unwrap();
        *received += 1;
        let seconds = query.rsplit_once('[').and_then(|(_, range)| range.trim_end_matches("s]").parse::<i64>().ok());
        if seconds.is_some_and(|seconds| seconds > self.longest) {
            return Some((StatusCode::UNPROCESSABLE_ENTITY, "too many chunks"));
        }
        if self.one_metric && query.starts_with("{__name__") {
            return Some((StatusCode::BAD_REQUEST, "the name of the metric must be given"));
        }
        (self.busy > 0 && received.is_multiple_of(self.busy)).then_some((StatusCode::TOO_MANY_REQUESTS, "too many outstanding requests"))
    }
}

#[tokio::test]
async fn victoriametrics_5806_what_would_come_again_at_the_same_time_is_not_asked_for_again_at_the_same_time() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let good = wait(&sampler, "a window", |look| look.window_end.is_some()).await.window_end.unwrap();
    *world.broken.lock().unwrap() = Some(r#"{"status":"error","errorType":"execution","error":"bad chunk"}"#);
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let message = look.problem.unwrap().message;
    assert_eq!(message, "window not counted, for neither arm: provider default: Prometheus says: execution: bad chunk");
    tokio::time::sleep(Duration::from_millis(900)).await;
    world.asked.lock().unwrap().clear();
    *world.broken.lock().unwrap() = None;
    let back = wait(&sampler, "windows again", |look| look.problem.is_none() && look.window_end > Some(good)).await;
    let first = world.asked.lock().unwrap().iter().map(|(_, at)| *at).min().unwrap();
    assert!(first - good.as_millisecond() >= 600, "the windows in between are not asked for again: {} ms", first - good.as_millisecond());
    assert!(back.canary_in_window.unwrap() >= 40, "the next window reaches back over them: {:?}", back.canary_in_window);
}

#[tokio::test]
async fn mimir_4518_the_past_is_read_to_its_end_although_every_third_question_is_refused() {
    let clock = Clock::system();
    let pods = ["v1-a"];
    let mut world = past::world(&clock, 1900, &pods);
    (world.busy, world.longest) = (3, 600);
    let (world, judgement) = past::read(&clock, world, &pods).await;
    let counted = past::windows(&judgement)[0];
    assert!((58..=62).contains(&counted), "all that there is: {counted}");
    let asked = world.asked.lock().unwrap();
    let mut answered: Vec<_> =
        asked.iter().filter(|(query, _)| query.contains("istio_requests_total") && query.contains("pod=~")).collect();
    let all = answered.len();
    answered.dedup();
    assert!(all - answered.len() <= 3, "nothing that was read is read again: {answered:?}");
}

#[tokio::test]
async fn a_store_that_is_later_than_the_lag_is_named_with_the_lag_to_set() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    // Preflight sees five minutes; the windows themselves come seven seconds late.
    world.late = 7000;
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "a problem", |look| look.problem.as_ref().is_some_and(|problem| problem.message.contains("lag: "))).await;
    let message = look.problem.unwrap().message;
    // Seven seconds, and what the asking takes on a busy machine.
    let measured = (7..=10).any(|age| message.contains(&format!(": the newest sample is {age} s old when asked (provider default")));
    assert!(message.contains("set `lag: ") && measured, "{message}");
}
