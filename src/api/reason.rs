//! Reasons: why a rollout stands where it stands. The same words in conditions, decision records, events and alerts.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a rollout stands where it stands: what this version of haldane can say.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word that users see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// The manifest has faults; the message lists them with their field paths.
    Invalid,
    /// Another Rollout has claimed the route.
    Conflict,
    /// The VirtualService is not there.
    VirtualServiceNotFound,
    /// The HTTPRoute is not there.
    HTTPRouteNotFound,
    /// The GRPCRoute is not there.
    GRPCRouteNotFound,
    /// No route of the object fits.
    RouteNotFound,
    /// More than one http route fits and the spec names none.
    RouteAmbiguous,
    /// The route leaves it to another VirtualService where its requests go.
    RouteDelegated,
    /// Another controller owns the VirtualService.
    OwnedByAnotherController,
    /// No EndpointSlice is for the Service of a version.
    ServiceNotFound,
    /// The subset is in no DestinationRule.
    SubsetNotFound,
    /// The subsets of both arms select the same pods.
    ArmsOverlap,
    /// No canary pod, or none ready.
    NoCanaryEndpoint,
    /// The weights found are not ours and not 100 / 0.
    UnexpectedWeights,
    /// Several revisions behind one subset.
    Settling,
    /// The source of models is asked first, or a model of it is on its way to the canary's pods.
    ModelPending,
    /// Stable's pods changed while nothing was rolled out: it reached all users at once.
    StableRedeployed,
    /// The revision was rolled back or aborted before.
    Refused,
    /// Fewer ready canary endpoints than the weight needs.
    CanaryCapacity,
    /// An edit of the manifest was taken over.
    PlanAdopted,
    /// The canary has no ready endpoint.
    CanaryUnavailable,
    /// Stable has no ready endpoint, so traffic is not moved there.
    StableUnavailable,
    /// The object that holds the route refuses the patch, or would.
    RouteRefused,
    /// The object that holds the route refuses the patch of the next step, or would.
    RaiseRefused,
    /// A gateway, or the mesh, does not accept the route.
    RouteNotAccepted,
    /// Somebody lowered the canary's share.
    ManualOverride,
    /// Another applier writes the weights.
    Contended,
    /// Somebody raised the canary's share; it is lowered.
    ShareRaised,
    /// `haldane pause` or `spec.paused`.
    ManualPause,
    /// The step asks for a person.
    ApprovalRequired,
    /// Weights drifted while nothing is rolled out.
    Drifted,
    /// Proxies still send to the canary.
    Draining,
    /// No canary request is seen any more.
    Drained,
    /// Prometheus does not answer, or not in a way that can be used.
    MetricsUnavailable,
    /// The clocks of Prometheus and of the controller are minutes apart.
    ClockSkew,
    /// The provider named in the spec is not in the configuration.
    ProviderNotFound,
    /// An alert sink named in the spec is not in the configuration.
    SinkNotFound,
    /// No label tells the two arms apart.
    ArmsInseparable,
    /// Two scrape jobs count the same pod.
    DuplicateSeries,
    /// The canary has a share of the users and answers none: no workload answered its requests.
    NoWorkloadAnswered,
    /// Two minutes after its share should show, the canary has no series.
    NoCanaryTraffic,
    /// The canary sees more than its share: somebody goes around the route.
    Bypass,
    /// The canary sees less than its share.
    ShareMismatch,
    /// Copies of requests are counted nowhere: the metrics are those of the senders.
    MirrorUnseen,
    /// Stable's traffic passes no proxy that reads requests.
    NoProxy,
    /// Stable itself is degraded: an incident that hits both versions.
    GlobalIncident,
    /// Not enough data to decide.
    NotEnoughData,
    /// A threshold says that the two versions cannot be compared yet.
    NotComparable,
    /// A limit that holds was crossed (drift).
    HoldLimit,
    /// The verdict is Pass but the hold is not over.
    HoldTime,
    /// Too little traffic for the plan.
    TrafficTooLow,
    /// A pod of one version gets more than twice the requests of one of the other.
    UnequalLoad,
    /// Evidence that the canary is worse.
    AnalysisFailed,
    /// The deadline passed and the policy says roll back.
    DeadlineExceeded,
    /// A person said so.
    Aborted,
    /// The spec was set back to what is stable.
    SpecReverted,
    /// The plan was edited: stable first, then again.
    PlanChanged,
    /// The canary's pods changed in the middle.
    CanaryChanged,
    /// A person took a promotion back.
    RolledBackAfterPromotion,
    /// The last step has passed, and the canary was not to become stable.
    Passed,
    /// Routes above take every request that the route could get.
    RouteUnreachable,
    /// Another VirtualService is for the same host, and one of the two has no effect.
    HostShared,
    /// The route's destinations are no Service of this namespace.
    HostElsewhere,
    /// A step's match cannot be joined with the route's own.
    MatchConflict,
    /// The route has a mirror of its own that stands in the way of ours.
    MirrorConflict,
    /// A command could not be carried out.
    CommandRefused,
    /// All is well.
    AsPlanned,
}

impl Reason {
    /// The reason behind a word; `None` if this version does not have it.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason as it is stored: in status, in the annotation on the route. Another version of haldane may have written it, so a word that this
/// one does not have is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AnyReason {
    /// One of ours.
    Known(Reason),
    /// The word of another version.
    Other(Box<str>),
}

impl AnyReason {
    /// The reason, if this version has it.
    pub const fn known(&self) -> Option<Reason> {
        match self {
            Self::Known(reason) => Some(*reason),
            Self::Other(_) => None,
        }
    }

    /// The word that users see.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Other(word) => word,
        }
    }
}

impl From<Reason> for AnyReason {
    fn from(reason: Reason) -> Self {
        Self::Known(reason)
    }
}

impl From<String> for AnyReason {
    fn from(word: String) -> Self {
        Reason::find(&word).map_or_else(|| Self::Other(word.into()), Self::Known)
    }
}

impl From<AnyReason> for String {
    fn from(reason: AnyReason) -> Self {
        match reason {
            AnyReason::Known(reason) => reason.as_str().to_owned(),
            AnyReason::Other(word) => word.into(),
        }
    }
}

impl PartialEq<Reason> for AnyReason {
    fn eq(&self, other: &Reason) -> bool {
        self.known() == Some(*other)
    }
}

impl fmt::Display for AnyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonSchema for AnyReason {
    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_word() {
        for reason in Reason::ALL {
            assert_eq!(Reason::find(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::find("deadlineexceeded"), None);
    }

    #[test]
    fn a_word_of_another_version_is_kept_as_it_is() {
        for (word, known) in [("DeadlineExceeded", Some(Reason::DeadlineExceeded)), ("QuotaExceeded", None), ("", None)] {
            let text = serde_json::to_string(word).unwrap();
            let read: AnyReason = serde_json::from_str(&text).unwrap();
            assert_eq!((read.known(), read.as_str(), serde_json::to_string(&read).unwrap()), (known, word, text));
        }
    }
}
