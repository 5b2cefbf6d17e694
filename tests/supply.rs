//! What the program is made of: licenses, sources and banned crates by cargo-deny, and the bill of materials that the image carries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use serde_json::{Value, json};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether cargo-deny accepts the program by these rules, and what it says.
fn denied(rules: &Path) -> (bool, String) {
    let home = std::env::var("HOME").unwrap_or_default();
    let stack = std::env::var("HALDANE_STACK_DIR").unwrap_or(format!("{home}/.cache/haldane-stack"));
    let program = Path::new(&stack).join("bin/cargo-deny");
    assert!(program.exists(), "no {}: tests/stack/build cargo-deny makes it", program.display());
    // Crates of other systems are looked at too, and on a new machine nothing has fetched them.
    static FETCHED: LazyLock<()> = LazyLock::new(|| {
        let fetched = Command::new(env!("CARGO")).current_dir(root("")).args(["fetch", "--locked"]).status().unwrap();
        assert!(fetched.success(), "cargo fetch");
    });
    LazyLock::force(&FETCHED);
    let mut command = Command::new(program);
    command.current_dir(root("")).args(["--locked", "--offline", "--color", "never", "--config"]).arg(rules);
    let output = command.args(["check", "licenses", "bans", "sources"]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn licenses_sources_and_crates_are_those_that_are_allowed() {
    let (fine, said) = denied(&root("deny.toml"));
    assert!(fine, "{said}");
    assert!(!said.contains("warning"), "a crate in two versions, or an exception that nothing needs any more: {said}");
}

#[test]
fn what_is_not_allowed_is_refused_by_its_name() {
    let rules = fs::read_to_string(root("deny.toml")).unwrap();
    for (from, to, named) in [
        ("\"native-tls\"", "\"ring\"", "'ring"),
        ("\"Unicode-3.0\",", "", "icu_collections"),
        ("crate = \"foldhash\"", "crate = \"ring\"", "foldhash"),
    ] {
        assert!(rules.contains(from), "{from}");
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("deny-{}.toml", named.trim_start_matches('\'')));
        fs::write(&file, rules.replacen(from, to, 1)).unwrap();
        let (fine, said) = denied(&file);
        assert!(!fine && said.contains(named), "{from} to {to}: {said}");
    }
}

#[test]
fn the_bill_of_materials_has_what_is_linked_and_nothing_else() {
    let made = |target: &str| {
        let output = Command::new(root("deploy/sbom")).arg(target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = made("x86_64-unknown-linux-musl");
    assert_eq!(text, made("x86_64-unknown-linux-musl"), "the same sources give the same text");
    let bom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    let program = &bom["metadata"]["component"];
    assert_eq!((&program["name"], &program["version"]), (&json!("haldane"), &json!(env!("CARGO_PKG_VERSION"))));
    let parts = bom["components"].as_array().unwrap();
    let names: BTreeSet<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    for linked in ["kube", "ring", "rustls", "opentelemetry-proto", "rust-std"] {
        assert!(names.contains(linked), "{linked}");
    }
    for absent in ["insta", "mlua", "cel", "windows-sys", "openssl", "aws-lc-rs"] {
        assert!(!names.contains(absent), "{absent}");
    }
    for part in parts {
        assert!(part["licenses"][0]["expression"].is_string(), "{part}");
        assert!(part["name"] == "rust-std" || part["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64), "{part}");
    }
    let known: BTreeSet<&str> = parts.iter().chain([program]).map(|part| part["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(known.len(), parts.len() + 1, "each has a name of its own");
    let needs = bom["dependencies"].as_array().unwrap();
    let needed: BTreeSet<&str> =
        needs.iter().flat_map(|of| of["dependsOn"].as_array().unwrap()).map(|each| each.as_str().unwrap()).collect();
    let program = program["bom-ref"].as_str().unwrap();
    assert_eq!(needed, known.iter().copied().filter(|each| *each != program).collect(), "everything is there because something needs it");
}
