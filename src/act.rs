//! At most one mutation a pass, with a deadline, guarded by what the decision was based on.
//!
//! What the server answers is given back, so that it is used until the watch shows something newer.

mod rollout;
mod route;

use std::time::Duration;

use kube::{Api, Client, core::DynamicObject, discovery::ApiResource};
use thiserror::Error;

use crate::api::{Rollout, RouteRef};

pub use rollout::{add_finalizer, drop_finalizer, store_status};
pub use route::{read, write};

/// A read of one object.
pub(crate) const READ: Duration = Duration::from_secs(5);
/// A write of one object.
pub(crate) const WRITE: Duration = Duration::from_secs(10);

/// Whom to write to, for one Rollout.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Rollouts of the namespace.
    pub rollouts: Api<Rollout>,
    /// Objects of the namespace that hold routes, of the kind that this Rollout names; none if the cluster has no such kind.
    pub routes: Option<Api<DynamicObject>>,
}

impl Desk {
    /// For the objects of one namespace; `routes` is the kind that holds the routes.
    pub fn new(client: Client, namespace: &str, routes: Option<&ApiResource>) -> Self {
        let rollouts = Api::namespaced(client.clone(), namespace);
        Self { rollouts, routes: routes.map(|kind| Api::namespaced_with(client, namespace, kind)) }
    }

    /// The objects that hold routes.
    fn routes(&self, object: &RouteRef) -> Result<&Api<DynamicObject>, ActError> {
        self.routes.as_ref().ok_or_else(|| ActError::Gone(object.to_string()))
    }
}

/// Why a mutation was not made.
#[derive(Debug, Error)]
pub enum ActError {
    /// What it was based on is not so any more: decide again on what is there now.
    #[error("the object changed meanwhile ({0}): decided again")]
    Stale(String),
    /// The API server or a webhook refuses it; the same write would be refused again.
    #[error("{0}")]
    Refused(String),
    /// The object is gone.
    #[error("{0} does not exist any more")]
    Gone(String),
    /// No answer in time: whether it was done is seen at the next read.
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    /// The request failed on the way, or the server has trouble.
    #[error("{}", in_words(.0))]
    Trouble(#[from] kube::Error),
}

impl ActError {
    /// One word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stale(_) => "stale",
            Self::Refused(_) => "refused",
            Self::Gone(_) => "gone",
            Self::Timeout(_) => "timeout",
            Self::Trouble(_) => "trouble",
        }
    }
}

/// The answer of a request with a deadline; what the server's codes mean for a guarded write.
pub(crate) async fn within<T>(limit: Duration, what: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ActError> {
    match tokio::time::timeout(limit, request).await {
        Err(_) => Err(ActError::Timeout(limit)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => ActError::Gone(what.to_owned()),
            409 => ActError::Stale(status.message.clone()),
            400 | 403 | 422 => ActError::Refused(status.message.clone()),
            _ => ActError::Trouble(kube::Error::Api(status)),
        }),
        Ok(Err(error)) => Err(ActError::Trouble(error)),
    }
}

/// An error of the API in words: what the server said, without what it said it with.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::Status;

    use super::ActError;

    #[test]
    fn what_the_server_said_is_shown_as_it_said_it() {
        let status = Status { code: 500, ..Status::failure("failed calling webhook \"validation.istio.io\"", "InternalError") };
        let error = ActError::from(kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "the API server answered 500: failed calling webhook \"validation.istio.io\"");
    }
}
