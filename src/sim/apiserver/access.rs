//! Questions about rights (`authorization.k8s.io`): everything is granted but what was denied.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

/// Verbs and resources that nobody may use. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Denied(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Denied {
    pub(super) fn add(&self, verb: &str, resource: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((verb.to_owned(), resource.to_owned()));
    }

    fn has(&self, verb: &str, resource: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(verb.to_owned(), resource.to_owned()))
    }
}

/// The answer to a review; nothing if the path is of something else.
pub(super) fn review(path: &str, body: &[u8], denied: &Denied) -> Option<Value> {
    let kind = path.strip_prefix("/apis/authorization.k8s.io/v1/")?;
    if !["subjectaccessreviews", "selfsubjectaccessreviews"].contains(&kind) {
        return None;
    }
    let mut review: Value = serde_json::from_slice(body).ok()?;
    let asked = |field: &str| review.pointer(&format!("/spec/resourceAttributes/{field}")).and_then(Value::as_str).unwrap_or_default();
    let allowed = !denied.has(asked("verb"), asked("resource"));
    review.as_object_mut()?.insert("status".to_owned(), json!({ "allowed": allowed }));
    Some(review)
}
