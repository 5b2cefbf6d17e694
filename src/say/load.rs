//! Requests per pod, as text.

use crate::api::Load;
use crate::words::number;

/// What a pod of each version gets: `1.67 requests a second on each of 3 canary pods, 31.7 on each of 3 stable pods`.
pub fn load(load: &Load) -> String {
    let arm = |arm: &crate::api::ArmLoad, name: &str, noun: &str| {
        let pods = if arm.pods == 1 { format!("1 {name} pod") } else { format!("each of {} {name} pods", arm.pods) };
        format!("{}{noun} on {pods}", number(digits(arm.requests_per_pod, 3)))
    };
    format!("{}, {}", arm(&load.canary, "canary", " requests a second"), arm(&load.stable, "stable", ""))
}

/// That load per pod differs too much, and the line that makes it equal; `None`: the canary has as many pods as are nearest to that.
pub fn unequal(found: &Load, scale: Option<&str>) -> String {
    let fix = match scale {
        Some(line) => format!("`{line}` makes it as equal as whole pods can at this step"),
        None => "whole pods come no nearer at this step".to_owned(),
    };
    let (canary, stable) = (&found.canary, &found.stable);
    let pods = if canary.pods == 1 { "1 canary pod".to_owned() } else { format!("each of {} canary pods", canary.pods) };
    // One digit: what varies from look to look is no news.
    let times = |more: f64, less: f64| number(digits(more / less.max(1e-9), 1));
    let gets = if canary.requests_per_pod < stable.requests_per_pod {
        let times = times(stable.requests_per_pod, canary.requests_per_pod);
        format!("{pods} gets about 1/{times} of what each of {} stable pods gets", stable.pods)
    } else {
        let times = times(canary.requests_per_pod, stable.requests_per_pod);
        format!("{pods} gets about {times} times what each of {} stable pods gets", stable.pods)
    };
    format!("load per pod is unequal: {gets}; the limits of latency are wider; {fix}")
}

/// So many digits.
pub(super) fn digits(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powf(f64::from(digits - 1) - value.abs().max(1e-3).log10().floor());
    (value * scale).round() / scale
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
        let says = |found: &Load| unequal(found, None).split("; ").next().unwrap().to_owned();
        assert_eq!(says(&found), "load per pod is unequal: 1 canary pod gets about 1/20 of what each of 10 stable pods gets");
        let more = Load { stable: ArmLoad { pods: 2, requests_per_pod: 10.0 }, canary: ArmLoad { pods: 3, requests_per_pod: 31.0 } };
        assert_eq!(says(&more), "load per pod is unequal: each of 3 canary pods gets about 3 times what each of 2 stable pods gets");
    }
}
