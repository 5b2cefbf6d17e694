//! Traces as the messages of OTLP.

use std::collections::BTreeMap;

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status, span, status},
};
use prost::Message;

use super::{Span, Trace, Value};

/// W3C's flag of a trace that is recorded.
const SAMPLED: u32 = 1;

/// The body of a request with these traces. `own`: attributes that the configuration adds to the resource.
pub(super) fn body(traces: &[Trace], instance: &str, own: &BTreeMap<String, String>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let ours = [("service.name", "haldane"), ("service.version", version), ("service.instance.id", instance)];
    let ours = ours.into_iter().filter(|(name, _)| !own.contains_key(*name));
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let attributes = ours.chain(own).map(|(name, value)| pair(name, &Value::Text(value.to_owned()))).collect();
    let scope = InstrumentationScope { name: "haldane".to_owned(), version: version.to_owned(), ..Default::default() };
    let spans = traces.iter().flat_map(|trace| trace.spans.iter().enumerate().map(|(index, span)| sent(trace, index, span))).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}

/// How many spans a collector that took a request refuses of it, and its words. An answer that says nothing refuses none.
pub(super) fn refused(body: &[u8]) -> (u64, String) {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    (u64::try_from(partial.rejected_spans).unwrap_or_default(), partial.error_message)
}

fn sent(trace: &Trace, index: usize, one: &Span) -> Sent {
    let kind = if one.remote { span::SpanKind::Client } else { span::SpanKind::Internal };
    let link = |(trace, first): (u128, u64)| span::Link {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: first.to_be_bytes().to_vec(),
        flags: SAMPLED,
        ..Default::default()
    };
    let mut attributes = pairs(&one.attributes);
    if let Some((kind, _)) = &one.error {
        attributes.push(pair("error.type", &Value::from(*kind)));
    }
    Sent {
        trace_id: trace.id.to_be_bytes().to_vec(),
        span_id: identity(trace, index),
        parent_span_id: one.parent.map(|parent| identity(trace, parent)).unwrap_or_default(),
        flags: SAMPLED,
        name: one.name.clone(),
        kind: kind as i32,
        start_time_unix_nano: nanoseconds(one.begun),
        end_time_unix_nano: nanoseconds(one.ended.max(one.begun)),
        attributes,
        events: one
            .events
            .iter()
            .map(|(name, at, attributes)| span::Event {
                time_unix_nano: nanoseconds(*at),
                name: (*name).to_owned(),
                attributes: pairs(attributes),
                ..Default::default()
            })
            .collect(),
        links: trace.look.filter(|_| index == 0).map(link).into_iter().collect(),
        status: one.error.as_ref().map(|(_, words)| Status { message: words.clone(), code: status::StatusCode::Error as i32 }),
        ..Default::default()
    }
}

/// The first span has the identity that the trace knows, the next one the number after it.
fn identity(trace: &Trace, index: usize) -> Vec<u8> {
    let number = trace.first.wrapping_add(u64::try_from(index).unwrap_or_default());
    number.max(1).to_be_bytes().to_vec()
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}

fn pairs(attributes: &[(&'static str, Value)]) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| pair(name, value)).collect()
}

fn pair(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Number(number) => any_value::Value::IntValue(*number),
        Value::Real(number) => any_value::Value::DoubleValue(*number),
        Value::Flag(flag) => any_value::Value::BoolValue(*flag),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
