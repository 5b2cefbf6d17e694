//! What a Rollout may look like: one status for each thing that people see.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{MetricEvidence, Rollout};

/// One of them.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rollout: Rollout,
}

/// When they are looked at.
pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:07:05Z".parse().unwrap()
}

const AT: &str = "2026-01-02T03:04:05Z";

fn version(name: &str, revision: &str) -> Value {
    json!({"host": "fraud", "subset": name, "revision": revision})
}

/// Errors: stable, canary, bounds in points; requests of both arms.
pub(crate) fn errors(verdict: &str, shares: [f64; 2], bounds: [f64; 2], n: [i64; 2]) -> Value {
    json!({
        "metric": "errorRate", "verdict": verdict,
        "message": format!("errors {} % against {} % (limit 0.11 %), n {} / {}", 100.0 * shares[1], 100.0 * shares[0], n[1], n[0]),
        "stable": {"value": shares[0], "text": "", "n": n[0]}, "canary": {"value": shares[1], "text": "", "n": n[1]},
        "measure": {"kind": "Errors", "rps": 12.0},
        "effect": {"value": shares[1] - shares[0], "low": bounds[0] / 100.0, "high": bounds[1] / 100.0, "byChance": 0.0005, "text": ""},
        "noise": {"windows": 1440, "dispersion": 1.23}, "limit": 0.0005, "failEvidence": if verdict == "Fail" { 41.6 } else { 2.13 }, "failAt": 20.0,
        "forecast": {"minutesToPass": 4.2, "minutesToDetect": 3.0, "foundByEnd": 0.97, "smallestFound": 0.012},
        "query": "sum by (destination_workload) (rate(istio_requests_total{response_code=~\"5..\"}[1m]))",
    })
}

/// Latency: the bucket of p99 in both arms, difference and bounds in points of what is above 25 ms.
pub(crate) fn latency(verdict: &str, buckets: [[f64; 2]; 2], points: [f64; 3], n: [i64; 2]) -> Value {
    let quantile = |[above, up_to]: [f64; 2]| json!([{"quantile": 0.5, "above": 10.0, "upTo": 25.0}, {"quantile": 0.99, "above": above, "upTo": up_to}]);
    json!({
        "metric": "latency", "verdict": verdict, "message": "requests above 25 ms 1.9 % against 0.3 % (limit 1.5 %)",
        "stable": {"value": 0.003, "text": "", "n": n[0], "quantiles": quantile(buckets[0])},
        "canary": {"value": 0.019, "text": "", "n": n[1], "quantiles": quantile(buckets[1])},
        "measure": {"kind": "Latency", "above": 25.0, "unit": "ms", "rps": 12.0},
        "effect": {"value": points[0] / 100.0, "low": points[1] / 100.0, "high": points[2] / 100.0, "byChance": 0.001, "text": ""},
        "noise": {"windows": 1440, "dispersion": 1.4}, "limit": 0.012, "failEvidence": if verdict == "Fail" { 22.5 } else { 1.1 }, "failAt": 20.0,
        "forecast": {"minutesToPass": 7.5, "smallestFound": 0.3},
    })
}

/// Drift of classes.
pub(crate) fn drift(verdict: &str, shares: [f64; 2], distance: [f64; 3], n: [i64; 2]) -> Value {
    json!({
        "metric": "drift", "verdict": verdict,
        "message": format!("total variation {} (limit 0.15; stable against itself: 0.02), n {} / {}", distance[0], n[1], n[0]),
        "stable": {"text": "legit 90.1 %, review 6.7 %, fraud 3.2 %", "n": n[0]},
        "canary": {"value": distance[0], "text": "legit 60.3 %, fraud 29.7 %, review 10 %", "n": n[1]},
        "measure": {"kind": "Classes", "class": "fraud", "stableShare": shares[0], "canaryShare": shares[1]},
        "effect": {"value": distance[0], "low": distance[1], "high": distance[2], "byChance": 0.02, "text": ""},
        "distances": {"totalVariation": distance[0], "jensenShannon": 0.29, "psi": 0.62},
        "noise": {"windows": 1440, "dispersion": 1.1}, "limit": 0.15, "failEvidence": if verdict == "Fail" { 24.1 } else { 0.8 }, "failAt": 20.0,
        "forecast": {"minutesToPass": 3.0, "smallestFound": 0.2},
    })
}

/// Metrics of a canary that is as good as stable.
fn fine() -> Value {
    json!([
        errors("Pass", [0.000_7, 0.0], [-0.2, 0.4], [15_405, 806]),
        latency("Pass", [[100.0, 250.0], [100.0, 250.0]], [0.1, -0.9, 1.0], [15_405, 806]),
        drift("Pass", [0.032, 0.034], [0.011, 0.0, 0.06], [15_358, 815]),
    ])
}

/// As `fine`, but the evidence is not in yet.
fn open() -> Value {
    json!([
        errors("Inconclusive", [0.000_7, 0.001_2], [-0.4, 1.4], [3_120, 164]),
        latency("Inconclusive", [[100.0, 250.0], [100.0, 250.0]], [0.3, -2.1, 3.3], [3_120, 164]),
        drift("Pass", [0.032, 0.034], [0.021, 0.0, 0.09], [3_100, 160]),
    ])
}

fn exposure(canary: i64, errors: i64, seconds: i64) -> Value {
    json!({"canaryRequests": canary, "stableRequests": 19 * canary, "canaryErrors": errors, "seconds": seconds})
}

fn decision(outcome: &str, reason: &str, weight: i64, message: &str, next: &str) -> Value {
    json!({
        "outcome": outcome, "reason": reason, "message": message, "at": AT, "epoch": 7, "weight": weight, "next": next, "step": "1",
        "canary": version("v2", "m9nrqqfxj"), "stable": version("v1", "5b4d8f7c6d"),
    })
}

fn step(index: i64, name: &str, weight: i64, held: i64) -> Value {
    json!({"index": index, "name": name, "weight": weight, "since": "2026-01-02T03:03:53Z", "heldSeconds": held, "holdSeconds": 300, "windows": 12})
}

fn standing(status: &str, reason: &str, message: &str) -> Value {
    json!([
        {"type": "Ready", "status": "False", "reason": reason, "message": message, "lastTransitionTime": AT},
        {"type": "Stalled", "status": status, "reason": reason, "message": message, "lastTransitionTime": AT},
    ])
}

fn case(name: &'static str, phase: &str, more: Value) -> Case {
    let mut status = json!({
        "observedGeneration": 3, "phase": phase, "epoch": 7, "verdict": "Inconclusive",
        "stable": version("v1", "5b4d8f7c6d"), "canary": version("v2", "m9nrqqfxj"),
    });
    let mut spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "strategy" => spec["strategy"] = value.clone(),
            _ => status[key] = value.clone(),
        }
    }
    let rollout = json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "fraud", "namespace": "ml", "uid": "u-1", "generation": 3}, "spec": spec, "status": status,
    });
    Case { name, rollout: serde_json::from_value(rollout).unwrap() }
}

/// A decision with metrics and with who was exposed.
fn with(mut decision: Value, why: Value, exposure: Value) -> Value {
    decision["why"] = why;
    decision["exposure"] = exposure;
    decision
}

/// Metrics, parsed.
pub(crate) fn evidence(metrics: Value) -> Vec<MetricEvidence> {
    serde_json::from_value(metrics).unwrap()
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let (mut all, explain) = (ended(), "haldane explain fraud -n ml; deploy a better v2, or haldane retry fraud -n ml");
    all.extend(under_way());
    all.extend(kinds(explain));
    all.extend(rare());
    all
}

/// Ends and holds that are seen less often.
fn rare() -> Vec<Case> {
    let beta = json!([{"headers": {"x-user-group": {"exact": "beta"}}}]);
    let abort = "`haldane abort fraud -n ml --reason TEXT` returns the traffic to stable";
    let late = decision(
        "RolledBack",
        "DeadlineExceeded",
        20,
        "20 % for 1h 5s, past its deadline of 1h, and onInconclusive is Rollback: no verdict yet for latency",
        "deploy a better v2, or `haldane retry fraud -n ml` tries this one again",
    );
    let superseded = decision(
        "Lowered",
        "CanaryChanged",
        20,
        "v2 (m9nrqqfxj) is now 7c9df4b8f: traffic goes to stable, then the rollout starts again",
        "the rollout starts again",
    );
    let waits = "v2 (m9nrqqfxj) is now 7c9df4b8f: traffic goes to stable, then the rollout starts again";
    let won = decision(
        "Promoted",
        "AsPlanned",
        100,
        "v2 (m9nrqqfxj) is stable now: it served everybody for 5m",
        "v1 (5b4d8f7c6d) is no longer needed",
    );
    let degraded = "both versions are hit: stable itself is degraded since 03:02:10 UTC: errors 10.0 % against 0.10 % before the rollout (limit 0.70 %); \
                    0 of 5 windows as before; the canary stays at 20 %";
    let frozen = json!([
        errors("Inconclusive", [0.1, 0.102], [-1.9, 2.3], [3_120, 780]),
        latency("Pass", [[100.0, 250.0], [100.0, 250.0]], [0.1, -0.9, 1.0], [3_120, 780]),
    ]);
    let incident = with(
        decision("Held", "GlobalIncident", 20, degraded, &format!("hold and deadline stand still; {abort}")),
        frozen.clone(),
        exposure(780, 80, 130),
    );
    vec![
        case("rolled_back_at_the_deadline", "RolledBack", json!({"decision": with(late, open(), exposure(1_640, 2, 3_605))})),
        case(
            "superseded",
            "Waiting",
            json!({"decision": with(superseded, open(), exposure(164, 0, 61)), "conditions": standing("False", "CanaryChanged", waits)}),
        ),
        case(
            "ab_test_won",
            "Promoted",
            json!({"strategy": {"abTest": {"match": beta, "then": "Promote"}}, "stable": version("v2", "m9nrqqfxj"),
                   "decision": with(won, fine(), exposure(48_120, 101, 1_980))}),
        ),
        case(
            "incident",
            "Holding",
            json!({"step": step(1, "2", 20, 60), "evidence": frozen, "decision": incident, "conditions": standing("False", "GlobalIncident", degraded)}),
        ),
    ]
}

fn ended() -> Vec<Case> {
    let worse = |metric: &str| format!("v2 (m9nrqqfxj) at 5 % is worse than v1 (5b4d8f7c6d): {metric}");
    let next = "deploy a better v2, or `haldane retry fraud -n ml` tries this one again";
    let rolled_back = |why: Value, exposure: Value| {
        let deciding = why.as_array().unwrap().iter().find(|metric| metric["verdict"] == "Fail").unwrap();
        let message = worse(deciding["message"].as_str().unwrap());
        json!({"decision": with(decision("RolledBack", "AnalysisFailed", 5, &message, next), why, exposure)})
    };
    let mut why = fine();
    why[0] = errors("Fail", [0.000_7, 0.101], [8.7, 11.5], [59_204, 3_120]);
    let by_errors = rolled_back(why, exposure(3_120, 318, 432));
    let mut why = fine();
    why[1] = latency("Fail", [[100.0, 250.0], [250.0, 500.0]], [6.2, 3.1, 9.4], [15_405, 806]);
    let by_latency = rolled_back(why, exposure(806, 0, 61));
    let drifted = json!([
        errors("Pass", [0.000_7, 0.0], [-0.2, 0.4], [15_405, 806]),
        latency("Inconclusive", [[100.0, 250.0], [100.0, 250.0]], [1.6, -3.1, 6.2], [15_405, 806]),
        drift("Fail", [0.032, 0.297], [0.296, 0.04, 0.55], [15_358, 815]),
    ]);
    let by_drift = rolled_back(drifted, exposure(806, 0, 12));
    let keep = "keep v1 (5b4d8f7c6d) running until 2026-01-03 03:04 UTC; until then `haldane rollback fraud -n ml --reason TEXT` returns to it \
                immediately; after that it is no longer needed";
    let promoted = decision("Promoted", "AsPlanned", 100, "v2 (m9nrqqfxj) is stable now: it served everybody for 5m", keep);
    let mut aborted = decision("Aborted", "Aborted", 20, "v2 (m9nrqqfxj) at 20 % was aborted by kim: scores look wrong", next);
    aborted["by"] = json!({"name": "kim", "manager": "haldane-cli", "reason": "scores look wrong"});
    vec![
        case(
            "promoted",
            "Promoted",
            json!({"decision": with(promoted, fine(), exposure(48_120, 101, 1_980)), "stable": version("v2", "m9nrqqfxj")}),
        ),
        case("rolled_back_by_errors", "RolledBack", by_errors),
        case("rolled_back_by_latency", "RolledBack", by_latency),
        case("rolled_back_by_drift", "RolledBack", by_drift),
        case("aborted", "Aborted", json!({"decision": with(aborted, open(), exposure(164, 0, 61))})),
    ]
}

fn under_way() -> Vec<Case> {
    let abort = "`haldane abort fraud -n ml --reason TEXT` returns the traffic to stable";
    let advanced = decision(
        "Advanced",
        "AsPlanned",
        5,
        "v2 (m9nrqqfxj) goes from 5 % to 20 %: every metric passed",
        &format!("on to 50 % after 5m; {abort}"),
    );
    let held = "20 % for longer than the deadline of 1h without evidence either way: latency takes longest";
    let next = format!("`haldane promote fraud -n ml` goes on without proof; {abort}; or wait: a later pass still advances");
    let asked = "step half (50 %) asks for a person";
    let approve = format!("`haldane promote fraud -n ml --step half` approves it; {abort}");
    let refused = "v2 (m9nrqqfxj) at 20 % was aborted by kim: scores look wrong; but VirtualService fraud refuses the write (admission webhook \
                   \"policy\" denied the request: weights are frozen): retried every second";
    let fix = "fix whatever rejects the write, or set the weights by hand; the server's reply is above";
    let away = "Prometheus provider \"default\" has not answered for 2m10s: no connection; the canary's share stays at 20 %, and nothing is decided \
                without data";
    let empty = json!([
        {"metric": "errorRate", "verdict": "Inconclusive", "reason": "NoData", "message": "errorRate: no window counted yet", "measure": {"kind": "Errors"}},
        {"metric": "gpu", "verdict": "Inconclusive", "reason": "NoValue", "message": "gpu has no value (at most 38,000): an empty answer",
         "measure": {"kind": "AtMost"}, "limit": 38_000.0},
    ]);
    let mut limits = fine();
    limits[2] = json!({
        "metric": "gpu", "verdict": "Inconclusive", "reason": "Beyond",
        "message": "gpu 39,120 is above 38,000 at 2 looks in a row: it rolls back when that lasts 5m",
        "canary": {"value": 39_120.0, "text": "39,120", "n": 12}, "limit": 38_000.0, "measure": {"kind": "AtMost"},
    });
    vec![
        case(
            "progressing",
            "Progressing",
            json!({"step": step(1, "2", 20, 60), "evidence": open(), "decision": advanced, "conditions": standing("False", "HoldTime", "20 % for 1m of 5m, 12 windows counted")}),
        ),
        case(
            "holding",
            "Holding",
            json!({"step": step(1, "2", 20, 300), "evidence": open(), "decision": decision("Held", "DeadlineExceeded", 20, held, &next), "conditions": standing("True", "DeadlineExceeded", held)}),
        ),
        case(
            "waiting_for_approval",
            "Paused",
            json!({"step": step(1, "2", 20, 300), "evidence": fine(), "decision": decision("Paused", "ApprovalRequired", 20, asked, &approve), "conditions": standing("False", "ApprovalRequired", asked)}),
        ),
        case(
            "refused_route",
            "RollingBack",
            json!({"step": step(1, "2", 20, 300), "decision": with(decision("Held", "RouteRefused", 20, refused, fix), open(), exposure(164, 0, 61)), "conditions": standing("True", "RouteRefused", refused)}),
        ),
        case(
            "no_data",
            "Holding",
            json!({"step": step(1, "2", 20, 60), "evidence": empty, "decision": decision("Held", "MetricsUnavailable", 20, away, &format!("it continues automatically; {abort}")), "conditions": standing("False", "MetricsUnavailable", away)}),
        ),
        case(
            "over_a_threshold",
            "Progressing",
            json!({"step": step(1, "2", 20, 60), "evidence": limits, "decision": decision("Advanced", "AsPlanned", 5, "v2 (m9nrqqfxj) goes from 5 % to 20 %: every metric passed", &format!("on to 50 % after 5m; {abort}"))}),
        ),
        case("idle", "Idle", json!({"stable": version("v2", "m9nrqqfxj"), "canary": null})),
    ]
}

fn kinds(next: &str) -> Vec<Case> {
    let beta = json!([{"headers": {"x-user-group": {"exact": "beta"}}}]);
    let mut shadow = decision("Failed", "AnalysisFailed", 0, "", next);
    let why = json!([
        errors("Pass", [0.000_7, 0.0], [-0.2, 0.4], [15_405, 15_390]),
        drift("Fail", [0.032, 0.297], [0.296, 0.24, 0.35], [15_358, 15_340])
    ]);
    shadow["message"] = format!(
        "v2 (m9nrqqfxj) with mirror of 100 % is worse than v1 (5b4d8f7c6d) (mirrored, no user saw it): {}",
        why[1]["message"].as_str().unwrap()
    )
    .into();
    shadow["traffic"] = "mirror of 100 %".into();
    let copies = json!({"canaryRequests": 0, "mirroredRequests": 15_390, "stableRequests": 15_405, "seconds": 61});
    let mut passed = decision("Passed", "Passed", 0, "", "give the strategy weights to roll it out to users");
    let good = json!([
        errors("Pass", [0.000_7, 0.0], [-0.2, 0.4], [15_405, 15_390]),
        drift("Pass", [0.032, 0.034], [0.003, 0.0, 0.05], [15_358, 15_340]),
    ]);
    let said: Vec<&str> = good.as_array().unwrap().iter().map(|metric| metric["message"].as_str().unwrap()).collect();
    passed["message"] = format!("v2 (m9nrqqfxj) has passed (mirrored, no user saw it): {}", said.join("; ")).into();
    passed["traffic"] = "mirror of 100 %".into();
    let passed = with(passed, good, copies.clone());
    let mut cohort = step(0, "cohort", 0, 60);
    cohort["traffic"] = "match".into();
    let started = decision(
        "Started",
        "AsPlanned",
        0,
        "v2 (m9nrqqfxj) starts at match x-user-group=beta, compared with v1 (5b4d8f7c6d)",
        "on to 100 % after 5m; `haldane abort fraud -n ml --reason TEXT` returns the traffic to stable",
    );
    let switched = json!([
        {"metric": "errorRate", "verdict": "Inconclusive", "reason": "Bake", "message": "errors 0.08 % against 0.07 % before the switch (limit 0.64 %)",
         "stable": {"value": 0.000_7, "text": "", "n": 59_204}, "canary": {"value": 0.000_8, "text": "", "n": 3_120},
         "measure": {"kind": "Errors"}, "effect": {"value": 0.000_1, "text": ""}, "limit": 0.005_7},
    ]);
    vec![
        case("shadow", "Failed", json!({"strategy": {"shadow": {"acknowledgeSideEffects": true}}, "decision": with(shadow, why, copies)})),
        case("shadow_passed", "Passed", json!({"strategy": {"shadow": {"acknowledgeSideEffects": true}}, "decision": passed})),
        case(
            "ab_test",
            "Progressing",
            json!({"strategy": {"abTest": {"match": beta, "then": "Revert"}}, "step": cohort, "evidence": open(), "decision": started}),
        ),
        case(
            "blue_green",
            "Progressing",
            json!({"strategy": {"blueGreen": {"preview": beta}}, "step": step(1, "switch", 100, 60), "evidence": switched,
                   "decision": decision("Advanced", "AsPlanned", 0, "v2 (m9nrqqfxj) goes from match to 100 %: every metric passed", "100 % for 5m; `haldane abort fraud -n ml --reason TEXT` returns the traffic to stable")}),
        ),
    ]
}
