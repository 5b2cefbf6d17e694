//! Drawings. Colours are classes, so that they follow the style sheet; nothing needs a style attribute.

use maud::{Markup, html};

use crate::view::{Row, Scale};

/// A share of the traffic as a bar.
pub(super) fn share(canary: i32, class: &str) -> Markup {
    let canary = canary.clamp(0, 100);
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(format!("{canary} %")) {
            rect.rest x="0" y="0" width="100" height="8" {}
            @if canary > 0 { rect class=(format!("part {class}")) x="0" y="0" width=(canary.max(1)) height="8" {} }
        }
    }
}

/// How far a hold is.
pub(super) fn hold(held: i64, of: i64) -> Markup {
    let percent = if of > 0 { held.clamp(0, of) * 100 / of } else { 0 };
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(format!("{percent} % of the hold")) {
            rect.rest x="0" y="0" width="100" height="8" {}
            rect.part.plain x="0" y="0" width=(percent) height="8" {}
        }
    }
}

/// Width and height of the drawing of an interval.
const INTERVAL: (f64, f64) = (132.0, 22.0);

/// The difference as a dot on its interval, with the zero line and the side beyond the limit.
pub(super) fn interval(row: &Row) -> Markup {
    let (Some(value), Some(limit)) = (row.difference, row.limit) else { return html! {} };
    if matches!(row.scale, Scale::AtMost | Scale::AtLeast | Scale::Unknown) {
        return html! {};
    }
    let [low, high] = row.interval.unwrap_or([value, value]);
    let all = [low, high, value, limit, 0.0];
    let (least, most) = (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    if !least.is_finite() || !most.is_finite() {
        return html! {};
    }
    let (width, height) = INTERVAL;
    let span = (most - least).max(f64::MIN_POSITIVE);
    // Room at both ends; the side beyond the limit is always seen.
    let x = |value: f64| round(8.0 + (value - least) / span * (width - 24.0));
    let class = super::class(row.verdict.tone());
    html! {
        svg.interval viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) aria-hidden="true" {
            rect.beyond x=(x(limit)) y="2" width=(round(width - x(limit))) height=(height - 4.0) {}
            line.zero x1=(x(0.0)) x2=(x(0.0)) y1="2" y2=(height - 2.0) {}
            line.limit x1=(x(limit)) x2=(x(limit)) y1="2" y2=(height - 2.0) {}
            @if row.interval.is_some() { line class=(format!("range {class}")) x1=(x(low)) x2=(x(high)) y1=(height / 2.0) y2=(height / 2.0) {} }
            circle class=(format!("dot {class}")) cx=(x(value)) cy=(height / 2.0) r="3.5" {}
        }
    }
}

/// No more digits than a pixel has.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
