//! Who has a token, and what they may see: the API server says so, and its word counts for a short time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tokio::sync::Semaphore;

use super::{answers::Answers, door::digested};
use crate::{api::names::GROUP, clock::Clock};

/// How long the API server's word counts: who has a token, that nobody has it, and what they may see.
const KNOWN: Duration = Duration::from_secs(60);
const UNKNOWN: Duration = Duration::from_secs(10);
const RIGHT: Duration = Duration::from_secs(30);
/// Questions at once.
const AT_ONCE: usize = 8;

/// The door of a site that the controller serves.
pub struct Reviews {
    client: Client,
    people: Answers<Vec<u8>, Option<Arc<Person>>>,
    rights: Answers<(Vec<u8>, &'static str, String), bool>,
    permits: Semaphore,
}

/// Who asks, as the API server knows them.
#[derive(Debug)]
pub struct Person {
    /// Their name.
    pub name: String,
    user: UserInfo,
    digest: Vec<u8>,
}

/// Why somebody does not come in.
#[derive(Debug)]
pub(super) enum Denied {
    /// There is no token, or nobody has it.
    Unknown,
    /// The API server does not answer.
    Unanswered(String),
}

impl Reviews {
    /// Asks with this client.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, people: Answers::new(clock), rights: Answers::new(clock), permits: Semaphore::new(AT_ONCE) }
    }

    /// Who sends a request.
    pub(super) async fn person(&self, headers: &HeaderMap) -> Result<Arc<Person>, Denied> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty()).ok_or(Denied::Unknown)?;
        let digest = digested(token);
        if let Some(known) = self.people.get(&digest) {
            return known.ok_or(Denied::Unknown);
        }
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = self.ask(TokenReview { spec, ..TokenReview::default() }).await?;
        let status = review.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let person = user.map(|user| Arc::new(Person { name: user.username.clone().unwrap_or_default(), user, digest: digest.clone() }));
        self.people.put(digest, person.clone(), if person.is_some() { KNOWN } else { UNKNOWN });
        person.ok_or(Denied::Unknown)
    }

    /// Whether they may do this to the Rollouts of a namespace; of all of them with an empty name.
    pub(super) async fn may(&self, person: &Person, verb: &'static str, namespace: &str) -> Result<bool, Denied> {
        let key = (person.digest.clone(), verb, namespace.to_owned());
        if let Some(known) = self.rights.get(&key) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some("rollouts".to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: person.user.username.clone(),
            uid: person.user.uid.clone(),
            groups: person.user.groups.clone(),
            extra: person.user.extra.clone().map(|extra| extra.into_iter().collect::<BTreeMap<_, _>>()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = self.ask(SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        self.rights.put(key, allowed, RIGHT);
        Ok(allowed)
    }

    async fn ask<K>(&self, review: K) -> Result<K, Denied>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope> + Clone + std::fmt::Debug,
        K: serde::Serialize + serde::de::DeserializeOwned,
    {
        let _permit = self.permits.acquire().await.map_err(|_| Denied::Unanswered("it ends".to_owned()))?;
        let api: Api<K> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &review).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                Denied::Unanswered(format!("The controller may not ask who sends a request: {}", status.message))
            }
            error => Denied::Unanswered(format!("The API server did not say who sends this request: {error}")),
        })
    }
}
