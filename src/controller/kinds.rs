//! Kinds that a cluster may not have: Istio's, and those of the Gateway API. What is there is watched; what is not is looked for again every
//! minute.

use std::{collections::BTreeSet, time::Duration};

use kube::{
    Api, Client,
    api::ListParams,
    core::{DynamicObject, GroupVersionKind, discovery::ApiResource},
};
use tokio::task::JoinSet;

use super::{Asks, Watches, keep};
use crate::api::RouteKind;
use crate::observe::{
    cluster::{RouteCaches, Routes},
    kept,
    shelf::{Shelf, place},
};

/// Time between two looks for what is not there.
const PAUSE: Duration = Duration::from_secs(60);

/// A kind that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Routes(RouteKind),
    Rules,
}

impl Wanted {
    fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Routes(kind) => (kind.group(), kind.kind()),
            Self::Rules => (RouteKind::VirtualService.group(), "DestinationRule"),
        }
    }

    /// Versions that will do, the newest first.
    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Routes(RouteKind::HttpRoute | RouteKind::GrpcRoute) => &["v1"],
            Self::Routes(RouteKind::VirtualService) | Self::Rules => &["v1", "v1beta1"],
        }
    }
}

/// Looks for the kinds, and watches them.
pub(super) struct Kinds {
    client: Client,
    namespaces: Vec<String>,
    watches: Watches,
    routes: RouteCaches,
    asks: Asks,
    rules: Shelf<kept::Rule>,
    missing: BTreeSet<Wanted>,
    refused: BTreeSet<Wanted>,
    open: JoinSet<()>,
}

impl Kinds {
    /// All kinds, none looked for yet. DestinationRules go to `rules`.
    pub(super) fn new(
        client: Client,
        namespaces: Vec<String>,
        watches: Watches,
        routes: RouteCaches,
        rules: Shelf<kept::Rule>,
        asks: Asks,
    ) -> Self {
        let missing = RouteKind::ALL.into_iter().map(Wanted::Routes).chain([Wanted::Rules]).collect();
        let (refused, open) = (BTreeSet::new(), JoinSet::new());
        Self { client, namespaces, watches, routes, asks, rules, missing, refused, open }
    }

    /// Looks once, and waits for the first answers of what is there.
    pub(super) async fn first(&mut self) -> Result<(), kube::Error> {
        for wanted in self.missing.clone() {
            if let Some(resource) = self.find(wanted).await? {
                self.watch(wanted, resource).await;
            }
        }
        Ok(())
    }

    /// Looks for the rest every minute, for ever.
    pub(super) async fn rest(mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            for wanted in self.missing.clone() {
                match self.find(wanted).await {
                    Ok(Some(resource)) => {
                        self.watch(wanted, resource).await;
                        self.asks.all();
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(error = %error, kind = wanted.kind().1, "the kind was not looked for"),
                }
            }
        }
    }

    /// The newest version of a kind, if the cluster has it and lets us list it.
    async fn find(&mut self, wanted: Wanted) -> Result<Option<ApiResource>, kube::Error> {
        let (group, kind) = wanted.kind();
        for version in wanted.versions() {
            let list = match self.client.list_api_group_resources(&format!("{group}/{version}")).await {
                Ok(list) => list,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            let Some(known) = list.resources.iter().find(|resource| resource.kind == kind) else { continue };
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &known.name);
            return self.may_list(wanted, &resource).await.map(|may| may.then_some(resource));
        }
        Ok(None)
    }

    /// A watch that is refused would count as a cache that nothing answers for.
    async fn may_list(&mut self, wanted: Wanted, resource: &ApiResource) -> Result<bool, kube::Error> {
        let all = [String::new()];
        let namespaces = if self.namespaces.is_empty() { all.as_slice() } else { self.namespaces.as_slice() };
        for namespace in namespaces {
            let api: Api<DynamicObject> = match namespace.as_str() {
                "" => Api::all_with(self.client.clone(), resource),
                namespace => Api::namespaced_with(self.client.clone(), namespace, resource),
            };
            match api.list(&ListParams::default().limit(1)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    if let Wanted::Routes(kind) = wanted {
                        self.routes.refuse(kind);
                    }
                    if self.refused.insert(wanted) {
                        tracing::warn!(
                            kind = resource.kind,
                            said = status.message,
                            "this kind of route is not watched: apply the controller's ClusterRole"
                        );
                    }
                    return Ok(false);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn watch(&mut self, wanted: Wanted, resource: ApiResource) {
        let asks = self.asks.clone();
        match wanted {
            Wanted::Routes(kind) => {
                let (shelf, changes) = (Shelf::default(), self.watches.found(&resource));
                self.open.spawn(keep(changes, shelf.clone(), asks, move |asks, route: &kept::Route| asks.route(kind, &place(route))));
                shelf.ready().await;
                self.routes.add(kind, Routes { resource, shelf });
            }
            Wanted::Rules => {
                let (shelf, changes) = (self.rules.clone(), self.watches.found(&resource));
                self.open.spawn(keep(changes, shelf.clone(), asks, |asks, rule: &kept::Rule| asks.host(&place(rule).0, &rule.host)));
                shelf.ready().await;
            }
        }
        self.missing.remove(&wanted);
    }
}
