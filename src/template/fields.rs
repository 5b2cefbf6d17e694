//! What a template may name. Fields are added, never renamed or taken away.

use schemars::JsonSchema;
use serde::Serialize;

/// An alert, as a template sees it. A text that there is not is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Fields {
    /// The built-in title: `Rolled back: ml/fraud v2 (m9nrqqfxj) at 5 %, because predictions shifted`
    pub title: String,
    /// All the rest of the built-in text: the table, then why, exposed, now and next
    pub body: String,
    /// Name of the alert: `RolloutRolledBack`
    pub alert: String,
    /// `critical`, `warning` or `info`
    pub severity: String,
    /// How the title begins: `Rolled back`
    pub headline: String,
    /// What was decided: `RolledBack`
    pub outcome: String,
    /// A word of Reasons: `AnalysisFailed`
    pub reason: String,
    /// Why, in one clause: `because predictions shifted`
    pub because: String,
    /// Namespace of the Rollout
    pub namespace: String,
    /// Name of the Rollout
    pub rollout: String,
    /// The version judged
    pub canary: Named,
    /// The version it was compared with
    pub stable: Named,
    /// Name of the step
    pub step: String,
    /// The canary's share in percent, a number
    pub weight: i32,
    /// What the canary gets, in words: `at 5 %`, `on copies of 100 %`
    pub share: String,
    /// The sentence of the decision, a line for each clause
    pub why: String,
    /// The metrics that decide, a list: the deciding one first
    pub metrics: Vec<Metric>,
    /// Who was touched, in words: `806 requests in 12s (5.0 % of traffic), none failed`
    pub exposed: String,
    /// The same as numbers
    pub exposure: Exposed,
    /// Who serves whom now
    pub now: String,
    /// What to do next, a list of commands or clauses
    pub next: Vec<String>,
    /// Who said so, for commands
    pub by: String,
    /// When it was decided: `2026-11-23T14:02:11Z`
    pub at: String,
    /// The epoch of the Rollout, a number
    pub epoch: i64,
    /// The key of the alert, the same in each delivery
    pub key: String,
}

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Named {
    /// Its subset or Service
    pub name: String,
    /// The hash of its pods
    pub revision: String,
}

/// A metric, as a row of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Metric {
    /// Name in the plan: `errorRate`
    pub name: String,
    /// Name in the table: `errors`
    pub label: String,
    /// Stable's value: `0.07 %`
    pub stable: String,
    /// The canary's value
    pub canary: String,
    /// Canary minus stable: `+10.1 pp`
    pub difference: String,
    /// Its 95 % interval: `+8.7 .. +11.5 pp`
    pub interval: String,
    /// What it must not exceed
    pub limit: String,
    /// Requests of both: `59,204 / 3,120`
    pub requests: String,
    /// `ok`, `undecided`, `worse`, `over limit`, `no data` and so on
    pub verdict: String,
}

/// Who was touched, as numbers; 0 where nothing was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Exposed {
    /// Requests of users that the canary answered
    pub requests: i64,
    /// Copies of requests that it answered
    pub copies: i64,
    /// Errors that it gave
    pub errors: i64,
    /// Seconds since it got its first share
    pub seconds: i64,
}
