//! Jobs that announce a model. Pure.

use serde_json::Value;

use super::{Model, Offered, model::is_digest};
use crate::api::SourceReason as Why;
use crate::api::names::{JOB_MODEL_DIGEST, JOB_MODEL_URI};

/// Longest URI that is taken.
const LONGEST: usize = 2000;

/// What the newest complete Job announces. Jobs that announce nothing are passed over.
pub fn offered(jobs: &[Value], what: &str) -> Offered {
    let newest = jobs.iter().filter_map(|job| Some((finished(job)?, job))).filter(|(_, job)| annotation(job, JOB_MODEL_URI).is_some());
    let Some((_, job)) = newest.max_by(|(one, a), (other, b)| one.cmp(other).then_with(|| name(a).cmp(name(b)))) else {
        let words = format!("none of {what} is complete and has the annotations {JOB_MODEL_URI} and {JOB_MODEL_DIGEST}");
        return Offered::Not { model: None, why: Why::NothingYet, words };
    };
    let uri = annotation(job, JOB_MODEL_URI).unwrap_or_default();
    let digest = annotation(job, JOB_MODEL_DIGEST).unwrap_or_default();
    if !is_digest(digest) {
        let words = format!("Job {} says {JOB_MODEL_DIGEST}=\"{}\": it must be sha256: and 64 hex digits", name(job), short(digest));
        return Offered::Not { model: None, why: Why::NotPinned, words };
    }
    if uri.is_empty() || uri.len() > LONGEST || uri.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let words = format!("Job {} has an {JOB_MODEL_URI} that is empty, longer than {LONGEST} bytes, or has spaces in it", name(job));
        return Offered::Not { model: None, why: Why::NotPinned, words };
    }
    Offered::Model(Model { uri: uri.to_owned(), version: None, digest: Some(digest.to_owned()) })
}

/// When a Job was complete, if it is.
fn finished(job: &Value) -> Option<&str> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let is = |condition: &Value, field: &str, value: &str| condition.get(field).and_then(Value::as_str) == Some(value);
    let done = conditions.iter().find(|condition| is(condition, "type", "Complete") && is(condition, "status", "True"))?;
    let time = job.pointer("/status/completionTime").or_else(|| done.get("lastTransitionTime"));
    // RFC 3339 in UTC with whole seconds: the order of the texts is that of the times.
    time.and_then(Value::as_str)
}

fn annotation<'a>(job: &'a Value, name: &str) -> Option<&'a str> {
    job.pointer("/metadata/annotations")?.get(name)?.as_str()
}

fn name(job: &Value) -> &str {
    job.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn short(text: &str) -> String {
    crate::words::shortened(text, 80)
}
