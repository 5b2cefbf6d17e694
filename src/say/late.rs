//! A step that is too short, and what would be enough, as text.

use super::minutes;
use crate::judge::{Late, Limit, Need};
use crate::words::{count, number};

/// Which step is too short, by how much, and what would be enough.
pub fn late(late: &Late) -> String {
    match late.need {
        Need::Shown { more, all } => present(late, more, all),
        Need::Forecast(need) => planned(late, need),
    }
}

fn name(limit: Limit) -> &'static str {
    match limit {
        Limit::Hold => "hold",
        Limit::Deadline => "deadline",
    }
}

/// The present step, by what it has shown.
fn present(late: &Late, more: Option<f64>, all: f64) -> String {
    let metric = late.metric.as_deref().unwrap_or_default();
    let at = format!("{metric} at {} of {:.1} requests a second", late.share.words(), late.rps);
    let Some(more) = more else {
        return format!("{at} is never proved good; more traffic, or `without` for this metric, would be enough");
    };
    let weight = late.fix.weight.map(|weight| format!("a weight of {weight} %"));
    let longer = late.fix.longer.map(|longer| format!("a {} of {}", name(late.limit), minutes(longer)));
    let fixes = weight.into_iter().chain(longer).collect::<Vec<_>>().join(" or ");
    let limit = minutes(late.minutes);
    match late.limit {
        Limit::Deadline => format!("{at} needs about {} more, beyond the deadline of {limit}; {fixes} would be enough", minutes(more)),
        Limit::Hold => format!(
            "{at} is proved after about {}, later than the hold of {limit}: the weight waits for the proof; {fixes} would be enough",
            minutes(all)
        ),
    }
}

/// A step of the plan, by the forecast.
fn planned(late: &Late, need: Option<f64>) -> String {
    let need = need.map_or("would never pass".to_owned(), |need| format!("needs about {}", minutes(need)));
    let metric = late.metric.as_deref().unwrap_or("the analysis");
    let fix = &late.fix;
    let or = if fix.shadow.is_some() { ", or " } else { " or " };
    let weight = fix.weight.map(|weight| format!("a weight of {weight} % in its place"));
    let shadow = fix.shadow.map(|(hold, weight)| {
        let next = if weight < 100 { format!("{weight} % as the first weight") } else { "100 % at once".to_owned() };
        format!("a shadow step of {} first (mirror: 100, which no user waits for) and then {next}", minutes(hold))
    });
    let longer = fix.longer.map(|longer| format!("a {} of {}", name(late.limit), minutes(longer)));
    let fixes: Vec<String> = [weight, shadow, longer].into_iter().flatten().collect();
    let enough = match fix.traffic {
        _ if !fixes.is_empty() => format!("{} would be enough", fixes.join(or)),
        Some(rps) => format!("only more traffic, about {} requests a second, would be enough", count(rps)),
        None => format!("neither time nor traffic would be enough, only `without` for {metric}"),
    };
    format!(
        "at {} requests a second the step at {} {need} for {metric}, and its {} is {}; {enough}",
        number(super::load::digits(late.rps, 3)),
        late.share.words(),
        name(late.limit),
        minutes(late.minutes)
    )
}
