use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value as Sent},
    trace::v1::status::StatusCode,
};
use prost::Message;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::{clock::Clock, config::ConfigHandle, metrics::Metrics};

fn configured(url: &str) -> ConfigHandle {
    let text = format!("traces: {{otlp: {{url: \"{url}\", attributes: {{k8s.cluster.name: prod}}, headers: {{X-Scope-OrgID: team-a}}}}}}");
    ConfigHandle::fixed(crate::config::Config::parse(&text, std::path::Path::new("/")).unwrap())
}

fn traces(url: &str) -> (Traces, Metrics) {
    let metrics = Metrics::new();
    (Traces::new(configured(url), Clock::system(), metrics.clone(), "haldane-0"), metrics)
}

/// A rollback in two spans.
fn rollback(traces: &Traces) -> Trace {
    let mut course = traces.course();
    course.open("write route");
    course.note(|span| {
        span.remote = true;
        span.error = Some(("timeout", "no answer".to_owned()));
    });
    course.root(|span| {
        span.name = "rollout RolledBack".to_owned();
        span.set("haldane.weight", 5);
        span.events.push(("decision", span.begun, vec![("haldane.reason", "AnalysisFailed".into())]));
    });
    course.decided_on(Some((9, 8)));
    course.end().unwrap()
}

fn counted(metrics: &Metrics, result: &str) -> usize {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.starts_with(&format!("haldane_spans_total{{result=\"{result}\"}}")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let said = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Sent::StringValue(text)) => text.clone(),
        Some(Sent::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.as_str(), said(pair))).collect()
}

#[tokio::test]
async fn a_trace_arrives_as_a_tree_with_its_attributes() {
    let collector = MockServer::start().await;
    let taken = Mock::given(method("POST"))
        .and(path("/v1/traces"))
        .and(header("content-type", "application/x-protobuf"))
        .and(header("x-scope-orgid", "team-a"));
    taken.respond_with(ResponseTemplate::new(200)).expect(1).mount(&collector).await;
    let (traces, metrics) = traces(&collector.uri());
    let trace = rollback(&traces);
    traces.send(trace.clone());
    traces.close(Duration::from_secs(10)).await;
    assert_eq!((counted(&metrics, "sent"), counted(&metrics, "failed")), (2, 0));

    let requests = collector.received_requests().await.unwrap();
    let request = ExportTraceServiceRequest::decode(requests[0].body.as_slice()).unwrap();
    let all = &request.resource_spans[0];
    let resource = texts(&all.resource.as_ref().unwrap().attributes);
    assert_eq!(resource["service.name"], "haldane");
    assert_eq!((resource["service.instance.id"].as_str(), resource["k8s.cluster.name"].as_str()), ("haldane-0", "prod"));
    let [root, write] = all.scope_spans[0].spans.as_slice() else { panic!("{all:?}") };
    assert_eq!((root.name.as_str(), root.trace_id.as_slice()), ("rollout RolledBack", &trace.id.to_be_bytes()[..]));
    assert_eq!(texts(&root.attributes)["haldane.weight"], "5");
    assert_eq!(texts(&root.events[0].attributes)["haldane.reason"], "AnalysisFailed");
    assert_eq!(
        (root.links[0].trace_id.as_slice(), root.links[0].span_id.as_slice()),
        (&9_u128.to_be_bytes()[..], &8_u64.to_be_bytes()[..])
    );
    assert_eq!((&write.parent_span_id, root.parent_span_id.len()), (&root.span_id, 0));
    assert_eq!((write.status.as_ref().unwrap().code(), texts(&write.attributes)["error.type"].as_str()), (StatusCode::Error, "timeout"));
    assert!(write.links.is_empty() && write.start_time_unix_nano <= write.end_time_unix_nano);
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_and_what_one_refuses_is_counted() {
    let collector = MockServer::start().await;
    let busy = ResponseTemplate::new(503).insert_header("retry-after", "0");
    Mock::given(method("POST")).respond_with(busy).up_to_n_times(2).mount(&collector).await;
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one is too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_bytes(answer)).mount(&collector).await;
    let (traces, metrics) = traces(&collector.uri());
    traces.send(rollback(&traces));
    traces.close(Duration::from_secs(10)).await;
    assert_eq!((counted(&metrics, "sent"), counted(&metrics, "refused"), counted(&metrics, "failed")), (1, 1, 0));
    assert_eq!(collector.received_requests().await.unwrap().len(), 3);

    collector.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(401)).expect(1).mount(&collector).await;
    traces.send(rollback(&traces));
    traces.close(Duration::from_secs(10)).await;
    assert_eq!(counted(&metrics, "failed"), 2, "the same would be refused again");
}

#[tokio::test]
async fn a_collector_that_hangs_delays_nobody_and_what_it_misses_is_counted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (traces, metrics) = traces(&format!("http://{}", listener.local_addr().unwrap()));
    let trace = rollback(&traces);
    let begun = Clock::system();
    for _ in 0..2_000 {
        traces.send(trace.clone());
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let dropped = counted(&metrics, "dropped");
    assert!(dropped >= 2 * 1_600, "256 wait and 64 are on their way; {dropped} spans were dropped");
    traces.close(Duration::from_millis(50)).await; // the controller stops all the same
}

#[tokio::test]
async fn nothing_is_followed_until_the_configuration_names_a_collector() {
    let folder = std::env::temp_dir().join(format!("haldane-traces-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("haldane.yaml");
    std::fs::write(&file, "alerts: {}").unwrap();
    let config = ConfigHandle::load(&file).await.unwrap();
    let traces = Traces::new(config.clone(), Clock::system(), Metrics::new(), "haldane-0");
    assert!(!traces.course().follows());
    std::fs::write(&file, "traces: {otlp: {url: \"http://collector:4318\"}}").unwrap();
    config.look().await;
    let course = traces.course();
    assert!(course.follows());
    assert_eq!(course.trace_id().unwrap().len(), 32);
    assert_ne!(course.trace_id(), traces.course().trace_id());
}
