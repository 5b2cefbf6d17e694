//! What is found of a metric, as text.

use std::time::Duration;

use super::measure::measure;
use crate::api::{MetricEvidence, Quantile, ThresholdAction};
use crate::judge::dispersion::ENOUGH_WINDOWS;
use crate::judge::finding::{Against, Both, Column, Distance, Finding, Plain, Range, Says, Share, Side, Switched};
use crate::judge::{CALIBRATION, Judgement};
use crate::plan::{Limits, Metric, RangeLimits};
use crate::words::{count, number, percent, points, span};

/// A judgement with its text; `metrics` are those of the plan.
pub fn judged(judgement: Judgement<Finding>, metrics: &[Metric]) -> Judgement {
    judgement.map(|finding| match metrics.get(finding.metric) {
        Some(metric) => told(finding, metric),
        None => finding.evidence,
    })
}

/// The evidence with its text.
fn told(finding: Finding, metric: &Metric) -> MetricEvidence {
    let Finding { mut evidence, says, missing, history, .. } = finding;
    let name = &metric.name;
    evidence.measure = Some(measure(&says, missing, metric));
    evidence.message = match &says {
        Says::Nothing => String::new(),
        Says::NotComparable => format!("{name}: the two arms' counts do not fit each other (different buckets or kinds)"),
        Says::NoWindow => format!("{name}: no window counted yet"),
        Says::NoWindowOfStep => format!("{name}: no window with both arms counted in this step yet"),
        Says::Calibrating(windows) => format!("{name}: margins not known yet, window {windows} of {CALIBRATION} of stable"),
        Says::NoneAtFull => format!("{name}: no canary request counted at 100 % yet"),
        Says::NoBaseline => format!("{name}: stable was not counted before the switch"),
        Says::NothingAtFull => format!("{name}: nothing to compare at 100 %"),
        Says::NotAtFull => format!("{name}: not compared at 100 %"),
        Says::Switched(switched) => of_switch(switched, metric),
        Says::Share(share) => of_share(share, metric, &evidence),
        Says::Plain(plain) => of_plain(plain, metric),
        Says::Distance(distance) => of_distance(distance, metric),
        Says::Range { range, .. } => of_range(range, metric),
    };
    if missing > 0 {
        evidence.message += &format!(" (no data for {missing} windows)");
    }
    if let Some((history, noise)) = history.zip(evidence.noise.as_ref()) {
        evidence.message +=
            &format!("; judged with {history} of {ENOUGH_WINDOWS} windows of history: evidence counts 1/{:.0}", noise.dispersion);
    }
    if let Some(effect) = &mut evidence.effect {
        effect.text = difference(&says, metric);
    }
    for (arm, canary) in [(&mut evidence.stable, false), (&mut evidence.canary, true)] {
        if let Some(arm) = arm {
            arm.text = of_arm(&says, canary, &arm.quantiles, metric);
        }
    }
    evidence
}

/// Both arms' requests, as `n 3,120 / 59,204`.
fn counted(n: Both) -> String {
    format!("n {} / {}", count(n.canary), count(n.stable))
}

fn of_share(share: &Share, metric: &Metric, evidence: &MetricEvidence) -> String {
    let Share { bound, share: Both { canary, stable }, n, left_out, rps, .. } = share;
    let against = match share.against {
        Against::Proved(below) => format!("proved to be below {}", percent(below)),
        Against::Limit(limit) => format!("limit {}", percent(limit)),
    };
    let unit = metric.unit();
    let mut text = format!("{} {} against {} ({against}), {}", metric.subject(*bound), percent(*canary), percent(*stable), counted(*n));
    if bound.is_some() {
        let p99 = |arm: &Option<crate::api::ArmValue>| {
            arm.as_ref().and_then(|arm| arm.quantiles.last()).map(|quantile| bucket(quantile, "")).unwrap_or_default()
        };
        text += &format!("; p99 {} against {}{unit}", p99(&evidence.canary), p99(&evidence.stable));
    }
    if let Some(load) = evidence.load_margin {
        text += &format!("; unequal load may explain {:.1} points of it", 100.0 * load);
    }
    if let Some(seconds) = evidence.warm_in_seconds {
        text += &format!("; its pods may still be cold: a slow-down counts {}", counts_in(seconds));
    }
    if !left_out.is_empty() {
        let bounds: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        text += &format!("; above {}{unit} cannot be proved at {rps:.0} requests a second in this step", bounds.join(", "));
    }
    if !share.gates {
        text += "; nothing of it can be proved, so it does not gate this step";
    }
    text
}

/// When a slow-down counts, of which so many seconds are left.
pub fn counts_in(seconds: i32) -> String {
    let left = u64::try_from(seconds).unwrap_or(0);
    if left == 0 { "from the next window on".to_owned() } else { format!("in {}", span(Duration::from_secs(left))) }
}

fn of_plain(plain: &Plain, metric: &Metric) -> String {
    let Plain { share, n, seconds } = plain;
    format!(
        "{} {} against {} within {} s, at single scrapes, {}",
        metric.subject(None),
        percent(share.canary),
        percent(share.stable),
        number(seconds.round()),
        counted(*n)
    )
}

fn of_distance(distance: &Distance, metric: &Metric) -> String {
    let against = match distance.against {
        Against::Proved(below) => format!("proved to be below {below:.3}"),
        Against::Limit(limit) => format!("limit {limit}"),
    };
    let mut text = format!(
        "{} {:.3} ({against}; stable against itself: {:.3}), {}",
        distance_name(distance),
        distance.value,
        distance.by_chance,
        counted(distance.n)
    );
    if let Some((column, share)) = &distance.most {
        let label = match column {
            Column::Class(name) => name.clone(),
            Column::Others => "other classes".to_owned(),
            Column::Above(bound) => metric.subject(Some(*bound)),
            Column::All => String::new(),
        };
        text += &format!("; most in {label} {} against {}", percent(share.canary), percent(share.stable));
    }
    if distance.picked {
        text += "; users were picked by a match, so it is shown and does not gate";
    }
    if let Some((tau, factor, addend)) = distance.crossed {
        text += &format!("; the limit that holds was crossed (distance {tau}, or the rate of a class by {factor:.2} times and {addend})");
    }
    text
}

fn distance_name(distance: &Distance) -> &'static str {
    if distance.classes { "total variation" } else { "Kolmogorov-Smirnov distance" }
}

fn of_switch(switched: &Switched, metric: &Metric) -> String {
    let Switched { bound, share, limit, n } = switched;
    format!(
        "{} {} against {} before the switch (limit {}), {}",
        metric.subject(*bound),
        percent(share.canary),
        percent(share.stable),
        percent(*limit),
        counted(*n)
    )
}

fn of_range(range: &Range, metric: &Metric) -> String {
    let (name, Limits::Range(RangeLimits { min, max, lasting, action })) = (&metric.name, metric.kind.limits()) else {
        return String::new();
    };
    let limits = [min.map(|min| format!("at least {}", number(min))), max.map(|max| format!("at most {}", number(max)))];
    let limits = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let in_a_row = |looks: u32| if looks == 1 { "1 look".to_owned() } else { format!("{looks} looks in a row") };
    match range {
        Range::Broken { was, limit, side, seconds, looks, now } => {
            let long = span(Duration::try_from_secs_f64(seconds.round()).unwrap_or_default());
            let (was, limit, looks, side) = (number(*was), number(*limit), in_a_row(*looks), side.map_or("beyond", side_name));
            if action == ThresholdAction::Wait {
                return format!("{name} {was} is {side} {limit}: until it is within the limit no step ends and times are not judged");
            }
            match now {
                None => format!("{name} {was} is {side} {limit} for {long}, at {looks}"),
                Some(now) => format!("{name} {was} was {side} {limit} for {long}, at {looks}; now {}", number(*now)),
            }
        }
        Range::Absent(why) => format!("{name} has no value ({limits}): {}", why.as_deref().unwrap_or("not asked yet in this step")),
        Range::Beyond { value, limit, side, looks } => {
            let then = match action {
                ThresholdAction::Rollback => "rolls back",
                ThresholdAction::Hold => "holds",
                ThresholdAction::Wait => "waits",
            };
            let (value, limit, looks) = (number(*value), number(*limit), in_a_row(*looks));
            format!("{name} {value} is {} {limit} at {looks}: it {then} when that lasts {}", side_name(*side), span(lasting))
        }
        Range::Within(value) => format!("{name} {} ({limits})", number(*value)),
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Above => "above",
        Side::Below => "below",
    }
}

/// The difference with its interval.
fn difference(says: &Says, metric: &Metric) -> String {
    match says {
        Says::Share(share) => {
            let of = if share.bound.is_some() { format!(" of {}", metric.subject(share.bound)) } else { String::new() };
            let (low, high) = share.interval;
            format!(
                "{} points{of} (95 %: {} to {}; stable against itself: {:.2})",
                points(share.share.canary - share.share.stable),
                points(low),
                points(high),
                100.0 * share.by_chance
            )
        }
        Says::Distance(distance) => {
            let Distance { value, interval: (low, high), by_chance, jensen_shannon, psi, .. } = distance.as_ref();
            let name = distance_name(distance);
            format!(
                "{name} {value:.3} (95 %: {low:.3} to {high:.3}; stable against itself: {by_chance:.3}), Jensen-Shannon {jensen_shannon:.3}, PSI {psi:.3}"
            )
        }
        Says::Switched(Switched { share, .. }) | Says::Plain(Plain { share, .. }) => {
            format!("{} points", points(share.canary - share.stable))
        }
        _ => String::new(),
    }
}

/// One arm's value.
fn of_arm(says: &Says, canary: bool, quantiles: &[Quantile], metric: &Metric) -> String {
    let of = |both: Both| percent(if canary { both.canary } else { both.stable });
    match says {
        Says::Share(share) if share.bound.is_none() => of(share.share),
        Says::Share(_) => {
            let quantile = |quantile: &Quantile| format!("p{:.0} {}", 100.0 * quantile.quantile, bucket(quantile, metric.unit()));
            quantiles.iter().map(quantile).collect::<Vec<_>>().join(", ")
        }
        Says::Switched(Switched { share, .. }) | Says::Plain(Plain { share, .. }) => of(*share),
        Says::Distance(distance) => {
            let column = |(column, share): &(Column, f64)| match column {
                Column::Class(name) => format!("{name} {}", percent(*share)),
                Column::Others => format!("other {}", percent(*share)),
                Column::Above(bound) => format!("above {bound} {}", percent(*share)),
                Column::All => percent(*share),
            };
            let columns = if canary { &distance.canary } else { &distance.stable };
            columns.iter().map(column).collect::<Vec<_>>().join(", ")
        }
        Says::Range { value, .. } => value.map(number).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A bucket: `in (250, 500] ms`, `above 10000 ms`, `up to 5 ms`.
fn bucket(quantile: &Quantile, unit: &str) -> String {
    match (quantile.above, quantile.up_to) {
        (Some(low), Some(high)) => format!("in ({low}, {high}]{unit}"),
        (Some(low), None) => format!("above {low}{unit}"),
        (None, Some(high)) => format!("up to {high}{unit}"),
        (None, None) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_written_for_people() {
        let quantile = |above, up_to| Quantile { quantile: 0.99, above, up_to };
        assert_eq!(bucket(&quantile(Some(250.0), Some(500.0)), " ms"), "in (250, 500] ms");
        assert_eq!(bucket(&quantile(Some(10_000.0), None), " ms"), "above 10000 ms");
    }
}
