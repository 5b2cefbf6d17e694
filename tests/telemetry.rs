//! What leaves the controller for others to keep: traces and log lines of the real program, taken by a real OpenTelemetry Collector.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "telemetry/stage.rs"]
mod stage;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use haldane::api::Phase;
use serde_json::{Value, json};
use stage::{Collector, Stage};

/// Attributes of a span, an event, a resource or a log record, by name.
fn attributes(of: &Value) -> BTreeMap<&str, Value> {
    let said = |value: &Value| {
        let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
        // 64-bit numbers are texts in OTLP's JSON.
        if kind == "intValue" { json!(value.as_str().unwrap().parse::<i64>().unwrap()) } else { value.clone() }
    };
    of["attributes"].as_array().into_iter().flatten().map(|pair| (pair["key"].as_str().unwrap(), said(&pair["value"]))).collect()
}

/// Spans of everything that was received, by trace.
fn traces(received: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut traces: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for span in stage::records(received, "resourceSpans", "scopeSpans", "spans") {
        traces.entry(span["traceId"].as_str().unwrap().to_owned()).or_default().push(span);
    }
    traces
}

fn name(span: &Value) -> &str {
    span["name"].as_str().unwrap()
}

/// Names of the spans in another, or without one.
fn within<'t>(trace: &'t [Value], parent: &Value) -> Vec<&'t Value> {
    trace.iter().filter(|span| span["parentSpanId"] == *parent).collect()
}

fn root(trace: &[Value]) -> &Value {
    let roots: Vec<&Value> = trace.iter().filter(|span| span["parentSpanId"].as_str().is_none_or(str::is_empty)).collect();
    assert_eq!(roots.len(), 1, "{trace:?}");
    roots[0]
}

fn nanoseconds(time: &Value) -> u64 {
    time.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_has_the_trace_of_a_rollback_and_every_line_of_the_log() {
    let mut stage = Stage::set().await;
    let collector = Collector::start(&stage);
    let controller = stage.control(&format!("{{url: \"{}\", attributes: {{k8s.cluster.name: prod}}}}", collector.url()));
    stage.roll_out_what_drifts().await;
    stage.until("rolled back", |status| status.phase == Some(Phase::RolledBack)).await;
    let decided = stage.world.status().decision.unwrap();
    controller.stop();
    let lines = stage.logged();
    let (spans, logs) = collector.received(lines.len()).await;

    // The tree of the decision.
    let traces = traces(&spans);
    let rolled_back: Vec<&Vec<Value>> = traces.values().filter(|trace| name(root(trace)) == "rollout RolledBack").collect();
    assert_eq!(rolled_back.len(), 1, "{:?}", traces.values().map(|trace| name(root(trace))).collect::<Vec<_>>());
    let (trace, root_span) = (rolled_back[0], root(rolled_back[0]));
    let known = attributes(root_span);
    for (key, wanted) in [
        ("k8s.namespace.name", json!("ml")),
        ("haldane.rollout", json!("fraud")),
        ("haldane.outcome", json!("RolledBack")),
        ("haldane.verdict", json!("Fail")),
        ("haldane.reason", json!(decided.reason.as_str())),
        ("haldane.message", json!(decided.message)),
        ("haldane.epoch", json!(decided.epoch)),
        ("haldane.step", json!(decided.step)),
        ("haldane.weight", json!(20)),
        ("haldane.weight.wanted", json!(0)),
    ] {
        assert_eq!(known[key], wanted, "{key}");
    }
    let children: BTreeSet<&str> = within(trace, &root_span["spanId"]).into_iter().map(name).collect();
    assert_eq!(children, BTreeSet::from(["act", "ask", "decide", "judge", "observe", "tell"]));
    let named = |wanted: &str| trace.iter().find(|span| name(span) == wanted).unwrap();
    let acts: Vec<&str> = within(trace, &named("act")["spanId"]).into_iter().map(name).collect();
    assert_eq!(acts, ["write route", "read back"]);
    assert_eq!(attributes(named("write route"))["haldane.object"], "VirtualService fraud");
    assert_eq!(
        (&attributes(named("observe"))["haldane.weight"], &attributes(named("read back"))["haldane.weight"]),
        (&json!(20), &json!(0))
    );
    let judged: Vec<BTreeMap<&str, Value>> = named("judge")["events"].as_array().unwrap().iter().map(attributes).collect();
    assert!(judged.iter().any(|metric| metric["haldane.metric"] == "drift" && metric["haldane.verdict"] == "Fail"), "{judged:?}");
    let order = ["ask", "judge", "observe", "decide", "write route", "read back", "tell"]
        .map(|name| nanoseconds(&named(name)["startTimeUnixNano"]));
    assert!(order.is_sorted(), "{order:?}");
    assert!(nanoseconds(&root_span["startTimeUnixNano"]) <= order[0]);
    // Steps up and looks without a decision are there too.
    let roots: BTreeSet<&str> = traces.values().map(|trace| name(root(trace))).collect();
    assert!(roots.is_superset(&BTreeSet::from(["look", "rollout Started"])), "{roots:?}");
    let resource = attributes(&spans[0]["resourceSpans"][0]["resource"]);
    assert_eq!((&resource["service.name"], &resource["k8s.cluster.name"]), (&json!("haldane"), &json!("prod")));
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));

    // Every line of the log, with what the shipper made of it.
    let records = stage::records(&logs, "resourceLogs", "scopeLogs", "logRecords");
    assert_eq!(records.len(), lines.len());
    for (record, line) in records.iter().zip(&lines) {
        let fields = attributes(record);
        for (key, value) in line.as_object().unwrap().iter().filter(|(key, _)| *key != "message") {
            let same = fields[key.as_str()] == *value || fields[key.as_str()].as_f64() == value.as_f64();
            assert!(same, "{key}: {:?} became {:?}", value, fields[key.as_str()]);
        }
        assert_eq!(record["body"]["stringValue"], line["message"]);
        let at: jiff::Timestamp = line["@timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(i128::from(nanoseconds(&record["timeUnixNano"])), at.as_nanosecond());
        let severity = match line["log.level"].as_str().unwrap() {
            "INFO" => 9,
            "WARN" => 13,
            "ERROR" => 17,
            other => panic!("{other}"),
        };
        assert_eq!(record["severityNumber"], severity);
    }
    let line = records.iter().find(|record| attributes(record).get("event.action") == Some(&json!("RolledBack"))).unwrap();
    assert_eq!(line["traceId"], root_span["traceId"], "the line of a decision leads to its trace");
    assert_eq!(attributes(line)["event.id"], known["haldane.decision"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_delays_no_rollback_and_is_counted() {
    let mut stage = Stage::set().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let controller = stage.control(&format!("{{url: \"http://{}\"}}", silent.local_addr().unwrap()));
    stage.roll_out_what_drifts().await;
    stage.until("rolled back", |status| status.phase == Some(Phase::RolledBack)).await;
    let given_up =
        || async { stage::metric(&controller.metrics().await, "haldane_spans_total{result=\"failed\"}").is_some_and(|spans| spans > 0.0) };
    for _ in 0..240 {
        if given_up().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(given_up().await, "{}", controller.metrics().await);
    controller.stop();
    let complaints: Vec<Value> =
        stage.logged().into_iter().filter(|line| line["message"].as_str().unwrap().starts_with("traces do not reach")).collect();
    assert_eq!(complaints.len(), 1, "one line for an outage: {complaints:?}");
    assert_eq!(complaints[0]["error.message"], "no answer within 5 s");
}
