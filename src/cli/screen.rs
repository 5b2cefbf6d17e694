//! What several commands say of a Rollout.

use kube::ResourceExt;

use crate::{
    api::{Rollout, RolloutStatus},
    view::wrapped,
};

/// Columns of a labelled paragraph.
const WIDTH: usize = 80;
/// Width of the first column.
const LABEL: usize = 9;

/// The phase as a word; a Rollout that no controller has seen has none.
pub(super) fn phase(status: &RolloutStatus) -> String {
    status.phase.map_or_else(|| "Unseen".into(), |phase| format!("{phase:?}"))
}

/// One labelled paragraph, wrapped.
pub(super) fn row(label: &str, text: &str) -> String {
    let (mut out, mut prefix) = (String::new(), format!("{label:LABEL$} "));
    for line in text.lines() {
        out += &wrapped(&prefix, line, WIDTH);
        prefix = " ".repeat(LABEL + 1);
    }
    out
}

/// `fraud -n ml`, for a command to be pasted.
pub(super) fn argument(rollout: &Rollout) -> String {
    format!("{} -n {}", rollout.name_any(), rollout.namespace().unwrap_or_default())
}

/// `ml/fraud`.
pub(super) fn full_name(rollout: &Rollout) -> String {
    format!("{}/{}", rollout.namespace().unwrap_or_default(), rollout.name_any())
}
