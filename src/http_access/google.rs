//! Access tokens of Google Cloud.

use std::{fmt, path::PathBuf, sync::Arc};

use gcp_auth::{CustomServiceAccount, TokenProvider};
use tokio::sync::OnceCell;

use super::SendError;
use crate::config::Google;

/// What Google asks of whoever reads metrics.
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/monitoring.read"];

/// Where tokens come from: looked for at the first request, and kept for as long as they are valid.
pub(super) struct Tokens {
    file: Option<PathBuf>,
    source: OnceCell<Arc<dyn TokenProvider>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(google: &Google) -> Self {
        Self { file: google.credentials_file.clone(), source: OnceCell::new() }
    }

    /// A token that is valid now.
    pub(super) async fn get(&self) -> Result<String, SendError> {
        let source = self.source.get_or_try_init(|| async {
            match &self.file {
                None => gcp_auth::provider().await,
                Some(file) => {
                    let account = CustomServiceAccount::from_file(file);
                    account.map(|account| Arc::new(account) as Arc<dyn TokenProvider>)
                }
            }
        });
        let source = source.await.map_err(|error| refused(&error))?;
        let token = source.token(&SCOPES).await.map_err(|error| refused(&error))?;
        Ok(token.as_str().to_owned())
    }
}

fn refused(error: &gcp_auth::Error) -> SendError {
    let why = match error {
        gcp_auth::Error::NoAuthMethod(..) => {
            "no service account of the pod (metadata server), no GOOGLE_APPLICATION_CREDENTIALS, and no credentialsFile".to_owned()
        }
        other => other.to_string(),
    };
    SendError::SignIn(format!("google: no access token: {why}"))
}
