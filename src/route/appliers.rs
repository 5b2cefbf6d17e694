//! Who else writes the routes.

use serde_json::Value;

use super::find::View;

/// Managers that apply what git says, again and again.
const APPLIERS: [&str; 6] = ["argocd", "flux", "kustomize-controller", "helm", "fleet", "config-sync"];

impl View {
    /// The newest manager of the routes that is known to apply what git says again and again, so that it would undo a weight.
    pub fn gitops(&self) -> Option<&str> {
        let newest = self.appliers.last()?;
        APPLIERS.iter().any(|known| newest.contains(known)).then_some(newest.as_str())
    }
}

/// Managers that own the list of routes (`f:http`) or something below, ours left out, oldest first.
pub(super) fn appliers(metadata: &Value, list: &str) -> Vec<String> {
    let mut found: Vec<(String, String)> = metadata["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry.pointer(&format!("/fieldsV1/f:spec/{list}")).is_some())
        .filter_map(|entry| {
            let manager = entry["manager"].as_str()?;
            (manager != crate::api::names::MANAGER).then(|| (entry["time"].as_str().unwrap_or_default().to_owned(), manager.to_owned()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, manager)| manager).collect()
}
