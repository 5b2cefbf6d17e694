//! The configuration in force, and the watch over its file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ring::digest;
use tokio::sync::watch;

use super::{Config, ConfigError};

/// Largest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// One state of the configuration. A pass works with one.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What the file said.
    pub config: Config,
    /// +1 with every change that was taken, from 1.
    pub version: u64,
    /// First 12 hex digits of the SHA-256 of the file; empty if there is none.
    pub hash: String,
}

#[derive(Clone, Debug)]
struct State {
    snapshot: Arc<Snapshot>,
    error: Option<String>,
}

/// Access to the configuration in force; cheap to clone.
#[derive(Clone, Debug)]
pub struct ConfigHandle {
    state: Arc<watch::Sender<State>>,
    file: Option<Arc<PathBuf>>,
}

impl ConfigHandle {
    /// A configuration without a file: it never changes.
    pub fn fixed(config: Config) -> Self {
        Self::new(Snapshot { config, version: 1, hash: String::new() }, None)
    }

    /// Reads the file. At the start a bad one is an error.
    pub async fn load(file: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let file = file.into();
        let text = read(&file).await?;
        let config = Config::parse(&text, directory(&file))?;
        Ok(Self::new(Snapshot { config, version: 1, hash: hash(&text) }, Some(file)))
    }

    fn new(snapshot: Snapshot, file: Option<PathBuf>) -> Self {
        let state = State { snapshot: Arc::new(snapshot), error: None };
        Self { state: Arc::new(watch::Sender::new(state)), file: file.map(Arc::new) }
    }

    /// The configuration in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.state.borrow().snapshot.clone()
    }

    /// Why the file as it is now is not in force; `None` if it is.
    pub fn error(&self) -> Option<String> {
        self.state.borrow().error.clone()
    }

    /// Waits until the configuration or its error has changed since the last call on this receiver: `changed().await`.
    pub fn changes(&self) -> watch::Receiver<()> {
        let mut states = self.state.subscribe();
        let (sender, receiver) = watch::channel(());
        tokio::spawn(async move { while states.changed().await.is_ok() && sender.send(()).is_ok() {} });
        receiver
    }

    /// Looks at the file every `every`, for ever. The content is compared, not the time of change: ConfigMaps are mounted as links that
    /// are exchanged.
    pub async fn watch(self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.look().await;
        }
    }

    /// Looks at the file once.
    pub async fn look(&self) {
        let Some(file) = &self.file else { return };
        let now = self.current();
        let read = read(file).await.and_then(|text| {
            let hash = hash(&text);
            if hash == now.hash {
                return Ok(None);
            }
            let config = Config::parse(&text, directory(file))?;
            Ok(Some(Snapshot { config, version: now.version + 1, hash }))
        });
        self.state.send_if_modified(|state| match read {
            Ok(Some(snapshot)) => {
                tracing::info!(version = snapshot.version, hash = snapshot.hash, "configuration taken over");
                *state = State { snapshot: Arc::new(snapshot), error: None };
                true
            }
            Ok(None) => state.error.take().is_some(),
            Err(error) => {
                let error = error.to_string();
                if state.error.as_ref() == Some(&error) {
                    return false;
                }
                tracing::error!(error, "the new configuration is not taken, the old one stays in force");
                state.error = Some(error);
                true
            }
        });
    }
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn hash(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect()
}

async fn read(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: file.to_owned(), reason };
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text).map(|_| text)
    });
    let text = read.await.map_err(io::Error::from).flatten().map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(unreadable(format!("it is larger than {FILE_MAX} bytes")));
    }
    Ok(text)
}
