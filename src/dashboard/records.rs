//! What happened in the last rollouts, read when a page is asked for.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt};

use super::answers::Answers;
use crate::{
    api::Rollout,
    clock::Clock,
    record::{Record, name},
};

/// Several who look at the same page ask once.
const FRESH: Duration = Duration::from_secs(2);

type Kept = Result<Option<Arc<Record>>, String>;

/// Reads records, with the rights of its client.
pub struct Records {
    client: Client,
    answers: Answers<String, Kept>,
}

impl Records {
    /// Reads with this client.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, answers: Answers::new(clock) }
    }

    /// The record of a Rollout; nothing if there is none yet, and why it cannot be read.
    pub(super) async fn of(&self, rollout: &Rollout) -> Kept {
        let (Some(uid), Some(namespace)) = (rollout.uid(), rollout.namespace()) else { return Ok(None) };
        if let Some(known) = self.answers.get(&uid) {
            return known;
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        let kept = match api.get_opt(&name(&rollout.name_any(), &uid)).await {
            Ok(None) => Ok(None),
            Ok(Some(object)) => {
                Record::from_config_map(&object, &uid).map(|record| Some(Arc::new(record))).map_err(|error| error.to_string())
            }
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => Err(error.to_string()),
        };
        self.answers.put(uid, kept.clone(), FRESH);
        kept
    }
}
