//! Numbers of the judge in words.

pub use crate::words::{count, number, percent, points};

/// Minutes as a time: `40s`, `4m`, `2h30m`.
pub fn minutes(minutes: f64) -> String {
    crate::words::time(60.0 * minutes)
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
    fn a_bucket_is_written_for_people() {
        assert_eq!(bucket((Some(250.0), Some(500.0)), " ms"), "in (250, 500] ms");
    }
}
