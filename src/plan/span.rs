//! Durations as users write them.

/// Seconds of a duration in Go form, with its sign; `None` if Go does not read it, or it is longer than a hundred years.
pub fn read_span(text: &str) -> Option<f64> {
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let scale = units.iter().find(|(name, _)| *name == unit)?.1;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (seconds < 3.2e9).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [("5m", 300.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("0", 0.0), ("-1s", -1.0), ("+2m", 120.0), (".5s", 0.5)]
        {
            assert_eq!(read_span(text), Some(seconds), "{text}");
        }
        for text in ["100ms", "1us", "1µs", "1μs", "3ns"] {
            assert!(read_span(text).is_some(), "{text}");
        }
        for bad in ["", "5", "5 m", "m", "1d", "1h-5m", "--1s", "-", "1e3s", "99999999999999999999h", "1..5s"] {
            assert_eq!(read_span(bad), None, "{bad}");
        }
    }
}
