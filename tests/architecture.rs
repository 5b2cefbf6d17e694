//! The shape of the source: what must stay pure stays pure, files stay small, and every reason, condition and metric is given somewhere.

// A test may stop at the first thing that is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use haldane::api::Reason;

const LONGEST: usize = 500;
/// Modules that decide: values in, values out.
const PURE: [&str; 21] = [
    "api",
    "plan",
    "state",
    "command",
    "counts",
    "gateway_api",
    "istio",
    "judge",
    "say",
    "seen",
    "decide",
    "doctor",
    "drive",
    "record",
    "route",
    "rehearse",
    "source",
    "template",
    "view",
    "web",
    "words",
];
/// What a pure module imports although it is not pure: a rehearsal draws its answers from the simulator, and the outbox of `tell` is pure.
const BESIDE: [(&str, &str); 2] = [("rehearse", "sim"), ("drive", "tell")];
/// What a pure module never names. `Client` and `Api` are kube's.
const IMPURE: [&str; 13] =
    ["async", "await", "tokio", "futures", "reqwest", "axum", "tracing", "Client", "Api", "thread", "SystemTime", "Instant", "println"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests") || path.components().any(|c| c.as_os_str() == "tests")
}

/// The code of a file without comments and without the items that only tests compile.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // One line (`mod tests;`), or a block whose end stands at the begin of a line.
            let first = lines.next().unwrap_or_default();
            if !first.ends_with(';') {
                lines.by_ref().find(|line| *line == "}");
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// What is compiled into the program: each file's module, its path below `src`, and its code.
fn production() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let files = sources(&src).into_iter().map(|path| (path.strip_prefix(&src).unwrap().to_path_buf(), path));
    let module = |inside: &Path| inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
    files.filter(|(inside, _)| !is_test(inside)).map(|(inside, path)| (module(&inside), inside, code(&path))).collect()
}

/// The modules of the crate that a piece of code names.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(words(rest).next().map(str::to_owned));
            continue;
        };
        let (mut depth, mut name) = (0, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.extend([std::mem::take(&mut name)]),
                _ if depth == 0 => name.push(c),
                _ => {}
            }
        }
        found.insert(name);
    }
    found.iter().filter_map(|name| words(name.trim()).next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn pure_modules_have_no_io_no_clock_no_environment_and_no_log() {
    let mut faults = Vec::new();
    for (_, inside, code) in production().into_iter().filter(|(module, ..)| PURE.contains(&module.as_str())) {
        for word in words(&code).filter(|word| IMPURE.contains(word)) {
            faults.push(format!("{}: {word}", inside.display()));
        }
        if code.contains("::now(") {
            faults.push(format!("{}: now()", inside.display()));
        }
        // A container has an `env` of its own, which is no environment of ours.
        if ["std::env", "env::", "env!("].iter().any(|way| code.contains(way)) {
            faults.push(format!("{}: the environment", inside.display()));
        }
    }
    faults.dedup();
    assert!(faults.is_empty(), "time, clients and settings are arguments of pure modules:\n{}", faults.join("\n"));
}

#[test]
fn pure_modules_import_pure_modules_alone() {
    let mut faults = Vec::new();
    for (module, inside, code) in production().into_iter().filter(|(module, ..)| PURE.contains(&module.as_str())) {
        for used in imports(&code) {
            if !PURE.contains(&used.as_str()) && used != module && !BESIDE.contains(&(module.as_str(), used.as_str())) {
                faults.push(format!("{} imports {used}", inside.display()));
            }
        }
    }
    faults.dedup();
    assert!(faults.is_empty(), "what a decision is made of is in `seen`:\n{}", faults.join("\n"));
}

#[test]
fn no_module_is_imported_by_what_it_imports() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, _, code) in production() {
        uses.entry(module).or_default().extend(imports(&code));
    }
    let modules: Vec<&String> = uses.keys().collect();
    let mut circles = Vec::new();
    for module in &modules {
        let (mut next, mut reached) = (vec![*module], BTreeSet::new());
        while let Some(one) = next.pop() {
            next.extend(uses.get(one).into_iter().flatten().filter(|used| *used != one && reached.insert((*used).clone())));
        }
        circles.extend(reached.contains(*module).then_some(*module));
    }
    assert!(
        uses.get("decide").is_some_and(|used| used.contains("judge")) && circles.is_empty(),
        "each of these reaches itself: {circles:?}"
    );
}

#[test]
fn no_kind_of_metric_is_known_outside_of_its_own_file() {
    let outside =
        production().into_iter().filter(|(_, inside, _)| !inside.starts_with("plan/metric") && inside != Path::new("plan/metric.rs"));
    let named: Vec<String> =
        outside.filter(|(.., code)| code.contains("MetricKind::")).map(|(_, inside, _)| inside.display().to_string()).collect();
    assert!(named.is_empty(), "ask the metric what it counts and how it is judged: {named:?}");
}

#[test]
fn the_pure_modules_are_there() {
    for module in PURE {
        assert!(root().join(format!("src/{module}.rs")).is_file(), "src/{module}.rs is gone: this test must follow");
    }
}

/// The hops of `docs/architecture.md`: each row names a file and something in it.
#[test]
fn from_the_list_of_files_to_the_line_that_acts_there_are_two_hops() {
    let manual = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = manual.split("\n## In one minute\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = table.lines().filter(|row| row.starts_with("| ")).skip(1).map(cells).collect();
    let mut hops: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.iter().any(|cell| cell.starts_with("---"))) {
        let [_, question, file, item, ..] = row.as_slice() else { panic!("{row:?}") };
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(item.as_str()), "{file} has no {item}: the table must follow");
        *hops.entry(question.as_str()).or_default() += 1;
    }
    assert_eq!(hops.len(), 4, "{hops:?}");
    assert!(hops.values().all(|hops| *hops <= 2), "{hops:?}");
}

#[test]
fn no_file_is_longer_than_500_lines_and_none_is_called_mod() {
    for path in sources(&root().join("src")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines: split it by what it does", path.display());
        assert!(path.file_name().is_none_or(|name| name != "mod.rs"), "{}: foo.rs beside foo/", path.display());
    }
}

#[test]
fn what_judges_and_counts_gives_numbers_and_no_sentences() {
    // An incident is in the checkpoint as a sentence, and errors of counting say what they are.
    let may = ["judge/incident.rs", "counts/identity.rs", "counts/tracker/coverage.rs"];
    let mut faults = Vec::new();
    for (module, inside, code) in production().into_iter().filter(|(module, ..)| matches!(module.as_str(), "judge" | "counts")) {
        if !may.iter().any(|file| inside.ends_with(file)) && ["format!", "push_str", "write!"].iter().any(|word| code.contains(word)) {
            faults.push(format!("{module}: {}", inside.display()));
        }
    }
    assert!(faults.is_empty(), "text is made in `say`:\n{}", faults.join("\n"));
}

#[test]
fn there_is_no_drawer_for_odds_and_ends() {
    for path in sources(&root().join("src")) {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!["utils", "util", "common", "helpers", "helper", "misc", "manager"].contains(&stem.as_str()), "{}", path.display());
    }
}

#[test]
fn the_clock_is_read_in_one_place() {
    for path in sources(&root().join("src")).into_iter().filter(|p| !p.ends_with("clock.rs") && !is_test(p)) {
        let code = code(&path);
        assert!(!code.contains("Timestamp::now(") && !code.contains("SystemTime::now("), "{}: ask the clock", path.display());
    }
}

/// All code that is shipped, but for these files.
fn shipped(without: &[&str]) -> String {
    let src = root().join("src");
    let paths = sources(&src)
        .into_iter()
        .filter(|path| !is_test(path.strip_prefix(&src).unwrap()) && !without.iter().any(|file| path.ends_with(file)));
    paths.map(|path| code(&path)).collect()
}

/// The names behind `pub const ` or `pub fn ` in a file.
fn declared(file: &str, before: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let names = text.lines().filter_map(|line| line.trim().strip_prefix(before));
    names.map(|rest| words(rest).next().unwrap().to_owned()).collect()
}

#[test]
fn every_reason_and_condition_is_given_somewhere() {
    let code = shipped(&["api/names.rs", "tell/meaning.rs"]);
    let used: BTreeSet<&str> = words(&code).collect();
    for name in declared("src/api/names.rs", "pub const ") {
        assert!(used.contains(name.as_str()), "{name} is given nowhere");
    }
    let paths: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != ':').collect();
    for reason in Reason::ALL {
        assert!(paths.contains(format!("Reason::{reason}").as_str()), "{reason} is given nowhere");
    }
}

#[test]
fn every_kind_of_decision_is_decided_somewhere() {
    let decide = sources(&root().join("src/decide")).into_iter().filter(|path| !path.to_string_lossy().contains("tests"));
    let code: String = decide.map(|path| code(&path)).collect();
    let status = fs::read_to_string(root().join("src/api/status.rs")).unwrap();
    let body = status.split("pub enum Outcome {").nth(1).unwrap().split("\n}").next().unwrap();
    let kinds: Vec<&str> = body.lines().filter_map(|line| line.trim().strip_suffix(',')).filter(|line| !line.starts_with("//")).collect();
    assert!(kinds.len() > 10, "{kinds:?}");
    for kind in kinds {
        assert!(code.contains(&format!("Outcome::{kind}")), "{kind} is decided nowhere");
    }
}

#[test]
fn every_metric_is_set_somewhere() {
    let code = shipped(&["src/metrics.rs"]);
    let names = declared("src/metrics.rs", "pub fn ");
    assert!(names.len() > 8, "{names:?}");
    for name in names.iter().filter(|name| *name != "new") {
        assert!(code.contains(&format!(".{name}(")), "Metrics::{name} is called nowhere");
    }
}
