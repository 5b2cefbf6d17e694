//! The one place where an HTTP client of Prometheus and of the sinks is built: certificates, proxy, headers, parameters, and who asks.
//!
//! Secrets are read from their files for every request, so a new one counts at once. Redirects are not followed: what is sent would go to
//! an address that nobody configured.

use std::{path::Path, time::Duration};

use reqwest::{
    Certificate, Client, Identity, Method, Proxy, Request, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue as Sent},
    redirect,
};
use tokio::sync::RwLock;

use crate::config::{HeaderValue, HttpAccess};

mod amazon;
mod google;
pub(crate) mod said;

/// Words in the name of a header or parameter whose value is a secret.
const SECRET_NAMES: [&str; 12] = ["auth", "token", "key", "secret", "pass", "pwd", "cookie", "sig", "credential", "session", "jwt", "sas"];
/// Connections that are kept for the next requests: as many as are in flight at once where nothing is set.
const KEPT: usize = 8;
/// A value of a header or parameter that is as long is not shown, whatever its name.
const LONG: usize = 16;

/// Why the settings of an access cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("{field} cannot be read: {kind}")]
    File {
        /// The setting.
        field: &'static str,
        /// What the system says.
        kind: std::io::ErrorKind,
    },
    /// A file holds no certificate in PEM.
    #[error("caFile: no certificate in PEM")]
    Certificates,
    /// The client's certificate and key are none.
    #[error("clientCertificate: certFile and keyFile are no certificate and key in PEM that fit together")]
    ClientCertificate,
    /// Not the URL of a proxy.
    #[error("proxy: not the URL of an HTTP proxy")]
    Proxy,
    /// A header that cannot be sent.
    #[error("headers.{0}: cannot be sent")]
    Header(String),
    /// The HTTP client cannot be made.
    #[error("client: {0}")]
    Client(String),
}

/// Why a request was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It could not be signed: a file is not there, or a source of tokens gives none.
    #[error("{0}")]
    SignIn(String),
    /// No connection, or it broke.
    #[error("no answer")]
    Http(reqwest::Error),
}

/// A server's HTTP access: a client and what goes with every request.
#[derive(Debug)]
pub struct HttpClient {
    access: HttpAccess,
    connect: Duration,
    pooled: RwLock<Client>,
    fresh: Client,
    sign: Sign,
}

#[derive(Debug)]
enum Sign {
    No,
    Google(google::Tokens),
    Amazon(Box<amazon::Signatures>),
}

/// A request that is ready to go, and the secrets in it.
#[derive(Debug)]
pub struct Signed {
    request: Request,
    /// What no message may show.
    pub secrets: Vec<String>,
}

impl HttpClient {
    /// Reads the certificates now. Nothing is sent.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(access: &HttpAccess, connect: Duration) -> Result<Self, AccessError> {
        crate::tls::install();
        let (pooled, fresh) = (client(access, connect, KEPT)?, client(access, connect, 0)?);
        let sign = match (&access.google, &access.sigv4) {
            (Some(google), _) => Sign::Google(google::Tokens::new(google)),
            (None, Some(sigv4)) => Sign::Amazon(Box::new(amazon::Signatures::new(sigv4, client(&HttpAccess::default(), connect, 0)?))),
            (None, None) => Sign::No,
        };
        Ok(Self { access: access.clone(), connect, pooled: RwLock::new(pooled), fresh, sign })
    }

    /// A request to be filled, and then given to [`Self::sign`].
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.fresh.request(method, url)
    }

    /// The request with the access's parameters and headers, signed.
    ///
    /// # Errors
    /// When a file cannot be read or a token cannot be had.
    pub async fn sign(&self, mut request: RequestBuilder) -> Result<Signed, SendError> {
        let hidden = |name: &str, value: &str| is_secret(name) || value.len() >= LONG;
        let mut secrets: Vec<String> =
            self.access.query.iter().filter(|(name, value)| hidden(name, value)).map(|(_, value)| value.clone()).collect();
        if !self.access.query.is_empty() {
            request = request.query(&self.access.query);
        }
        for (name, value) in &self.access.headers {
            let text = match value {
                HeaderValue::Text(text) => text.clone(),
                HeaderValue::File { file } => read(&format!("headers.{name}"), file).await?,
            };
            let mut sent = Sent::from_str(&text).map_err(|_| SendError::SignIn(format!("headers.{name}: not what a header can carry")))?;
            sent.set_sensitive(true);
            request = request.header(name, sent);
            if hidden(name, &text) || matches!(value, HeaderValue::File { .. }) {
                secrets.push(text);
            }
        }
        if let Some(file) = &self.access.bearer_token_file {
            let token = read("bearerTokenFile", file).await?;
            if Sent::from_str(&token).is_err() {
                return Err(SendError::SignIn("bearerTokenFile is more than one line of text: it must hold the token alone".to_owned()));
            }
            request = request.bearer_auth(&token);
            secrets.push(token);
        }
        if let Some(basic) = &self.access.basic_auth {
            let user = match (&basic.username, &basic.username_file) {
                (Some(user), _) => user.clone(),
                (None, Some(file)) => read("basicAuth.usernameFile", file).await?,
                (None, None) => String::new(),
            };
            let password = read("basicAuth.passwordFile", &basic.password_file).await?;
            request = request.basic_auth(user, Some(&password));
            secrets.push(password);
        }
        if let Sign::Google(tokens) = &self.sign {
            let token = tokens.get().await?;
            request = request.bearer_auth(&token);
            secrets.push(token);
        }
        let mut request = request.build().map_err(SendError::Http)?;
        if let Sign::Amazon(signatures) = &self.sign {
            signatures.sign(&mut request).await?;
        }
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        secrets.extend(authorization.and_then(|text| text.split_once(' ')).map(|(_, rest)| rest.to_owned()));
        let encoded: Vec<String> = secrets.iter().filter_map(|secret| encoded(secret)).collect();
        secrets.extend(encoded);
        Ok(Signed { request, secrets })
    }

    /// Sends over a connection that is kept, and nothing twice.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send_once(&self, signed: Signed) -> Result<Response, SendError> {
        let client = self.pooled.read().await.clone();
        client.execute(signed.request).await.map_err(SendError::Http)
    }

    /// Sends over a connection that is kept; where it has died meanwhile, over a new one, which may find the server at a new address and
    /// takes new certificates.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, signed: Signed) -> Result<Response, SendError> {
        let again = signed.request.try_clone();
        let pooled = self.pooled.read().await.clone();
        match (pooled.execute(signed.request).await, again) {
            (Err(error), Some(again)) if !error.is_timeout() => {
                if self.access.client_certificate.is_none() && self.access.ca_file.is_none() {
                    return self.fresh.execute(again).await.map_err(SendError::Http);
                }
                let Ok(renewed) = client(&self.access, self.connect, KEPT) else { return Err(SendError::Http(error)) };
                let response = renewed.execute(again).await.map_err(SendError::Http)?;
                *self.pooled.write().await = renewed;
                Ok(response)
            }
            (answer, _) => answer.map_err(SendError::Http),
        }
    }
}

fn client(access: &HttpAccess, connect: Duration, idle: usize) -> Result<Client, AccessError> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .http1_only()
        .connect_timeout(connect)
        .pool_max_idle_per_host(idle)
        .user_agent(concat!("haldane/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = &access.ca_file {
        let found = Certificate::from_pem_bundle(&pem("caFile", file)?).map_err(|_| AccessError::Certificates)?;
        if found.is_empty() {
            return Err(AccessError::Certificates);
        }
        builder = builder.tls_certs_only(found);
    }
    if let Some(pair) = &access.client_certificate {
        let mut both = pem("clientCertificate.certFile", &pair.cert_file)?;
        both.push(b'\n');
        both.extend(pem("clientCertificate.keyFile", &pair.key_file)?);
        builder = builder.identity(Identity::from_pem(&both).map_err(|_| AccessError::ClientCertificate)?);
    }
    if let Some(url) = &access.proxy {
        builder = builder.proxy(Proxy::all(url.as_str()).map_err(|_| AccessError::Proxy)?);
    }
    for name in access.headers.keys() {
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| AccessError::Header(name.clone()))?;
    }
    builder.build().map_err(|error| AccessError::Client(innermost(error)))
}

fn pem(field: &'static str, file: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(file).map_err(|error| AccessError::File { field, kind: error.kind() })
}

/// The text of a file, without the white space around it and the mark that some editors put before it.
async fn read(field: &str, file: &Path) -> Result<String, SendError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| SendError::SignIn(format!("{field} cannot be read: {}", error.kind())))?;
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(SendError::SignIn(format!("{field} is empty"))),
        text => Ok(text.to_owned()),
    }
}

/// How a secret is written in a URL or a form, where that is another text.
fn encoded(secret: &str) -> Option<String> {
    let url = Url::parse_with_params("http://h", [("s", secret)]).ok()?;
    url.query()?.strip_prefix("s=").filter(|encoded| *encoded != secret).map(str::to_owned)
}

/// Whether what stands under this name is not to be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET_NAMES.iter().any(|word| name.contains(word))
}

/// The innermost cause, without the URL.
pub(crate) fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The base URL of a server: an http or https URL with a host, without what follows `#`. Its path has no slash at its end.
pub(crate) fn base(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}
