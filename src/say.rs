//! Sentences about what the judge found, from its numbers. Pure.

mod finding;
mod late;
mod load;
mod measure;

use crate::judge::Reach;
use crate::plan::{Limits, Metric};
use crate::words::{percent, time};

pub use finding::{counts_in, judged};
pub use late::late;
pub use load::{load, unequal};
pub use measure::compared;

/// Minutes as a time: `40s`, `4m`, `2h30m`.
fn minutes(minutes: f64) -> String {
    time(60.0 * minutes)
}

/// The smallest regression of a metric that a plan finds: `from 1.02 %`, `12 % slower`.
pub fn reach(metric: &Metric, reach: &Reach) -> String {
    match (metric.kind.limits(), reach.smallest_found) {
        (_, None) | (Limits::Range(_), _) => "nothing".to_owned(),
        (Limits::Share(_), Some(share)) => format!("from {}", percent(share)),
        (Limits::Stretch(_), Some(stretch)) => format!("{} slower", percent(stretch)),
        (Limits::Distance(_), Some(distance)) => format!("from {distance:.3}"),
    }
}
