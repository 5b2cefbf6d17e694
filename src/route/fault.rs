//! Why a route cannot be managed.

use thiserror::Error;

use crate::api::{Reason, RouteKind, RouteRef};

/// Why the route cannot be managed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteFault {
    /// No such object.
    #[error("{0} does not exist in this namespace")]
    NotFound(RouteRef),
    /// The cluster has no such kind of object.
    #[error(
        "{0} cannot be read: this cluster has no {kind} ({group}); install its CustomResourceDefinition: it is looked for every minute",
        kind = .0.kind().kind(),
        group = .0.kind().group()
    )]
    NoKind(RouteRef),
    /// The cluster has the kind, and does not let us read it.
    #[error(
        "{0} cannot be read: the controller may not list {kind}s ({group}); apply its ClusterRole: it is tried every minute",
        kind = .0.kind().kind(),
        group = .0.kind().group()
    )]
    Unreadable(RouteRef),
    /// No http route fits.
    #[error("{0}")]
    NoRoute(String),
    /// Several fit.
    #[error("{count} {rule}s of {object} fit ({names}): {fix}", rule = .object.kind().rule())]
    Ambiguous {
        /// The object.
        object: RouteRef,
        /// How many.
        count: usize,
        /// Their names.
        names: String,
        /// How to go on.
        fix: String,
    },
    /// The route leaves it to another VirtualService where its requests go.
    #[error(
        "http route {route} of VirtualService {virtual_service} leaves it to VirtualService {delegate} where its requests go: that one has \
         the weights, name it in spec.traffic.virtualService of a Rollout of its namespace"
    )]
    Delegated {
        /// The object.
        virtual_service: String,
        /// The route.
        route: String,
        /// The object with the weights, with its namespace if it names one.
        delegate: String,
    },
    /// Another controller writes this object.
    #[error("{object} is owned by {owner}: that controller would undo every weight; give haldane a {kind} of its own", kind = .object.kind().kind())]
    Owned {
        /// The object.
        object: RouteRef,
        /// Kind and name of the owner.
        owner: String,
    },
}

impl RouteFault {
    /// The reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound(object) | Self::NoKind(object) | Self::Unreadable(object) => match object.kind() {
                RouteKind::VirtualService => Reason::VirtualServiceNotFound,
                RouteKind::HttpRoute => Reason::HTTPRouteNotFound,
                RouteKind::GrpcRoute => Reason::GRPCRouteNotFound,
            },
            Self::NoRoute(_) => Reason::RouteNotFound,
            Self::Ambiguous { .. } => Reason::RouteAmbiguous,
            Self::Delegated { .. } => Reason::RouteDelegated,
            Self::Owned { .. } => Reason::OwnedByAnotherController,
        }
    }
}
