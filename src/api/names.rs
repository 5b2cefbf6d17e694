//! Names that other programs see: annotations, the finalizer, condition types, reasons of conditions and holds, event reasons.

/// Domain of every annotation and of the API group.
pub const GROUP: &str = "haldane.dev";
/// Field manager of every write.
pub const MANAGER: &str = "haldane";
/// Annotation on the VirtualService: JSON by route key, the claim and the latch.
pub const MANAGED: &str = "haldane.dev/managed";
/// Finalizer, present only while something of ours is in the VirtualService.
pub const FINALIZER: &str = "haldane.dev/restore-traffic";

/// Condition types, kstatus first.
pub mod condition {
    /// True: the wanted revision serves 100 %.
    pub const READY: &str = "Ready";
    /// True: work in progress.
    pub const RECONCILING: &str = "Reconciling";
    /// True: needs a person.
    pub const STALLED: &str = "Stalled";
    /// True: waiting for a person or for more data.
    pub const PAUSED: &str = "Paused";
    /// True: the mesh object carries the weights in status.
    pub const TRAFFIC_PROGRAMMED: &str = "TrafficProgrammed";
    /// True: every metric of the analysis returns data.
    pub const METRICS_AVAILABLE: &str = "MetricsAvailable";
    /// True: the traffic is enough for the plan.
    pub const FEASIBLE: &str = "Feasible";
}

/// Reasons: why a rollout stands where it stands. The same words in conditions, decision records, events and alerts.
pub mod reason {
    /// The manifest has faults; the message lists them with their field paths.
    pub const INVALID: &str = "Invalid";
    /// Another Rollout has claimed the route.
    pub const CONFLICT: &str = "Conflict";
    /// The VirtualService is not there.
    pub const VIRTUAL_SERVICE_NOT_FOUND: &str = "VirtualServiceNotFound";
    /// The HTTPRoute is not there.
    pub const HTTP_ROUTE_NOT_FOUND: &str = "HTTPRouteNotFound";
    /// The GRPCRoute is not there.
    pub const GRPC_ROUTE_NOT_FOUND: &str = "GRPCRouteNotFound";
    /// No http route fits.
    pub const ROUTE_NOT_FOUND: &str = "RouteNotFound";
    /// More than one http route fits and the spec names none.
    pub const ROUTE_AMBIGUOUS: &str = "RouteAmbiguous";
    /// The route leaves it to another VirtualService where its requests go.
    pub const ROUTE_DELEGATED: &str = "RouteDelegated";
    /// Another controller owns the VirtualService.
    pub const OWNED_BY_OTHER: &str = "OwnedByAnotherController";
    /// No Service of this name has endpoints, ready or not.
    pub const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
    /// The subset is in no DestinationRule.
    pub const SUBSET_NOT_FOUND: &str = "SubsetNotFound";
    /// The subsets of both arms select the same pods.
    pub const ARMS_OVERLAP: &str = "ArmsOverlap";
    /// No canary pod, or none ready.
    pub const NO_CANARY_ENDPOINT: &str = "NoCanaryEndpoint";
    /// The weights found are not ours and not 100 / 0.
    pub const UNEXPECTED_WEIGHTS: &str = "UnexpectedWeights";
    /// Several revisions behind one subset.
    pub const SETTLING: &str = "Settling";
    /// Stable's pods changed while nothing was rolled out: it reached all users at once.
    pub const STABLE_REDEPLOYED: &str = "StableRedeployed";
    /// The revision was rolled back or aborted before.
    pub const REFUSED: &str = "Refused";
    /// Fewer ready canary endpoints than the weight needs.
    pub const CANARY_CAPACITY: &str = "CanaryCapacity";
    /// An edit of the manifest was taken over.
    pub const PLAN_ADOPTED: &str = "PlanAdopted";
    /// The canary has no ready endpoint.
    pub const CANARY_UNAVAILABLE: &str = "CanaryUnavailable";
    /// Stable has no ready endpoint, so traffic is not moved there.
    pub const STABLE_UNAVAILABLE: &str = "StableUnavailable";
    /// The VirtualService refuses the patch.
    pub const ROUTE_REFUSED: &str = "RouteRefused";
    /// Somebody lowered the canary's share.
    pub const MANUAL_OVERRIDE: &str = "ManualOverride";
    /// Another applier writes the weights.
    pub const CONTENDED: &str = "Contended";
    /// Somebody raised the canary's share; it is lowered.
    pub const SHARE_RAISED: &str = "ShareRaised";
    /// `haldane pause` or `spec.paused`.
    pub const MANUAL_PAUSE: &str = "ManualPause";
    /// The step asks for a person.
    pub const APPROVAL_REQUIRED: &str = "ApprovalRequired";
    /// Weights drifted while nothing is rolled out.
    pub const DRIFTED: &str = "Drifted";
    /// Proxies still send to the canary.
    pub const DRAINING: &str = "Draining";
    /// No canary request is seen any more.
    pub const DRAINED: &str = "Drained";
    /// Prometheus does not answer, or not in a way that can be used.
    pub const METRICS_UNAVAILABLE: &str = "MetricsUnavailable";
    /// The clocks of Prometheus and of the controller are minutes apart.
    pub const CLOCK_SKEW: &str = "ClockSkew";
    /// The provider named in the spec is not in the configuration.
    pub const PROVIDER_NOT_FOUND: &str = "ProviderNotFound";
    /// An alert sink named in the spec is not in the configuration.
    pub const SINK_NOT_FOUND: &str = "SinkNotFound";
    /// No label tells the two arms apart.
    pub const ARMS_INSEPARABLE: &str = "ArmsInseparable";
    /// Two scrape jobs count the same pod.
    pub const DUPLICATE_SERIES: &str = "DuplicateSeries";
    /// The canary has a share of the users and answers none: no workload answered its requests.
    pub const NO_WORKLOAD_ANSWERED: &str = "NoWorkloadAnswered";
    /// Two minutes after its share should show, the canary has no series.
    pub const NO_CANARY_TRAFFIC: &str = "NoCanaryTraffic";
    /// The canary sees more than its share: somebody goes around the route.
    pub const BYPASS: &str = "Bypass";
    /// The canary sees less than its share.
    pub const SHARE_MISMATCH: &str = "ShareMismatch";
    /// Copies of requests are counted nowhere: the metrics are those of the senders.
    pub const MIRROR_UNSEEN: &str = "MirrorUnseen";
    /// Stable's traffic passes no proxy that reads requests.
    pub const NO_PROXY: &str = "NoProxy";
    /// Stable itself is degraded: an incident that hits both versions.
    pub const GLOBAL_INCIDENT: &str = "GlobalIncident";
    /// Not enough data to decide.
    pub const NOT_ENOUGH_DATA: &str = "NotEnoughData";
    /// A limit that holds was crossed (drift).
    pub const HOLD_LIMIT: &str = "HoldLimit";
    /// The verdict is Pass but the hold is not over.
    pub const HOLD_TIME: &str = "HoldTime";
    /// Too little traffic for the plan.
    pub const TRAFFIC_TOO_LOW: &str = "TrafficTooLow";
    /// Evidence that the canary is worse.
    pub const ANALYSIS_FAILED: &str = "AnalysisFailed";
    /// The deadline passed and the policy says roll back.
    pub const DEADLINE: &str = "DeadlineExceeded";
    /// A person said so.
    pub const ABORTED: &str = "Aborted";
    /// The spec was set back to what is stable.
    pub const SPEC_REVERTED: &str = "SpecReverted";
    /// The plan was edited: stable first, then again.
    pub const PLAN_CHANGED: &str = "PlanChanged";
    /// The canary's pods changed in the middle.
    pub const CANARY_CHANGED: &str = "CanaryChanged";
    /// A person took a promotion back.
    pub const AFTER_PROMOTION: &str = "RolledBackAfterPromotion";
    /// The last step has passed, and the canary was not to become stable.
    pub const PASSED: &str = "Passed";
    /// Routes above take every request that the route could get.
    pub const ROUTE_UNREACHABLE: &str = "RouteUnreachable";
    /// Another VirtualService is for the same host, and one of the two has no effect.
    pub const HOST_SHARED: &str = "HostShared";
    /// The route's destinations are no Service of this namespace.
    pub const HOST_ELSEWHERE: &str = "HostElsewhere";
    /// A step's match cannot be joined with the route's own.
    pub const MATCH_CONFLICT: &str = "MatchConflict";
    /// The route has a mirror of its own that stands in the way of ours.
    pub const MIRROR_CONFLICT: &str = "MirrorConflict";
    /// All is well.
    pub const AS_PLANNED: &str = "AsPlanned";
}
