//! Rows to cells: the numbers as text.

use super::{Row, Scale, Value};
use crate::words::{number, shortened, whole};

/// Longest name of a class in a cell.
const NAME: usize = 16;

/// The cells of one row, in the order of the columns. Where there is nothing, `-` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// What the metric is called.
    pub metric: String,
    /// Stable's value.
    pub stable: String,
    /// The canary's value.
    pub canary: String,
    /// Canary minus stable.
    pub difference: String,
    /// Its 95 % interval.
    pub interval: String,
    /// What it must not exceed.
    pub limit: String,
    /// Requests of both.
    pub requests: String,
    /// The verdict.
    pub verdict: String,
}

/// What stands where there is nothing.
const NOTHING: &str = "-";

impl Row {
    /// Its numbers as text.
    pub fn cells(&self) -> Cells {
        let or_nothing = |cell: Option<String>| cell.unwrap_or_else(|| NOTHING.to_owned());
        Cells {
            metric: self.label.clone(),
            stable: or_nothing(self.stable.as_ref().map(Value::text)),
            canary: or_nothing(self.canary.as_ref().map(Value::text)),
            difference: or_nothing(self.difference.map(|difference| self.difference(difference))),
            interval: or_nothing(self.interval.map(|interval| self.between(interval))),
            limit: or_nothing(self.limit.map(|limit| self.limit(limit))),
            requests: or_nothing(self.requests.map(|n| format!("{} / {}", whole(n.stable), whole(n.canary)))),
            verdict: self.verdict.text().to_owned(),
        }
    }

    fn difference(&self, difference: f64) -> String {
        let text = match self.scale {
            Scale::Share => format!("{} pp", points(difference)),
            Scale::TotalVariation => format!("TV {difference:.3}"),
            Scale::KolmogorovSmirnov => format!("KS {difference:.3}"),
            Scale::AtMost | Scale::AtLeast | Scale::Unknown => number(difference),
        };
        format!("{text}{}", "*".repeat(self.mark))
    }

    fn between(&self, [low, high]: [f64; 2]) -> String {
        match self.scale {
            Scale::Share => {
                let digits = match high - low {
                    wide if wide >= 0.1 => 0,
                    wide if wide >= 0.002 => 1,
                    _ => 2,
                };
                format!("{:+.digits$} .. {:+.digits$} pp", unsigned_zero(100.0 * low, digits), unsigned_zero(100.0 * high, digits))
            }
            _ => format!("{low:.2} .. {high:.2}"),
        }
    }

    fn limit(&self, limit: f64) -> String {
        match self.scale {
            Scale::Share => points(limit),
            Scale::AtMost => format!("<= {}", number(limit)),
            Scale::AtLeast => format!(">= {}", number(limit)),
            _ => number(limit),
        }
    }
}

impl Value {
    /// As it stands in a cell.
    pub fn text(&self) -> String {
        match self {
            Self::Share(share) => percent(*share),
            Self::Bucket { above: Some(above), up_to: Some(up_to), unit } => format!("{}-{} {unit}", number(*above), number(*up_to)),
            Self::Bucket { above: None, up_to: Some(up_to), unit } => format!("<= {} {unit}", number(*up_to)),
            Self::Bucket { above: Some(above), up_to: None, unit } => format!("> {} {unit}", number(*above)),
            Self::Bucket { above: None, up_to: None, .. } => NOTHING.to_owned(),
            Self::Class { class, share } => format!("{} {}", shortened(class, NAME), percent(*share)),
            Self::Above { bound, share } => format!(">{} {}", number(*bound), percent(*share)),
            Self::Number(value) => number(*value),
        }
    }
}

/// `10.2 %`, `3.2 %`, `0.07 %`, `0.004 %`: no more digits than are compared at a glance.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let digits = match value.abs() {
        0.0 => 0,
        v if v >= 1.0 => 1,
        v if v >= 0.01 => 2,
        _ => 3,
    };
    format!("{value:.digits$} %")
}

/// Percentage points with their sign: `-0.07`, `+1.6`, `+0.004`.
fn points(share: f64) -> String {
    let value = 100.0 * share;
    let digits = match value.abs() {
        v if v >= 1.0 => 1,
        v if v >= 0.01 || v == 0.0 => 2,
        _ => 3,
    };
    format!("{:+.digits$}", unsigned_zero(value, digits))
}

/// The value, without the sign of what is shown as zero.
fn unsigned_zero(value: f64, digits: usize) -> f64 {
    let half = 0.5 * 0.1f64.powi(i32::try_from(digits).unwrap_or(0));
    if value.abs() < half { 0.0 } else { value }
}
