//! Numbers and times in words, the same on every surface: what users read in one place they can compare with another, and a time can be
//! put into a manifest as it stands.

use std::time::Duration;

/// Ends the message of a decision for which there was no route to write.
pub const NOTHING_WRITTEN: &str = "so nothing is written";

/// A duration in Go form, exact, without parts that are zero: `5m`, `1h30m`, `90ms`. Parts below a millisecond are dropped.
pub fn span(value: Duration) -> String {
    let (seconds, millis) = (value.as_secs(), value.subsec_millis());
    if seconds == 0 {
        return if millis == 0 { "0s".into() } else { format!("{millis}ms") };
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if minutes > 0 {
        text += &format!("{minutes}m");
    }
    match (rest, millis) {
        (0, 0) => {}
        (_, 0) => text += &format!("{rest}s"),
        _ => text += &format!("{}s", rest as f64 + f64::from(millis) / 1000.0),
    }
    text
}

/// A time that was measured or foreseen, in the same form, no finer than people want it: `47s`, `12m`, `3h40m`, `120h`.
pub fn time(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e11);
    let unit = unit(seconds);
    span(Duration::from_secs_f64((seconds / unit).round() * unit))
}

/// The least that [`time`] can say without saying less than this.
pub fn at_least(seconds: f64) -> f64 {
    let once = |seconds: f64| {
        let unit = unit(seconds);
        (seconds / unit).ceil() * unit
    };
    once(once(seconds)) // the first may reach a size with a larger unit
}

/// What a time of this size is rounded to, in seconds.
fn unit(seconds: f64) -> f64 {
    match seconds {
        s if s < 120.0 => 1.0,
        s if s < 7200.0 => 60.0,
        s if s < 48.0 * 3600.0 => 600.0,
        _ => 3600.0,
    }
}

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
    format!("{}{rest}", grouped(whole))
}

/// A difference of shares in points: `+0.91`.
pub fn points(share: f64) -> String {
    let value = 100.0 * share;
    let digits = if value.abs() >= 10.0 { 1 } else { 2 };
    format!("{value:+.digits$}")
}

/// `59,204`.
pub fn count(n: f64) -> String {
    grouped(&format!("{:.0}", n.max(0.0)))
}

/// A whole number, with its sign, in groups of three digits: `-59,204`.
pub fn whole(n: i64) -> String {
    grouped(&n.to_string())
}

fn grouped(whole: &str) -> String {
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut text = String::with_capacity(whole.len() + whole.len() / 3);
    text.push_str(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first characters, and `…` in place of the last one if there are more.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most.saturating_sub(1)).chain(['…']).collect() }
}

/// At most so many bytes, cut between characters, with `…` at the end if something was cut.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.into();
    }
    let ellipsis = "…";
    let mut end = most.saturating_sub(ellipsis.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ellipsis}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_a_user_would() {
        let cases = [(0, "0s"), (90, "90ms"), (1_000, "1s"), (1_500, "1.5s"), (60_000, "1m"), (5_400_000, "1h30m"), (3_601_000, "1h1s")];
        for (millis, text) in cases {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_time_is_shown_in_the_form_of_a_manifest_and_no_finer_than_people_want_it() {
        let cases = [
            (0.2, "0s"),
            (47.4, "47s"),
            (90.0, "1m30s"),
            (119.9, "2m"),
            (747.0, "12m"),
            (7_100.0, "1h58m"),
            (13_100.0, "3h40m"),
            (432_000.0, "120h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn what_is_said_to_be_enough_is_not_less_than_what_is_needed() {
        for tenths in (1..2_500_000).step_by(37) {
            let seconds = f64::from(tenths) / 10.0;
            let least = at_least(seconds);
            assert!(least >= seconds, "{seconds}");
            assert_eq!(time(least), span(Duration::from_secs_f64(least)), "{seconds}: nothing is rounded away");
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([percent(0.0102), percent(0.00033), percent(0.124), percent(0.0)], ["1.02 %", "0.033 %", "12.4 %", "0 %"]);
        assert_eq!([count(59_204.0), count(120.0), count(1_000_000.0), whole(-1_234)], ["59,204", "120", "1,000,000", "-1,234"]);
        let numbers = [39_120.456, 38_000.0, 0.002_141_23, -1.5, 0.0, 1e7, 123_456_789.0, 1e-9, f64::MAX].map(number);
        assert_eq!(numbers, ["39,120.5", "38,000", "0.00214123", "-1.5", "0", "10,000,000", "123,456,789", "1.000e-9", "1.798e308"]);
        assert_eq!([points(0.0091), points(-0.124)], ["+0.91", "-12.4"]);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!([cut("short", 5), cut("größer", 6)], ["short", "gr…"]);
        assert_eq!([shortened("größer", 6), shortened("größer", 3)], ["größer", "gr…"]);
    }
}
