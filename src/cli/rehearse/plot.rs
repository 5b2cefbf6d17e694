//! One rehearsal as a picture of characters: the canary's share and the evidence against it.

use super::text::minutes;
use crate::{
    plan::{Plan, Share, Step},
    rehearse::{Ending, Played, Point},
};

/// Columns of the picture.
const WIDTH: usize = 60;
/// Rows of the evidence.
const ROWS: i32 = 5;
/// Most rows of the share.
const MOST_SHARES: usize = 6;

/// The picture; nothing where nothing was looked at.
pub(super) fn plot(played: &Played, plan: &Plan) -> String {
    let points = &played.points;
    let Some(last) = points.last() else { return String::new() };
    let ended = match played.ending {
        Ending::Promoted => "promoted",
        Ending::RolledBack => "rolled back",
        Ending::Held => "held",
        Ending::CutOff => "cut off",
    };
    let by = played.by.as_ref().filter(|_| played.ending != Ending::Promoted).map_or_else(String::new, |by| format!(" by {by}"));
    let mut text = format!("\na typical one: {ended} after {}{by}\n", minutes(played.minutes));
    let each = |at: usize| points.get(at * points.len() / WIDTH);
    let label = |step: &Step| match step.share() {
        share if share == Share::weight(share.weight) => share.words(),
        _ => step.name.chars().take(6).collect(),
    };
    let mut shares: Vec<(usize, String)> = plan.steps.iter().map(label).enumerate().collect();
    while shares.len() > MOST_SHARES {
        // Every second one is enough, and the last.
        let full = shares.split_off(shares.len() - 1);
        shares = shares.into_iter().step_by(2).chain(full).collect();
    }
    for (at, (step, share)) in shares.iter().rev().enumerate() {
        let label = if at == 0 { "share" } else { "" };
        let row: String = (0..WIDTH).map(|c| if each(c).is_some_and(|point| point.step >= *step) { '#' } else { ' ' }).collect();
        text += &line(label, share, &row);
    }
    let height = |point: &Point| ((f64::from(ROWS) * point.evidence.max(1.0).ln() / point.fail_at.ln()).floor() as i32).clamp(0, ROWS);
    for row in (0..=ROWS).rev() {
        let (label, mark) = match row {
            ROWS => ("harm", "fails".to_owned()),
            0 => ("", "none".to_owned()),
            _ => ("", String::new()),
        };
        let cells: String = (0..WIDTH).map(|c| if each(c).is_some_and(|point| height(point) == row) { '*' } else { ' ' }).collect();
        text += &line(label, &mark, &cells);
    }
    let end = minutes(last.minutes);
    text + &format!("{:9} {:>6}  0{:>width$}\n", "", "", end, width = WIDTH - 1)
}

fn line(label: &str, mark: &str, cells: &str) -> String {
    format!("{label:9} {mark:>6} |{cells}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_fits_the_screen_and_shows_the_way_up_and_the_end() {
        let spec = serde_json::from_value(serde_json::json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}
        }));
        let plan = Plan::parse(&spec.unwrap()).unwrap();
        let point = |k: u32| Point {
            minutes: f64::from(k) * 0.5,
            step: usize::from(k > 10),
            evidence: if k <= 10 { 0.8 } else { 1.4f64.powi(k as i32 - 10) },
            fail_at: 12.5,
        };
        let played = Played {
            ending: Ending::RolledBack,
            minutes: 9.0,
            canary_requests: 1000,
            by: Some("latency".to_owned()),
            hold_limit: false,
            answers: 0,
            points: (1..=18).map(point).collect(),
        };
        let text = plot(&played, &plan);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("rolled back after 9m by latency"), "{text}");
        let row = |mark: &str| text.lines().find(|line| line.contains(mark)).unwrap().to_owned();
        assert_eq!(row("  5 %").matches('#').count(), WIDTH);
        assert!((24..=28).contains(&row(" 20 %").matches('#').count()) && !row("100 %").contains('#'), "{text}");
        assert!(row("fails").contains('*') && row("none").contains('*'), "{text}");
    }
}
