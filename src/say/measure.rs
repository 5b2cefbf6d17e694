//! What the numbers of a metric are numbers of, as data.

use crate::api::{Measure, MeasureKind};
use crate::judge::finding::{Both, Column, Range, Says, Side};
use crate::plan::{Counted, Limits, Metric};

/// What the numbers of this metric are numbers of; the newest windows, so many in a row, had no data.
pub(super) fn measure(says: &Says, missing: u32, metric: &Metric) -> Measure {
    let mut measure = Measure {
        kind: kind(says, metric),
        above: None,
        unit: metric.kind.unit(),
        class: None,
        stable_share: None,
        canary_share: None,
        rps: None,
        missing: i32::try_from(missing).unwrap_or(i32::MAX),
    };
    match says {
        Says::Share(share) => (measure.above, measure.rps) = (share.bound, Some(short(share.rps))),
        Says::Switched(switched) => measure.above = switched.bound,
        Says::Distance(distance) => {
            if let Some((column, Both { canary, stable })) = &distance.most {
                (measure.stable_share, measure.canary_share) = (Some(short(*stable)), Some(short(*canary)));
                match column {
                    Column::Class(name) => measure.class = Some(name.clone()),
                    Column::Above(bound) => measure.above = Some(*bound),
                    Column::Others | Column::All => {}
                }
            }
        }
        _ => {}
    }
    measure
}

fn kind(says: &Says, metric: &Metric) -> MeasureKind {
    match says {
        Says::Range { range: Range::Beyond { side, .. } | Range::Broken { side: Some(side), .. }, .. } if *side == Side::Below => {
            MeasureKind::AtLeast
        }
        _ => compared(metric),
    }
}

/// What is compared of a metric.
pub fn compared(metric: &Metric) -> MeasureKind {
    match (metric.kind.limits(), metric.kind.counted()) {
        (Limits::Share(_), Counted::Requests) => MeasureKind::Errors,
        (Limits::Share(_), _) => MeasureKind::Share,
        (Limits::Stretch(_), _) => MeasureKind::Latency,
        (Limits::Distance(_), Counted::Histogram(_)) => MeasureKind::Scores,
        (Limits::Distance(_), _) => MeasureKind::Classes,
        (Limits::Range(limits), _) if limits.max.is_none() => MeasureKind::AtLeast,
        (Limits::Range(_), _) => MeasureKind::AtMost,
    }
}

/// With six digits behind the point: status is small.
fn short(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
