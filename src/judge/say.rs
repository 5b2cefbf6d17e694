//! Numbers in words.

/// `1.02 %`, `0.033 %`, `12.4 %`, `0 %`.
pub fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let digits = match value.abs() {
        0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.digits$} %")
}

/// A number of unknown size with about six digits: `39,120.5`, `0.00214`.
pub fn number(value: f64) -> String {
    let size = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if !(-6.0..15.0).contains(&size) {
        return format!("{value:.3e}");
    }
    // Small and not negative: the cast is exact.
    let digits = (5.0 - size).clamp(0.0, 11.0) as usize;
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    format!("{sign}{}{rest}", grouped(whole))
}

/// A difference of shares in points: `+0.91 points`.
pub fn points(share: f64) -> String {
    let value = 100.0 * share;
    let digits = if value.abs() >= 10.0 { 1 } else { 2 };
    format!("{value:+.digits$}")
}

/// `59,204`.
pub fn count(n: f64) -> String {
    grouped(&format!("{:.0}", n.max(0.0)))
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40 s`, `4 min`, `2.5 h`.
pub fn minutes(minutes: f64) -> String {
    match minutes {
        m if m < 1.5 => format!("{:.0} s", (60.0 * m).max(1.0)),
        m if m < 90.0 => format!("{m:.0} min"),
        m if m < 6000.0 => format!("{:.1} h", m / 60.0),
        m => format!("{:.0} days", m / 1440.0),
    }
}

/// A bucket: `in (250, 500] ms`, `above 10000 ms`, `up to 5 ms`.
pub fn bucket((low, high): (Option<f64>, Option<f64>), unit: &str) -> String {
    match (low, high) {
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
    fn numbers_are_written_for_people() {
        assert_eq!([percent(0.0102), percent(0.00033), percent(0.124), percent(0.0)], ["1.02 %", "0.033 %", "12.4 %", "0 %"]);
        assert_eq!([count(59_204.0), count(120.0), count(1_000_000.0)], ["59,204", "120", "1,000,000"]);
        let numbers = [39_120.456, 38_000.0, 0.002_141_23, -1.5, 0.0, 1e7, 123_456_789.0, 1e-9, f64::MAX].map(number);
        assert_eq!(numbers, ["39,120.5", "38,000", "0.00214123", "-1.5", "0", "10,000,000", "123,456,789", "1.000e-9", "1.798e308"]);
        assert_eq!([minutes(0.5), minutes(4.2), minutes(150.0)], ["30 s", "4 min", "2.5 h"]);
        assert_eq!(bucket((Some(250.0), Some(500.0)), " ms"), "in (250, 500] ms");
    }
}
