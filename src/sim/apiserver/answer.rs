//! What a Kubernetes API server says when it refuses: Status objects with the code, reason and message of the real one.

use serde_json::{Value, json};

use crate::sim::kinds::Kind;

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Machine readable reason; may be empty.
    pub reason: String,
    /// Message for people.
    pub message: String,
    /// Details, an object.
    pub details: Option<Value>,
    /// Seconds in the `Retry-After` header.
    pub retry_after: Option<u64>,
}

/// One fault of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, and so on.
    pub reason: &'static str,
    /// What is wrong, without the field.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None, retry_after: None }
    }

    /// 404 for an object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).about(kind, name)
    }

    /// 409 for a create.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource())).about(kind, name)
    }

    /// 422 for a PUT of a custom resource that names no resourceVersion.
    pub fn no_version(kind: &Kind, name: &str) -> Self {
        let message = "Invalid value: 0: must be specified for an update".to_owned();
        let cause = Cause { reason: "FieldValueInvalid", message, field: "metadata.resourceVersion".into() };
        let mut refusal = Self::faulty(kind, name, &[cause]);
        refusal.message = refusal.message.replacen(&kind.qualified(), &kind.resource(), 1);
        if let Some(field) = refusal.details.as_mut().and_then(|d| d.get_mut("kind")) {
            *field = json!(kind.plural);
        }
        refusal
    }

    /// 409 for a delete of another object than the one that is there.
    pub fn other_object(kind: &Kind, name: &str, why: &str) -> Self {
        let mut refusal = Self::conflict(kind, name, why);
        refusal.message = refusal.message.replacen(&kind.resource(), &kind.qualified(), 1);
        if let Some(field) = refusal.details.as_mut().and_then(|d| d.get_mut("kind")) {
            *field = json!(kind.kind);
        }
        refusal
    }

    /// 409 for a precondition.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource())).about(kind, name)
    }

    /// 409 for a stale resourceVersion.
    pub fn stale(kind: &Kind, name: &str) -> Self {
        Self::conflict(kind, name, "the object has been modified; please apply your changes to the latest version and try again")
    }

    /// 422 with the faults of the fields. Some faults keep a real server from evaluating CEL, and it says so.
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        const BLOCKING: [&str; 5] =
            ["FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueNotSupported"];
        let mut causes = causes.to_vec();
        if kind.schema().is_some() && causes.iter().any(|c| BLOCKING.contains(&c.reason)) {
            let message = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing \
                           errors to complete validation";
            causes.push(Cause { reason: "FieldValueInvalid", message: message.into(), field: "<nil>".into() });
        }
        Self::faulty(kind, name, &causes)
    }

    fn faulty(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let lines: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let text = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field})).collect();
        let mut details = json!({"group": kind.group, "kind": kind.kind, "causes": causes});
        if let (Value::Object(map), false) = (&mut details, name.is_empty()) {
            map.insert("name".into(), json!(name));
        }
        Self { details: Some(details), ..Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {text}", kind.qualified())) }
    }

    /// 422 for a JSON patch that does not fit, a failed `test` among them.
    pub fn patch_failed() -> Self {
        Self { details: Some(json!({})), ..Self::new(422, "Invalid", "the server rejected our request due to an error in our request") }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        }
    }

    /// 415, with the content types that are spoken.
    pub fn unsupported_media(spoken: &str) -> Self {
        let message = format!("the body of the request was in an unknown format - accepted media types include: {spoken}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 410: the revision is forgotten.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 404 for a path that is no object.
    pub fn no_such_path() -> Self {
        Self { details: Some(json!({})), ..Self::new(404, "NotFound", "the server could not find the requested resource") }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": kind.plural});
        if let (Value::Object(map), false) = (&mut details, kind.group.is_empty()) {
            map.insert("group".into(), json!(kind.group));
        }
        self.details = Some(details);
        self
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "code": self.code,
        });
        if let Value::Object(map) = &mut status {
            if !self.reason.is_empty() {
                map.insert("reason".into(), json!(self.reason));
            }
            let mut details = self.details.clone();
            if let Some(seconds) = self.retry_after {
                let base = details.get_or_insert_with(|| json!({}));
                if let Value::Object(base) = base {
                    base.insert("retryAfterSeconds".into(), json!(seconds));
                }
            }
            if let Some(details) = details {
                map.insert("details".into(), details);
            }
        }
        status
    }
}
