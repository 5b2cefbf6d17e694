//! Plots: a drawing that stretches, with its scales as text around it, so that the text stays as large as it is.

use maud::{Markup, PreEscaped, html};

use super::svg::round;

/// The drawing is so wide and so high; it is stretched to where it stands.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 200.0;

/// A scale between two numbers, with round numbers on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Between two of its numbers.
    pub(super) step: f64,
}

impl Scale {
    /// One that has all of these on it; nothing without a number.
    pub(super) fn around(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            return None;
        }
        if high - low < 1e-9 {
            (low, high) = (low - 0.5 * low.abs().max(1e-6), high + 0.5 * high.abs().max(1e-6));
        }
        let rough = (high - low) / 3.0;
        let size = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * size).into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
        Some(Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step })
    }

    /// The numbers on it, from the top.
    pub(super) fn numbers(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round().clamp(0.0, 12.0);
        // Small and whole: the cast is exact.
        (0..=count as u32)
            .rev()
            .map(|at| self.low + f64::from(at) * self.step)
            .map(|number| if number.abs() < self.step * 1e-6 { 0.0 } else { number })
            .collect()
    }

    /// Where a number is in the drawing.
    pub(super) fn y(&self, value: f64) -> f64 {
        round((HEIGHT * (self.high - value) / (self.high - self.low)).clamp(-HEIGHT, 2.0 * HEIGHT))
    }

    /// Digits behind the point that tell its numbers apart.
    pub(super) fn digits(&self, factor: f64) -> usize {
        let step = self.step * factor;
        // Between 0 and 6: the cast is exact.
        let size = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let whole = |digits: usize| ((step * 10f64.powf(digits as f64)).fract() - 0.5).abs() > 0.49;
        if whole(size) { size } else { size + 1 }
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) from: jiff::Timestamp,
    pub(super) to: jiff::Timestamp,
}

impl Span {
    /// Where a moment is in the drawing.
    pub(super) fn x(&self, at: jiff::Timestamp) -> f64 {
        let seconds = |from: jiff::Timestamp, to: jiff::Timestamp| to.duration_since(from).as_secs_f64();
        round((WIDTH * seconds(self.from, at) / seconds(self.from, self.to).max(1e-3)).clamp(0.0, WIDTH))
    }

    /// Its begin, its middle and its end on a clock.
    pub(super) fn labels(&self) -> [String; 3] {
        let length = self.to.duration_since(self.from);
        let middle = self.from.saturating_add(length / 2).unwrap_or(self.to);
        let form = match length.as_secs() {
            seconds if seconds < 600 => "%H:%M:%S",
            seconds if seconds < 86_400 => "%H:%M",
            _ => "%m-%d %H:%M",
        };
        [self.from.strftime(form).to_string(), middle.strftime(form).to_string(), format!("{} UTC", self.to.strftime(form))]
    }
}

/// A plot: what it is of, its numbers from the top, what is below it.
pub(super) fn plot(says: &str, numbers: &[String], below: &[String], drawn: &Markup) -> Markup {
    html! {
        div.plot {
            div.y aria-hidden="true" { @for number in numbers { span { (number) } } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(says) {
                @for at in 0..numbers.len() {
                    @let y = round(HEIGHT * at as f64 / (numbers.len().saturating_sub(1)).max(1) as f64);
                    line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                }
                (drawn)
            }
            div.x aria-hidden="true" { @for text in below { span { (text) } } }
        }
    }
}

/// Points as the attribute of a line.
pub(super) fn points(points: &[(f64, f64)]) -> PreEscaped<String> {
    PreEscaped(points.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" "))
}

/// Steps: each value until the next one.
pub(super) fn stairs(values: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let mut line = Vec::with_capacity(2 * values.len() + 1);
    for (at, (x, y)) in values.iter().enumerate() {
        if let Some((_, before)) = at.checked_sub(1).and_then(|at| values.get(at)) {
            line.push((*x, *before));
        }
        line.push((*x, *y));
    }
    line.extend(values.last().map(|(_, y)| (end, *y)));
    line
}
