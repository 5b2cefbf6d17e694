//! How a server is reached over HTTP: what is sent along, who asks, by which way. Prometheus and Alertmanager share it.

use std::{collections::BTreeMap, fmt, path::Path, path::PathBuf};

use reqwest::{
    Url,
    header::{HeaderName, HeaderValue as Sent},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::faults::Check;

/// Keys of [`HttpAccess`].
pub(super) const KEYS: [&str; 9] =
    ["headers", "query", "bearerTokenFile", "basicAuth", "google", "sigv4", "clientCertificate", "caFile", "proxy"];
/// Those that a webhook has too: it signs its body instead of signing in.
pub(super) const WEBHOOK_KEYS: [&str; 3] = ["headers", "caFile", "proxy"];
/// Ways to sign in, of which there is one at most.
const SIGN_IN: [&str; 4] = ["bearerTokenFile", "basicAuth", "google", "sigv4"];
/// Headers that are not for the configuration to set.
const OURS: [&str; 10] =
    ["accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "te", "transfer-encoding", "upgrade"];
/// Parameters that each query sets.
pub(super) const QUERY_PARAMETERS: [&str; 4] = ["query", "time", "timeout", "limit"];

/// How a server is reached over HTTP. Its `Debug` leaves out what may be secret.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAccess {
    /// Headers of every request, for example `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderValue>,
    /// Parameters added to the URL of every request, for example `dedup`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// File with a bearer token, read for every request.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// A user and a password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// Access tokens of Google Cloud.
    #[serde(default)]
    pub google: Option<Google>,
    /// Requests are signed as Amazon's services ask (SigV4).
    #[serde(default)]
    pub sigv4: Option<SigV4>,
    /// A client's certificate (mutual TLS).
    #[serde(default)]
    pub client_certificate: Option<ClientCertificate>,
    /// File with the certificates to trust, in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// URL of an HTTP proxy.
    #[serde(default)]
    pub proxy: Option<String>,
}

/// What a header says. Its `Debug` leaves a text out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// This text.
    Text(String),
    /// What a file holds, read for every request.
    File {
        /// The file.
        file: PathBuf,
    },
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    #[serde(default)]
    pub username: Option<String>,
    /// Or a file with the user.
    #[serde(default)]
    pub username_file: Option<PathBuf>,
    /// File with the password, read for every request.
    pub password_file: PathBuf,
}

/// Access tokens of Google Cloud: of the file, or else as Google's own programs find them (`GOOGLE_APPLICATION_CREDENTIALS`, the metadata
/// server, workload identity).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Google {
    /// Key of a service account, in JSON.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

/// Signatures of Amazon's services (SigV4). Credentials are of the file, or else found as Amazon's own programs find them (environment,
/// profile, the service account of the pod, the instance).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigV4 {
    /// Region, for example `eu-central-1`.
    pub region: String,
    /// Name of the service. Default: `aps`, Amazon Managed Service for Prometheus.
    #[serde(default = "aps")]
    pub service: String,
    /// Profile of the credentials.
    #[serde(default)]
    pub profile: Option<String>,
    /// File with credentials in Amazon's format.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

fn aps() -> String {
    "aps".into()
}

/// A client's certificate and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate, and the chain after it.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File { file } => f.debug_struct("File").field("file", file).finish(),
        }
    }
}

impl fmt::Debug for HttpAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAccess")
            .field("headers", &self.headers.keys())
            .field("query", &self.query.keys())
            .field("bearer_token_file", &self.bearer_token_file)
            .field("basic_auth", &self.basic_auth)
            .field("google", &self.google)
            .field("sigv4", &self.sigv4)
            .field("client_certificate", &self.client_certificate)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl HttpAccess {
    /// Takes relative paths from `beside`.
    pub(super) fn anchor(&mut self, beside: &Path) {
        let headers = self.headers.values_mut().filter_map(|value| match value {
            HeaderValue::File { file } => Some(file),
            HeaderValue::Text(_) => None,
        });
        let basic = self.basic_auth.iter_mut().flat_map(|auth| auth.username_file.iter_mut().chain([&mut auth.password_file]));
        let google = self.google.iter_mut().filter_map(|google| google.credentials_file.as_mut());
        let amazon = self.sigv4.iter_mut().filter_map(|sigv4| sigv4.credentials_file.as_mut());
        let pair = self.client_certificate.iter_mut().flat_map(|pair| [&mut pair.cert_file, &mut pair.key_file]);
        let single = [&mut self.bearer_token_file, &mut self.ca_file].into_iter().flatten();
        for file in headers.chain(basic).chain(google).chain(amazon).chain(pair).chain(single) {
            *file = beside.join(&file);
        }
    }
}

impl Check {
    /// The settings of an HTTP access, beside a URL. `reserved`: parameters that cannot be set.
    pub(super) fn access(&mut self, path: &str, map: &Map<String, Value>, url: Option<&Url>, reserved: &[&str]) {
        self.headers(path, map);
        self.parameters(path, map, url, reserved);
        let ways: Vec<&str> = SIGN_IN.into_iter().filter(|key| map.get(*key).is_some_and(|value| !value.is_null())).collect();
        for second in ways.iter().skip(1) {
            self.fault(&format!("{path}.{second}"), format!("needs to be the only one of {}", SIGN_IN.join(", ")));
        }
        self.file_name(path, map, "bearerTokenFile");
        self.file_name(path, map, "caFile");
        self.basic_auth(path, map);
        if let Some(google) = self.part(path, map, "google", &["credentialsFile"]) {
            self.file_name(&format!("{path}.google"), google, "credentialsFile");
        }
        if let Some(sigv4) = self.part(path, map, "sigv4", &["region", "service", "profile", "credentialsFile"]) {
            let path = format!("{path}.sigv4");
            self.text(&path, sigv4, "region", true);
            self.text(&path, sigv4, "service", false);
            self.text(&path, sigv4, "profile", false);
            self.file_name(&path, sigv4, "credentialsFile");
        }
        if let Some(pair) = self.part(path, map, "clientCertificate", &["certFile", "keyFile"]) {
            let path = format!("{path}.clientCertificate");
            for key in ["certFile", "keyFile"] {
                self.needed(&path, pair, key);
                self.file_name(&path, pair, key);
            }
        }
        for key in ["caFile", "clientCertificate"] {
            if map.contains_key(key) && url.is_some_and(|url| url.scheme() == "http") {
                self.fault(&format!("{path}.{key}"), "has no effect with an http URL: use https, or take it out");
            }
        }
        match map.get("proxy") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                if !Url::parse(text)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|h| !h.is_empty()))
                {
                    self.fault(&format!("{path}.proxy"), "must be the URL of an HTTP proxy, as http://proxy:3128");
                }
            }
            Some(_) => self.fault(&format!("{path}.proxy"), "must be a string"),
        }
    }

    fn basic_auth(&mut self, path: &str, map: &Map<String, Value>) {
        let Some(basic) = self.part(path, map, "basicAuth", &["username", "usernameFile", "passwordFile"]) else { return };
        let path = format!("{path}.basicAuth");
        self.text(&path, basic, "username", false);
        self.file_name(&path, basic, "usernameFile");
        if basic.contains_key("username") == basic.contains_key("usernameFile") {
            self.fault(&path, "needs exactly one of username and usernameFile");
        }
        self.needed(&path, basic, "passwordFile");
        self.file_name(&path, basic, "passwordFile");
    }

    fn headers(&mut self, path: &str, map: &Map<String, Value>) {
        let headers = match map.get("headers") {
            None | Some(Value::Null) => return,
            Some(Value::Object(headers)) => headers,
            Some(_) => return self.fault(&format!("{path}.headers"), "must be a mapping from names to values"),
        };
        for (name, value) in headers {
            let path = format!("{path}.headers.{name}");
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => self.fault(&path, "is not the name of a header"),
                Ok(header) if OURS.contains(&header.as_str()) => self.fault(&path, "is set by haldane: take it out"),
                Ok(header) if header == "authorization" => {
                    if let Some(way) = SIGN_IN.iter().find(|key| map.contains_key(**key)) {
                        self.fault(&path, format!("is what {way} sets: take one of the two out"));
                    }
                }
                Ok(_) => {}
            }
            match value {
                Value::String(text) if Sent::from_str(text).is_ok() => {}
                Value::String(_) => self.fault(&path, "has a character that no header can carry"),
                Value::Object(of) if of.len() == 1 && of.contains_key("file") => self.file_name(&path, of, "file"),
                _ => self.fault(&path, "must be a string in quotes, or {file: PATH}"),
            }
        }
    }

    fn parameters(&mut self, path: &str, map: &Map<String, Value>, url: Option<&Url>, reserved: &[&str]) {
        let in_url: Vec<String> = url.map(|url| url.query_pairs().map(|(name, _)| name.into_owned()).collect()).unwrap_or_default();
        for name in in_url.iter().filter(|name| reserved.contains(&name.as_str())) {
            self.fault(&format!("{path}.url"), format!("sets the parameter {name}, which haldane sets: take it out"));
        }
        match map.get("query") {
            None | Some(Value::Null) => {}
            Some(Value::Object(query)) => {
                for (name, value) in query {
                    let path = format!("{path}.query.{name}");
                    if !value.is_string() {
                        self.fault(&path, "must be a string: put it in quotes");
                    }
                    if reserved.contains(&name.as_str()) {
                        self.fault(&path, "is set by haldane: take it out");
                    }
                    if in_url.contains(name) {
                        self.fault(&path, "is in the url too: take it out of one of the two");
                    }
                }
            }
            Some(_) => self.fault(&format!("{path}.query"), "must be a mapping from names to values"),
        }
    }

    /// The mapping under a key, if there is one.
    fn part<'v>(&mut self, path: &str, map: &'v Map<String, Value>, key: &str, known: &[&str]) -> Option<&'v Map<String, Value>> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(value) => self.mapping(&format!("{path}.{key}"), value, known),
        }
    }

    fn needed(&mut self, path: &str, map: &Map<String, Value>, key: &str) {
        if map.get(key).is_none_or(Value::is_null) {
            self.fault(&format!("{path}.{key}"), "is missing");
        }
    }

    fn text(&mut self, path: &str, map: &Map<String, Value>, key: &str, needed: bool) {
        match map.get(key) {
            None | Some(Value::Null) if needed => self.fault(&format!("{path}.{key}"), "is missing"),
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if !text.trim().is_empty() => {}
            Some(_) => self.fault(&format!("{path}.{key}"), "must be a text"),
        }
    }
}
