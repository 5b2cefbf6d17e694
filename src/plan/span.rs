//! Durations as users write them.

use std::time::Duration;

/// A duration in Go form, without parts that are zero: `5m`, `1h30m`, `90ms`. Parts below a millisecond are dropped.
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
}
