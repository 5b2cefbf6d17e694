//! New connections to the API server.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use tower::{BoxError, ServiceBuilder};

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(5);
/// Silence after which the kernel asks whether the peer is still there, and how often it asks until it gives up.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(20), Duration::from_secs(5), 3);
/// What was sent may stay without the peer's receipt for this long.
const RECEIPT: Duration = Duration::from_secs(30);
/// A connection that nobody used for this long is closed: devices on the way forget it sooner or later.
const IDLE: Duration = Duration::from_secs(30);

/// Makes clients, each with connections of its own.
#[derive(Clone)]
pub struct Connect {
    make: Arc<dyn Fn() -> Result<Client, kube::Error> + Send + Sync>,
}

impl Connect {
    /// Connections as the configuration says.
    pub fn to(config: Config) -> Self {
        Self { make: Arc::new(move || client(config.clone())) }
    }

    /// A client with new connections.
    pub(super) fn client(&self) -> Result<Client, kube::Error> {
        (self.make)()
    }
}

/// Always this client: where there are no connections to lose.
impl From<Client> for Connect {
    fn from(client: Client) -> Self {
        Self { make: Arc::new(move || Ok(client.clone())) }
    }
}

/// kube's own stack, with a connector that notices a dead peer.
fn client(config: Config) -> Result<Client, kube::Error> {
    // A proxy, or a certificate that a plugin hands out for a time: kube's own stack knows these.
    if config.proxy_url.is_some() || config.auth_info.exec.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let (idle, interval, tries) = KEEPALIVE;
    connector.set_keepalive(Some(idle));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(tries));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(RECEIPT));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}
