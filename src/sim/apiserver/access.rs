//! Questions about rights and tokens (`authorization.k8s.io`, `authentication.k8s.io`): everything is granted but what was denied, and nobody
//! has a token that was not made known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

/// Verbs and resources that nobody may use, and whose tokens are whose. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Denied(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Verb and resource everywhere.
    everywhere: BTreeSet<(String, String)>,
    /// Namespace, verb and resource; an empty namespace: what asks about all of them.
    there: BTreeSet<(String, String, String)>,
    /// Token to user.
    tokens: BTreeMap<String, String>,
}

impl Denied {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, verb: &str, resource: &str) {
        self.known().everywhere.insert((verb.to_owned(), resource.to_owned()));
    }

    pub(super) fn add_in(&self, namespace: &str, verb: &str, resource: &str) {
        self.known().there.insert((namespace.to_owned(), verb.to_owned(), resource.to_owned()));
    }

    pub(super) fn know(&self, token: &str, user: &str) {
        self.known().tokens.insert(token.to_owned(), user.to_owned());
    }

    fn has(&self, namespace: &str, verb: &str, resource: &str) -> bool {
        let known = self.known();
        known.everywhere.contains(&(verb.to_owned(), resource.to_owned()))
            || known.there.contains(&(namespace.to_owned(), verb.to_owned(), resource.to_owned()))
    }
}

/// The answer to a review; nothing if the path is of something else.
pub(super) fn review(path: &str, body: &[u8], denied: &Denied) -> Option<Value> {
    let status: fn(&Value, &Denied) -> Value = match path {
        "/apis/authorization.k8s.io/v1/subjectaccessreviews" | "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => right,
        "/apis/authentication.k8s.io/v1/tokenreviews" => token,
        _ => return None,
    };
    let mut review: Value = serde_json::from_slice(body).ok()?;
    let status = status(&review, denied);
    review.as_object_mut()?.insert("status".to_owned(), status);
    Some(review)
}

fn right(review: &Value, denied: &Denied) -> Value {
    let asked = |field: &str| review.pointer(&format!("/spec/resourceAttributes/{field}")).and_then(Value::as_str).unwrap_or_default();
    json!({ "allowed": !denied.has(asked("namespace"), asked("verb"), asked("resource")) })
}

fn token(review: &Value, denied: &Denied) -> Value {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    match denied.known().tokens.get(token) {
        Some(user) => json!({ "authenticated": true, "user": { "username": user, "groups": ["system:authenticated"] } }),
        None => json!({ "authenticated": false, "error": "invalid bearer token" }),
    }
}
