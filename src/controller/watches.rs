//! Opens watches, and keeps them short while something is under way: a half-open connection hides an abort no longer than that.

use std::{fmt::Debug, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    core::{DynamicResourceScope, discovery::ApiResource},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Longest watch while a rollout is under way.
const SHORT: Duration = Duration::from_secs(60);
/// Longest watch: what API servers close by themselves is longer.
const LONG_SECONDS: u32 = 290;

/// What a watch tells.
pub(super) type Changes<K> = futures::stream::BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// Opens watches, in all namespaces or in each that was named.
pub(super) struct Watches {
    client: Client,
    namespaces: Vec<String>,
}

impl Watches {
    /// `busy` says whether a rollout is under way.
    pub(super) fn new(client: &Client, namespaces: Vec<String>, busy: watch::Receiver<bool>) -> Self {
        let name = client.default_namespace().to_owned();
        let router = Router::new().fallback(forward).with_state((client.clone(), busy));
        Self { client: Client::new(router, name), namespaces }
    }

    fn config() -> watcher::Config {
        watcher::Config::default().timeout(LONG_SECONDS)
    }

    /// A kind that every cluster has alike. `trim` takes away what is not kept.
    pub(super) fn fixed<K>(&self, trim: fn(&mut K)) -> Changes<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        self.each(Api::all, Api::namespaced, move |api| watcher(api, Self::config()).default_backoff().modify(trim).boxed())
    }

    /// A kind in the version that was found.
    pub(super) fn found<K>(&self, resource: &ApiResource) -> Changes<K>
    where
        K: Resource<Scope = DynamicResourceScope, DynamicType = ApiResource> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let (all, one) = (resource.clone(), resource.clone());
        self.each(
            move |client| Api::all_with(client, &all),
            move |client, namespace| Api::namespaced_with(client, namespace, &one),
            |api| watcher(api, Self::config()).default_backoff().boxed(),
        )
    }

    fn each<K, E>(
        &self,
        all: impl Fn(Client) -> Api<K>,
        one: impl Fn(Client, &str) -> Api<K>,
        open: impl Fn(Api<K>) -> Changes<E>,
    ) -> Changes<E>
    where
        E: Send + 'static,
    {
        match self.namespaces.as_slice() {
            [] => open(all(self.client.clone())),
            [single] => open(one(self.client.clone(), single)),
            several => futures::stream::select_all(several.iter().map(|namespace| open(one(self.client.clone(), namespace)))).boxed(),
        }
    }
}

/// Hands a request on, and ends the answer of a watch in time: the watch is then opened again where it was.
async fn forward(State((client, busy)): State<(Client, watch::Receiver<bool>)>, request: Request) -> Response {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let (parts, _) = request.into_parts();
    let answer = match client.send(Request::from_parts(parts, kube::client::Body::empty())).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if !watches || !answer.status().is_success() {
        return answer;
    }
    answer.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(over(busy)))))
}

/// Ready when a watch that begins now has been open long enough for what is under way.
async fn over(mut busy: watch::Receiver<bool>) {
    let mut end = std::pin::pin!(tokio::time::sleep(SHORT));
    loop {
        if busy.wait_for(|busy| *busy).await.is_err() {
            return;
        }
        tokio::select! {
            () = &mut end => return,
            _ = busy.wait_for(|busy| !*busy) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_short_only_while_a_rollout_is_under_way() {
        let busy = watch::Sender::new(false);
        let within = |seconds| tokio::time::timeout(Duration::from_secs(seconds), over(busy.subscribe()));
        assert!(within(100_000).await.is_err(), "nothing is under way");
        busy.send_replace(true);
        assert!(within(59).await.is_err());
        assert!(within(61).await.is_ok());
        busy.send_replace(false);
        let old = tokio::spawn(over(busy.subscribe()));
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(!old.is_finished());
        busy.send_replace(true);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(old.is_finished(), "one that is older ends when a rollout begins");
    }
}
