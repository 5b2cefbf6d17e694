//! `haldane version`.

use serde_json::json;

use super::{Exit, Failure, output::Output};

pub(super) fn run(output: &Output) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    output.data("Version", &json!({ "version": version }), || format!("haldane {version}\n"))?;
    Ok(Exit::Reached)
}
