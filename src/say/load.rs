//! Requests per pod, as text.

use crate::api::Load;
use crate::words::number;

/// What a pod of each version gets: `1.67 requests a second on each of 3 canary pods, 31.7 on each of 3 stable pods`.
pub fn load(load: &Load) -> String {
    let arm = |arm: &crate::api::ArmLoad, name: &str, noun: &str| {
        let pods = if arm.pods == 1 { format!("1 {name} pod") } else { format!("each of {} {name} pods", arm.pods) };
        format!("{}{noun} on {pods}", number(short(arm.requests_per_pod)))
    };
    format!("{}, {}", arm(&load.canary, "canary", " requests a second"), arm(&load.stable, "stable", ""))
}

/// That load per pod differs too much, and the line that makes it equal; `None`: the canary has as many pods as are nearest to that.
pub fn unequal(found: &Load, scale: Option<&str>) -> String {
    let fix = match scale {
        Some(line) => format!("`{line}` makes it as equal as whole pods can at this step"),
        None => "whole pods come no nearer at this step".to_owned(),
    };
    format!("load per pod is unequal: {}; the limits of latency are wider; {fix}", load(found))
}

/// Three digits.
fn short(value: f64) -> f64 {
    let digits = 10f64.powf(2.0 - value.abs().max(1e-3).log10().floor());
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ArmLoad;

    #[test]
    fn requests_per_pod_are_told_with_the_line_that_makes_them_equal() {
        let found = Load { stable: ArmLoad { pods: 10, requests_per_pod: 9.5123 }, canary: ArmLoad { pods: 1, requests_per_pod: 0.50129 } };
        assert_eq!(load(&found), "0.501 requests a second on 1 canary pod, 9.51 on each of 10 stable pods");
        assert!(unequal(&found, Some("kubectl scale x")).ends_with("; `kubectl scale x` makes it as equal as whole pods can at this step"));
        assert!(unequal(&found, None).ends_with("whole pods come no nearer at this step"));
    }
}
