//! Signatures of Amazon's services (SigV4).

use std::fmt::Write;

use axum::{body::Bytes, http};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, ProfileCredentialProvider, RequestSigner};
use reqsign_core::{Context, FileRead, HttpSend, OsEnv, Signer};
use reqwest::{Client, Request, header::HeaderValue};
use ring::digest;

use super::SendError;
use crate::config::SigV4;

/// Header with the hash of the body.
const CONTENT: &str = "x-amz-content-sha256";

/// Signs requests with credentials that are found once and renewed before they end; those of a file are read for every request.
#[derive(Debug)]
pub(super) struct Signatures {
    signer: Signer<Credential>,
    file: Option<ProfileCredentialProvider>,
}

/// Reads files of credentials.
#[derive(Debug)]
struct Files;

/// Asks for temporary credentials: of a pod's service account, of a role, of the instance.
#[derive(Debug)]
struct Sender(Client);

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|error| reqsign_core::Error::unexpected(format!("a file cannot be read: {}", error.kind())))
    }
}

impl HttpSend for Sender {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let failed = |error: reqwest::Error| reqsign_core::Error::unexpected(super::innermost(error));
        let request = Request::try_from(request.map(reqwest::Body::from)).map_err(failed)?;
        let answer = self.0.execute(request).await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = http::Response::new(answer.bytes().await.map_err(failed)?);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

impl Signatures {
    pub(super) fn new(sigv4: &SigV4, client: Client) -> Self {
        let context = Context::new().with_file_read(Files).with_http_send(Sender(client)).with_env(OsEnv);
        let signer = RequestSigner::new(&sigv4.service, &sigv4.region);
        let Some(file) = &sigv4.credentials_file else {
            let chain = DefaultCredentialProvider::builder().no_process();
            let chain = match &sigv4.profile {
                Some(name) => chain.with_profile(name),
                None => chain,
            };
            return Self { signer: Signer::new(context, chain.build(), signer), file: None };
        };
        let mut profile = ProfileCredentialProvider::new().with_credentials_file(file.to_string_lossy());
        if let Some(name) = &sigv4.profile {
            profile = profile.with_profile(name);
        }
        Self { signer: Signer::new(context, profile.clone(), signer), file: Some(profile) }
    }

    pub(super) async fn sign(&self, request: &mut Request) -> Result<(), SendError> {
        let failed = |why: String| SendError::SignIn(format!("sigv4: the request cannot be signed: {why}"));
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let hash = digest::digest(&digest::SHA256, body).as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let hash = HeaderValue::from_str(&hash).map_err(|error| failed(error.to_string()))?;
        request.headers_mut().insert(CONTENT, hash);
        let mut head = http::Request::builder().method(request.method().clone()).uri(request.url().as_str());
        if let Some(headers) = head.headers_mut() {
            headers.clone_from(request.headers());
        }
        let (mut parts, ()) = head.body(()).map_err(|error| failed(error.to_string()))?.into_parts();
        let signer = match &self.file {
            Some(file) => self.signer.clone().with_credential_provider(file.clone()),
            None => self.signer.clone(),
        };
        signer.sign(&mut parts, None).await.map_err(|error| failed(error.to_string()))?;
        if !parts.headers.contains_key(http::header::AUTHORIZATION) {
            return Err(failed("no credentials were found (environment, profile, service account of the pod, instance)".into()));
        }
        parts.headers.remove(http::header::HOST);
        *request.headers_mut() = parts.headers;
        Ok(())
    }
}
