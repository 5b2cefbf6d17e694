//! The ConfigMap for Argo CD is what its Lua scripts make, and the manual shows them as they are.

use std::{env, fs};

use serde_json::Value;

use super::{documents, read};

const VERBS: [&str; 6] = ["abort", "pause", "promote", "resume", "retry", "rollback"];
const PATH: &str = "deploy/argocd/argocd-cm.yaml";

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{}{line}\n", " ".repeat(by)) }).collect()
}

fn config_map() -> String {
    let mut text = "# Made of the Lua files beside it: UPDATE_DOCS=1 cargo test --test shipped argocd
# kubectl patch configmap argocd-cm -n argocd --patch-file deploy/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
data:
  resource.customizations.health.haldane.dev_Rollout: |
"
    .to_owned();
    text += &indented(&read("deploy/argocd/health.lua"), 4);
    text += "  resource.customizations.actions.haldane.dev_Rollout: |\n    discovery.lua: |\n";
    text += &indented(&read("deploy/argocd/discovery.lua"), 6);
    text += "    definitions:\n";
    for verb in VERBS {
        text += &format!("    - name: {verb}\n      action.lua: |\n");
        text += &indented(&read("deploy/argocd/action.lua").replace("VERB", verb), 8);
    }
    text
}

#[test]
fn the_config_map_of_argocd_is_made_of_its_lua_files() {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(super::root().join(PATH), config_map()).unwrap();
    }
    assert!(read(PATH) == config_map(), "{PATH} is stale: UPDATE_DOCS=1 cargo test --test shipped argocd writes it");
    let data = documents(PATH).remove(0)["data"].clone();
    assert_eq!(data["resource.customizations.health.haldane.dev_Rollout"], read("deploy/argocd/health.lua"));
    let actions: Value = serde_yaml::from_str(data["resource.customizations.actions.haldane.dev_Rollout"].as_str().unwrap()).unwrap();
    assert_eq!(actions["discovery.lua"], read("deploy/argocd/discovery.lua"));
    for (definition, verb) in actions["definitions"].as_array().unwrap().iter().zip(VERBS) {
        assert!(definition["name"] == verb && definition["action.lua"].as_str().unwrap().contains(&format!("haldane.dev/{verb}")));
    }
}

#[test]
fn the_manual_shows_the_health_script_as_it_is() {
    assert!(read("docs/gitops.md").contains(&format!("```lua\n{}```", read("deploy/argocd/health.lua"))), "copy deploy/argocd/health.lua");
}
