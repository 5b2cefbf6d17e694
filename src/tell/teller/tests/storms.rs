//! Many Rollouts with one cause, and what is over again.

use serde_json::{Value, json};

use super::*;
use crate::api::{DecisionRecord, Reason};
use crate::config::{CloudEventsSink, Template};
use crate::tell::tests::receivers::Maker;
use crate::tell::text::tests::held;

/// How long alerts are gathered here.
const MOMENT: Duration = Duration::from_secs(1);

fn gathering(sinks: &[(&str, Sink)]) -> (Teller, mpsc::Receiver<(String, String)>) {
    let alerts = sinks.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect();
    let config = ConfigHandle::fixed(Config { alerts, ..Config::default() });
    Teller::gathering_for(MOMENT, config, Courier::new(), Clock::system(), Metrics::new())
}

fn entries(at: usize, record: &DecisionRecord, sinks: &[&str]) -> Vec<OutboxEntry> {
    let mut outbox = Vec::new();
    let sinks: Vec<String> = sinks.iter().map(ToString::to_string).collect();
    outbox::enqueue(&mut outbox, outbox::key(&format!("u-{at}"), record), &sinks, record);
    outbox
}

fn over(entries: &[OutboxEntry]) -> Vec<OutboxEntry> {
    let end = |entry: &OutboxEntry| OutboxEntry {
        key: format!("{}/ended", entry.key),
        ended_at: Some(serde_json::from_value(json!("2026-11-23T14:12:11Z")).unwrap()),
        ..entry.clone()
    };
    entries.iter().map(end).collect()
}

async fn bodies(server: &MockServer) -> Vec<Value> {
    server.received_requests().await.unwrap().iter().map(|request| request.body_json().unwrap()).collect()
}

async fn hear(news: &mut mpsc::Receiver<(String, String)>, n: usize) {
    for _ in 0..n {
        time::timeout(Duration::from_secs(20), news.recv()).await.unwrap().unwrap();
    }
}

fn key_file(name: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("haldane-storm-{name}-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    file
}

fn pager(url: String, file: &std::path::Path) -> Sink {
    Sink::PagerDuty(PagerDutySink { routing_key_file: file.into(), url: Some(url), access: HttpAccess::default() })
}

fn webhook(url: String, format: WebhookFormat) -> Sink {
    Sink::Webhook(WebhookSink { url, format, hmac_key_file: None, access: HttpAccess::default() })
}

#[tokio::test]
async fn fifty_holds_for_one_cause_are_one_message_for_people_and_one_post_for_alertmanager() {
    let (slack, teams, duty, manager) =
        (Maker::Slack.serve().await, Maker::Teams.serve().await, Maker::PagerDuty.serve().await, Maker::Alertmanager.serve().await);
    let file = key_file("fifty");
    let sinks = [
        ("slack", webhook(slack.uri(), WebhookFormat::Slack)),
        ("teams", webhook(teams.uri(), WebhookFormat::Teams)),
        ("duty", pager(duty.uri(), &file)),
        ("manager", Sink::Alertmanager(AlertmanagerSink { url: manager.uri(), ..AlertmanagerSink::default() })),
    ];
    let (teller, mut news) = gathering(&sinks);
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    let mut outboxes: Vec<Vec<OutboxEntry>> = (0..50).map(|at| entries(at, &held(Reason::MetricsUnavailable), &names)).collect();
    for (at, outbox) in outboxes.iter().enumerate() {
        teller.offer("ml", &format!("model-{at}"), outbox);
    }
    hear(&mut news, 50 * sinks.len()).await;
    for outbox in &mut outboxes {
        assert!(teller.apply(outbox) && outbox.is_empty(), "{outbox:?}");
    }
    for server in [&slack, &teams, &duty] {
        let bodies = bodies(server).await;
        assert_eq!(bodies.len(), 1);
        let said = bodies[0].to_string();
        for wanted in ["Holding, metrics are missing: 50 Rollouts", "ml/model-0", "ml/model-4", "and 45 more", "haldane list -A"] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!said.contains("ml/model-5"), "{said}");
    }
    let posts = bodies(&manager).await;
    assert_eq!((posts.len(), posts[0].as_array().unwrap().len()), (1, 50), "Alertmanager does the grouping");
    assert_eq!(posts[0][7]["labels"]["rollout"], "model-7");
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn every_rollback_is_a_page_of_its_own_and_waits_for_no_other() {
    let duty = Maker::PagerDuty.serve().await;
    let file = key_file("rollbacks");
    let (teller, mut news) = gathering(&[("duty", pager(duty.uri(), &file))]);
    let began = Instant::now();
    for at in 0..10 {
        teller.offer("ml", &format!("model-{at}"), &entries(at, &drift_rollback(), &["duty"]));
    }
    hear(&mut news, 1).await;
    assert!(began.elapsed() < MOMENT, "{:?}", began.elapsed());
    hear(&mut news, 9).await;
    let bodies = bodies(&duty).await;
    let keys: BTreeSet<&str> = bodies.iter().map(|body| body["dedup_key"].as_str().unwrap()).collect();
    assert_eq!((bodies.len(), keys.len()), (10, 10));
    assert!(bodies.iter().all(|body| body["payload"]["summary"].as_str().unwrap().starts_with("Rolled back: ml/model-")));
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn programs_get_every_event_and_two_holds_are_two_messages() {
    let (bus, slack) = (Maker::CloudEvents.serve().await, Maker::Slack.serve().await);
    let event =
        Sink::CloudEvents(CloudEventsSink { url: bus.uri(), mode: Default::default(), source: None, access: HttpAccess::default() });
    let (teller, mut news) = gathering(&[("bus", event), ("slack", webhook(slack.uri(), WebhookFormat::Slack))]);
    for at in 0..12 {
        let sinks: &[&str] = if at < 2 { &["bus", "slack"] } else { &["bus"] };
        teller.offer("ml", &format!("model-{at}"), &entries(at, &held(Reason::MetricsUnavailable), sinks));
    }
    hear(&mut news, 14).await;
    assert_eq!((count(&bus).await, count(&slack).await), (12, 2));
}

#[tokio::test]
async fn an_end_resolves_what_it_ends_and_the_incident_of_many_goes_with_the_last() {
    let (duty, manager, bus) = (Maker::PagerDuty.serve().await, Maker::Alertmanager.serve().await, Maker::CloudEvents.serve().await);
    let file = key_file("ends");
    let event =
        CloudEventsSink { url: bus.uri(), mode: Default::default(), source: Some("/clusters/prod".into()), access: HttpAccess::default() };
    let sinks = [
        ("duty", pager(duty.uri(), &file)),
        ("manager", Sink::Alertmanager(AlertmanagerSink { url: manager.uri(), ..AlertmanagerSink::default() })),
        ("bus", Sink::CloudEvents(event)),
    ];
    let (teller, mut news) = gathering(&sinks);
    let mut outboxes: Vec<Vec<OutboxEntry>> =
        (0..3).map(|at| entries(at, &held(Reason::MetricsUnavailable), &["duty", "manager", "bus"])).collect();
    let offer = |outboxes: &[Vec<OutboxEntry>]| {
        outboxes.iter().enumerate().for_each(|(at, outbox)| teller.offer("ml", &format!("model-{at}"), outbox));
    };
    // The ends are known before anything was delivered: each waits for what it ends.
    for outbox in &mut outboxes {
        let ends = over(outbox);
        outbox.extend(ends);
    }
    offer(&outboxes);
    hear(&mut news, 9).await;
    outboxes.iter_mut().for_each(|outbox| assert!(teller.apply(outbox)));
    assert!(outboxes.iter().all(|outbox| outbox.len() == 1 && outbox[0].ended_at.is_some()), "{outboxes:?}");
    offer(&outboxes);
    hear(&mut news, 9).await;
    // The last word is said after its news.
    for _ in 0..100 {
        if count(&duty).await == 5 {
            break;
        }
        time::sleep(Duration::from_millis(50)).await;
    }
    let pages: Vec<(String, String)> = bodies(&duty)
        .await
        .iter()
        .map(|body| (body["event_action"].as_str().unwrap().to_owned(), body["dedup_key"].as_str().unwrap().to_owned()))
        .collect();
    let storm = "haldane/RolloutMetricsMissing/MetricsUnavailable";
    assert_eq!(pages.first(), Some(&("trigger".to_owned(), storm.to_owned())), "{pages:?}");
    assert_eq!(pages.last(), Some(&("resolve".to_owned(), storm.to_owned())), "{pages:?}");
    assert!(pages.contains(&("resolve".to_owned(), "haldane/ml/model-1/RolloutMetricsMissing".to_owned())), "{pages:?}");
    assert_eq!(pages.len(), 5);
    let posts = bodies(&manager).await;
    assert_eq!(posts.len(), 2);
    assert_eq!(posts[0][0]["labels"], posts[1][0]["labels"], "the same alert");
    assert_eq!(posts[1][0]["endsAt"], "2026-11-23T14:12:11Z");
    let last = bus.received_requests().await.unwrap().pop().unwrap();
    assert_eq!(last.headers["ce-type"], "dev.haldane.rollout.recovered.v1");
    assert_eq!(last.headers["ce-time"], "2026-11-23T14:12:11Z");
    let body: Value = last.body_json().unwrap();
    assert_eq!(body["endedAt"], "2026-11-23T14:12:11Z");
    assert!(body["title"].as_str().unwrap().starts_with("Over after 10m: Holding, metrics are missing: ml/model-"), "{body}");
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn a_template_takes_the_place_of_the_text_and_one_that_fails_loses_no_alert() {
    let (slack, teams) = (Maker::Slack.serve().await, Maker::Teams.serve().await);
    let alerts = [("slack", webhook(slack.uri(), WebhookFormat::Slack)), ("teams", webhook(teams.uri(), WebhookFormat::Teams))];
    let alerts = alerts.into_iter().map(|(name, sink)| (name.to_owned(), sink)).collect();
    let text = |text: &str| Some(text.to_owned());
    let good = Template {
        title: text("{{ severity | upper }}: {{ rollout }} {{ canary.name }}"),
        body: text(
            "by {{ by }}\n<https://grafana.example/d/{{ rollout }}|Dashboard>{% for m in metrics %}\n{{ m.label }} {{ m.verdict }}{% endfor %}",
        ),
    };
    let bad = Template { title: None, body: text("{{ metrics[5].verdict.nothing }}") };
    let templates = [("default".to_owned(), good), ("RolloutRolledBack".to_owned(), bad)];
    let templates = ["slack", "teams"].map(|sink| (sink.to_owned(), templates.clone().into())).into();
    let config = ConfigHandle::fixed(Config { alerts, templates, ..Config::default() });
    let (teller, mut news) = Teller::new(config, Courier::new(), Clock::system(), Metrics::new());
    let mut aborted = crate::tell::text::tests::aborted();
    aborted.by = Some(crate::api::Actor { name: "<!channel> [x](y)".into(), manager: None, reason: None });
    aborted.why = drift_rollback().why;
    teller.offer("ml", "fraud", &entries(0, &aborted, &["slack", "teams"]));
    teller.offer("ml", "fraud", &entries(1, &drift_rollback(), &["slack", "teams"]));
    hear(&mut news, 4).await;
    let said = bodies(&slack).await;
    assert_eq!(said[0]["blocks"][0]["text"]["text"], ":warning: WARNING: fraud v3");
    let body = "by &lt;!channel&gt; [x](y)\n<https://grafana.example/d/fraud|Dashboard>\ndrift worse\nerrors undecided\np99 ok";
    assert_eq!(said[0]["blocks"][1]["text"]["text"], body);
    let built_in = said[1]["text"].as_str().unwrap();
    assert!(built_in.contains("CRITICAL: fraud v3") && built_in.contains("TV 0.310"), "the title works, the body is built in: {built_in}");
    let card = bodies(&teams).await[0].to_string();
    assert!(card.contains(r"by \\<!channel\\> \\[x\\]\\(y\\)") && card.contains("drift worse"), "{card}");
}
