//! Versions, groups and resources: what clients ask before anything else.

use serde_json::{Value, json};

use crate::sim::kinds::Kind;

/// The document at a path of a server with these kinds, if there is one.
pub(super) fn document(path: &str, served: &[&Kind]) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0+haldane-sim", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: Vec<Value> = groups(served).iter().map(|(group, version)| about(group, version)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] => groups(served).iter().find(|(g, _)| g == group).map(|(group, version)| {
            let mut found = about(group, version);
            if let Value::Object(map) = &mut found {
                map.insert("kind".into(), json!("APIGroup"));
                map.insert("apiVersion".into(), json!("v1"));
            }
            found
        }),
        ["api", version] => resources(served, "", version),
        ["apis", group, version] => resources(served, group, version),
        _ => None,
    }
}

fn about(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn resources(served: &[&Kind], group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<_> = served.iter().filter(|k| k.group == group && k.version == version).collect();
    let first = kinds.first()?;
    let entries: Vec<Value> = kinds.iter().flat_map(|k| k.discovery()).collect();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": entries}))
}

/// Groups and versions in order, without the core group.
fn groups(served: &[&Kind]) -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for kind in served.iter().filter(|kind| !kind.group.is_empty()) {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    found
}
