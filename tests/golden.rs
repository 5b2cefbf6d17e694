//! Golden vectors of the statistics: every case of every file in `tests/data/golden`, and of the file that HALDANE_GOLDEN names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "golden/trajectory.rs"]
mod fail_evidence;

use std::path::{Path, PathBuf};

use fail_evidence::Settings;

use haldane::counts::gain;
use haldane::judge::budget::{self, Ahead, Excess};
use haldane::judge::columns::{Layout, Row};
use haldane::judge::dispersion::{Table, pod_margin, running};
use haldane::judge::distance::{
    Matched, distance_half_width, jensen_shannon, kl_ball_radius, kolmogorov_smirnov, pooled_z, psi, psi_bias, psi_corrected, shares,
    total_variation, wilson,
};
use haldane::judge::kernel::{Margin, Pair, log_e, project};
use haldane::judge::mixture::{PlugIn, log_add};
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF, Normal};

/// Beginnings of `fn` that the product does not use, and why.
const NOT_USED: [(&str, &str); 27] = [
    ("psi_evidently", "another tool's floors"),
    ("psi_sd", "the distance is shown with what chance alone would show"),
    ("psi critical value", "nothing gates on it"),
    ("P(psi_hat", "nothing gates on it"),
    ("js_distance_natural", "shown in base 2"),
    ("js(base 2)", "not shown"),
    ("wasserstein1", "not shown: scores are shown as the largest gap of their distributions"),
    ("hellinger", "not shown"),
    ("chi2_two_sample(Yates)", "the dispersion takes the chi-square as it is"),
    ("chi2_two_sample(no Yates", "the dispersion has it for any number of pods, in a form of its own"),
    ("two_proportion_z_unpooled_margin", "a test for one look; the kernel takes its place"),
    ("mann_whitney", "another judge's method (Kayenta)"),
    ("kayenta", "another judge's method"),
    ("histogram_quantile", "quantiles are shown as buckets, never interpolated"),
    ("native_histogram_quantile", "native histograms are not read"),
    ("beta_binomial", "one arm with a known rate: stable's rate is never known"),
    ("nm1-", "boundaries of another library (confseq)"),
    ("nm2-", "boundaries of another library (confseq)"),
    ("bb1-", "boundaries of another library (confseq)"),
    ("bb2-", "boundaries of another library (confseq)"),
    ("confseq", "boundaries of another library"),
    ("empirical_process_lil_bound", "for plots of whole distributions"),
    ("asymptotic_cs_halfwidth", "another judge's method (GrowthBook)"),
    ("dirichlet_multinomial", "the split is watched by Wilson's interval; as a two-sample test it is no e-value"),
    ("universal-inference", "weaker than the learnt set, and needs a mix that stays"),
    ("conditional_log_lr", "the kernel with margins is the general form"),
    ("Lan-DeMets", "group sequential boundaries: the planned-horizon budget needs none"),
];

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("+Inf") => f64::INFINITY,
        Some("-Inf") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap(),
    }
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn pairs(rows: &Value) -> Vec<Pair> {
    let pair = |row: &Value| {
        let row = list(row);
        Pair { n_a: row[0], x_a: row[1], n_b: row[2], x_b: row[3] }
    };
    rows.as_array().unwrap().iter().map(pair).collect()
}

fn margin_of(input: &Value) -> Margin {
    Margin { r: number(&input["r"]), d: number(&input["delta"]) }
}

/// What is to come of a plan, given as windows and weights, after so many windows.
fn ahead(steps: &Value, phis: &[f64], mut over: usize) -> Vec<Ahead> {
    let part = |(step, phi): (&Value, &f64)| {
        let (windows, weight) = (step[0].as_u64().unwrap() as usize, number(&step[1]));
        let gone = over.min(windows);
        over -= gone;
        Ahead { windows: (windows - gone) as f64, weight, phi: *phi }
    };
    steps.as_array().unwrap().iter().zip(phis).map(part).collect()
}

/// The trajectory of rho through the function that the judge calls at every look.
fn trajectory(input: &Value) -> Vec<f64> {
    let (margin, phis, half_life) = (margin_of(input), list(&input["phi"]), number(&input["half_life"]));
    let windows = pairs(&input["windows"]);
    let (n, share) = (number(&input["nA0"]), (28.8 * windows[0].n_a / number(&input["nA0"])).min(1.0));
    let mut stable = PlugIn { x: number(&input["pA0"]) * n * share, n: n * share };
    let (keep, mut traffic) = (0.5f64.powf(1.0 / half_life), number(&input["n0"]));
    let mut rho = budget::start(number(&input["alpha0"]));
    let look = |(k, pair): (usize, &Pair)| {
        let whole = ahead(&input["steps"], &phis, k);
        let phi = phis[whole.iter().position(|step| step.windows > 0.0).unwrap()];
        let p = stable.planned_rate();
        if pair.n_a > 0.0 && pair.n_b > 0.0 {
            traffic = keep * traffic + (1.0 - keep) * (pair.n_a + pair.n_b);
            stable.add(pair.n_a, pair.x_a, half_life);
        }
        rho = budget::look(rho, *pair, margin, phi, p, &ahead(&input["steps"], &phis, k + 1), traffic);
        rho
    };
    windows.iter().enumerate().map(look).collect()
}

/// What the product gives for a case; `None` where it has no such function.
fn evaluate(name: &str, input: &Value) -> Option<Value> {
    let get = |key: &str| number(&input[key]);
    let both = || (list(&input["a"]), list(&input["b"]));
    Some(match name {
        "affine_log_e(nA,xA,nB,xB,theta_a,theta_b,r,delta): reverse information projection and log e-value" => {
            let pair = Pair { n_a: get("nA"), x_a: get("xA"), n_b: get("nB"), x_b: get("xB") };
            let at = project(pair.n_a, pair.n_b, get("theta_a"), get("theta_b"), Margin { r: get("r"), d: get("delta") }).unwrap();
            json!({"a0": at.a0, "b0": at.b0, "log_e": log_e(pair, get("theta_a"), get("theta_b"), at)})
        }
        name if name.starts_with("e_process log M_k") => {
            let (etas, gammas) = (list(&input["eta"]), list(&input["gamma"]));
            let seed = PlugIn { x: get("pA0") * get("nA0"), n: get("nA0") };
            let margin = Margin { r: get("r"), d: get("delta") };
            let settings = Settings { margin, etas: &etas, gammas: &gammas, cap: get("cap"), half_life: get("half_life"), phi: get("phi") };
            json!(fail_evidence::trajectory(seed, &pairs(&input["windows"]), &settings))
        }
        name if name.starts_with("plan_score") => {
            let pair = Pair { n_a: get("nA"), x_a: get("xA"), n_b: get("nB"), x_b: get("xB") };
            let (u, v) = budget::score(pair, Margin { r: get("r"), d: get("delta") });
            json!({"u": u, "v": v})
        }
        name if name.starts_with("plan_clip") => {
            let rows = input["rows"].as_array().unwrap().iter().map(list);
            let limited = rows.map(|row| {
                let pair = Pair { n_a: row[0], x_a: row[1], n_b: row[2], x_b: row[3] };
                let Excess { u, v, h } = budget::limited(pair, Margin { r: 1.0, d: 0.0 }, row[4], row[5]);
                json!({"u": u, "v": v, "h": h})
            });
            json!(limited.collect::<Vec<_>>())
        }
        name if name.starts_with("plan_start") => {
            let rho = budget::start(get("alpha0"));
            json!({"rho": rho, "D": budget::allowed(rho, get("R"), get("h"))})
        }
        name if name.starts_with("plan_step") => {
            let rows = input["rows"].as_array().unwrap().iter().map(list);
            let rho: Vec<f64> = rows.map(|row| budget::step(row[0], Excess { u: row[1], v: row[2], h: row[3] }, row[4])).collect();
            let value: Vec<f64> = rho.iter().map(|rho| budget::chance(*rho) / get("alpha0")).collect();
            json!({"rho": rho, "value": value})
        }
        name if name.starts_with("plan_forecast") => {
            json!(budget::left(&ahead(&input["steps"], &list(&input["phi"]), 0), get("n"), get("p"), margin_of(input)))
        }
        name if name.starts_with("plan trajectory") => json!(trajectory(input)),
        "merged log e = log(sum w_i e_i)" => {
            let parts = list(&input["log_e"]).into_iter().zip(list(&input["w"])).map(|(log, weight)| log + weight.ln());
            json!(parts.reduce(log_add).unwrap())
        }
        name if name.starts_with("A/A dispersion") => {
            // The two pseudo-arms as two pods.
            let lengths: Vec<usize> = input.get("L").map_or(vec![1], |l| list(l).iter().map(|l| *l as usize).collect());
            let pods = |pair: &Pair| vec![Row { n: pair.n_a, x: vec![pair.x_a] }, Row { n: pair.n_b, x: vec![pair.x_b] }];
            let windows: Vec<Vec<Row>> = pairs(&input["rows"]).iter().map(pods).collect();
            json!(Table::of_pods(&windows, &lengths, &Layout::Events).column(0))
        }
        name if name.starts_with("dispersion, ratio form") => {
            let (z, phis) = (list(&input["z"]), list(&input["phi0_of_window"]));
            let mut spread = haldane::judge::dispersion::Spread::default();
            z.iter().zip(&phis).for_each(|(z, phi)| spread.add(*z, *phi));
            assert_eq!(spread.phi(get("phi0")), running(get("phi0"), spread.squares, spread.count));
            json!(spread.phi(get("phi0")))
        }
        name if name.starts_with("raw_increase") => {
            let samples = list(&input["samples"]);
            json!(gain(samples))
        }
        "pod heterogeneity margin" => {
            let found = pod_margin(&list(&input["n"]), &list(&input["x"]), 1.0, get("PB"));
            json!({"Q": found.q, "s_pod": found.s_pod, "margin": found.margin})
        }
        name if name.starts_with("window-matched TV") => {
            let windows: Vec<(Vec<f64>, Vec<f64>)> =
                input["windows"].as_array().unwrap().iter().map(|window| (list(&window[0]), list(&window[1]))).collect();
            let mut matched = Matched::new(windows[0].0.len());
            let mut pooled = (vec![0.0; windows[0].0.len()], vec![0.0; windows[0].0.len()]);
            for (a, b) in &windows {
                matched.add(a.iter().sum(), a, b.iter().sum(), b);
                pooled.0.iter_mut().zip(a).for_each(|(sum, x)| *sum += x);
                pooled.1.iter_mut().zip(b).for_each(|(sum, x)| *sum += x);
            }
            json!({
                "pi_A": matched.stable(), "pi_B": matched.canary(), "n_eff_A": matched.stable_effective(),
                "tv": total_variation(&matched.stable(), &matched.canary()),
                "tv_pooled": total_variation(&shares(&pooled.0), &shares(&pooled.1)),
            })
        }
        "psi" | "psi (symmetric in a,b)" => json!(psi(&both().0, &both().1, 0.0)),
        "psi_smoothed(k=0.5 added to every count)" => json!(psi(&both().0, &both().1, get("k"))),
        "psi_bias" => json!(psi_bias(&both().0, &both().1, 0.0)),
        "psi_corrected = max(0, psi - psi_bias)" => json!(psi_corrected(&both().0, &both().1, 0.0, 1.0)),
        "js_distance_base2" => json!(jensen_shannon(&shares(&both().0), &shares(&both().1))),
        "total_variation" => json!(total_variation(&shares(&both().0), &shares(&both().1))),
        "ks_on_bins" => json!(kolmogorov_smirnov(&shares(&both().0), &shares(&both().1))),
        "wilson_interval" => {
            let (low, high) = wilson(get("x"), get("n"), get("conf"));
            json!([low, high])
        }
        "two_proportion_z_pooled" => {
            let z = pooled_z(get("n1"), get("x1"), get("n2"), get("x2")).unwrap_or(0.0);
            let normal = Normal::standard();
            json!({"z": z, "p_greater": normal.sf(z), "p_two": 2.0 * normal.sf(z.abs())})
        }
        "kl_ball_radius B/n" => json!(kl_ball_radius(&list(&input["counts"]), get("alpha"), list(&input["prior"])[0])),
        name if name.starts_with("tv confidence sequence") => {
            let (a, b) = both();
            let tv = total_variation(&shares(&a), &shares(&b));
            let half = distance_half_width(&a, &b, get("alpha"), 1.0);
            json!([(tv - half).max(0.0), (tv + half).min(1.0)])
        }
        _ => return None,
    })
}

/// Differences between what is and what should be, each as a line.
fn compare(path: &str, expect: &Value, found: &Value, tol: f64, faults: &mut Vec<String>) {
    match expect {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                compare(&format!("{path}[{at}]"), item, &found[at], tol, faults);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                compare(&format!("{path}.{key}"), value, &found[key], tol, faults);
            }
        }
        _ => {
            let (want, got) = (number(expect), found.as_f64().unwrap_or(f64::NAN));
            let same = want == got || (want.is_nan() && got.is_nan()) || (want - got).abs() <= tol;
            if !same {
                faults.push(format!("{path}: {got} instead of {want} (tol {tol})"));
            }
        }
    }
}

/// The cases of a file, or why there are none.
fn read(file: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let whole: Value = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
    whole["cases"].as_array().cloned().ok_or("has no `cases`".to_owned())
}

/// Differences of one case; `None` if the product does not use its function; or what is wrong with the case itself.
fn check_case(id: &str, case: &Value) -> Result<Option<Vec<String>>, String> {
    let text = |key: &str| case[key].as_str().ok_or(format!("has no `{key}`"));
    text("id")?;
    let name = text("fn")?;
    let compared = || {
        let Some(found) = evaluate(name, &case["inputs"]) else {
            let (_, why) = NOT_USED.iter().find(|(unused, _)| name.starts_with(unused)).ok_or(format!("unknown fn `{name}`"))?;
            println!("{id}: not used: {why}");
            return Ok(None);
        };
        let (tol, mut differences) = (case["tol"].as_f64().ok_or("has no `tol`")?, Vec::new());
        compare(id, &case["expect"], &found, tol, &mut differences);
        Ok(Some(differences))
    };
    // Each function takes its inputs as they come: what is missing or of another shape stops it.
    std::panic::catch_unwind(compared).unwrap_or_else(|why| {
        let why = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("`inputs` or `expect` are not what `{name}` needs: {why}"))
    })
}

/// Every case of these files: what was compared, and what is not as it should be. No case at all is a fault.
fn check(files: &[PathBuf]) -> (Vec<String>, Vec<String>) {
    let (mut checked, mut faults, mut cases) = (Vec::new(), Vec::new(), 0);
    for file in files {
        let listed = match read(file) {
            Ok(listed) => listed,
            Err(fault) => {
                faults.push(format!("{}: {fault}", file.display()));
                continue;
            }
        };
        cases += listed.len();
        for (at, case) in listed.iter().enumerate() {
            let id = case["id"].as_str().map_or(format!("cases[{at}]"), str::to_owned);
            match check_case(&id, case) {
                Ok(Some(differences)) => {
                    checked.push(id);
                    faults.extend(differences);
                }
                Ok(None) => (),
                Err(fault) => faults.push(format!("{}: {id}: {fault}", file.display())),
            }
        }
    }
    if cases == 0 {
        faults.push(format!("no case in {files:?}"));
    }
    (checked, faults)
}

/// Every `*.json` of the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

#[test]
fn every_golden_vector_that_the_product_uses_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let (checked, faults) = check(&files(&folder));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for group in ["inc", "ks", "tv", "z", "wilson", "klcs", "ripr", "eproc", "merge", "phi", "pod", "simpson", "plan"] {
        assert!(checked.iter().any(|id| id.starts_with(&format!("{group}-"))), "no case of group {group} was compared");
    }
    println!("compared: {}", checked.join(" "));
}

#[test]
fn the_vectors_of_the_file_that_haldane_golden_names_hold() {
    let Some(file) = std::env::var_os("HALDANE_GOLDEN").map(PathBuf::from) else { return };
    let (checked, faults) = check(std::slice::from_ref(&file));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    println!("compared: {}", checked.join(" "));
}

#[test]
fn a_function_that_nobody_knows_and_a_file_without_cases_are_reported() {
    let folder = std::env::temp_dir().join(format!("haldane-golden-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |cases: Value| {
        std::fs::write(folder.join("vectors.json"), json!({"cases": cases}).to_string()).unwrap();
        check(&files(&folder))
    };
    let (_, unknown) = write(json!([{"id": "x-01", "fn": "no such thing", "inputs": {}, "expect": 1, "tol": 0}]));
    let (_, wrong) =
        write(json!([{"id": "tv-99", "fn": "total_variation", "inputs": {"a": [1, 1], "b": [1, 1]}, "expect": 0.5, "tol": 1e-9}]));
    let (_, empty) = write(json!([]));
    let (_, nothing) = check(&[]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(unknown, [format!("{}: x-01: unknown fn `no such thing`", folder.join("vectors.json").display())]);
    assert_eq!(wrong, ["tv-99: 0 instead of 0.5 (tol 0.000000001)"]);
    assert!(empty[0].starts_with("no case in ") && nothing == ["no case in []"]);
}

#[test]
fn what_is_wrong_with_a_file_of_vectors_is_reported_with_its_path_and_the_case() {
    let folder = std::env::temp_dir().join(format!("haldane-golden-faults-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("vectors.json");
    let fault = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let (_, faults) = check(std::slice::from_ref(&file));
        assert!(!faults.is_empty(), "{text}");
        faults[0].strip_prefix(&format!("{}: ", file.display())).unwrap_or_else(|| panic!("no path: {faults:?}")).to_owned()
    };
    let case = |leave_out: &str| {
        let mut case = json!({"id": "tv-99", "fn": "total_variation", "inputs": {"a": [1, 1], "b": [1, 1]}, "expect": 0.0, "tol": 1e-9});
        case.as_object_mut().unwrap().remove(leave_out);
        json!({"cases": [case]}).to_string()
    };
    assert!(fault("{").starts_with("not JSON: "));
    assert_eq!(fault("{}"), "has no `cases`");
    assert_eq!(fault(&case("id")), "cases[0]: has no `id`");
    assert_eq!(fault(&case("fn")), "tv-99: has no `fn`");
    assert_eq!(fault(&case("tol")), "tv-99: has no `tol`");
    assert!(fault(&case("inputs")).starts_with("tv-99: `inputs` or `expect` are not what `total_variation` needs: "));
    assert!(fault(&case("expect")).starts_with("tv-99: `inputs` or `expect` are not what `total_variation` needs: "));
    let (_, is_folder) = check(std::slice::from_ref(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
    let (_, missing) = check(std::slice::from_ref(&file));
    assert!(is_folder[0].starts_with(&format!("{}: ", folder.display())), "{is_folder:?}");
    assert!(missing[0].starts_with(&format!("{}: ", file.display())), "{missing:?}");
    let no_folder = std::panic::catch_unwind(|| files(&folder)).unwrap_err();
    assert!(no_folder.downcast_ref::<String>().unwrap().starts_with(&folder.display().to_string()));
}
