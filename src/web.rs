//! The pages: what is known of Rollouts to HTML and SVG, with every text escaped. Pure; `dashboard` serves them.

mod actions;
mod arms;
mod course;
mod fleet;
mod frame;
mod metrics;
mod plot;
mod question;
mod rollout;
mod spread;
mod svg;
#[cfg(test)]
mod tests;

use crate::view::Tone;

pub use actions::{Bound, offered};
pub use fleet::fleet;
pub use frame::{Frame, Said, is_browsable, is_prefix, notice, welcome};
pub use question::question;
pub use rollout::{Kept, rollout};

/// Everything that a page needs beside itself: name, type, content.
pub const ASSETS: [(&str, &str, &str); 3] = [
    ("haldane.css", "text/css; charset=utf-8", include_str!("web/assets/haldane.css")),
    ("haldane.js", "text/javascript; charset=utf-8", include_str!("web/assets/haldane.js")),
    ("icon.svg", "image/svg+xml", include_str!("web/assets/icon.svg")),
];

/// The class of what has this tone.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Waiting => "wait",
        Tone::Plain => "plain",
    }
}
