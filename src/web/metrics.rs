//! The metrics in columns, and the statistics and queries behind them.

use maud::{Markup, html};

use super::{class, frame::Frame, frame::encoded, svg};
use crate::api::MetricEvidence;
use crate::view::{View, statistics, visible};

/// The table. A column in which nobody has anything is no column.
pub(super) fn table(view: &View) -> Markup {
    let compared = view.rows.iter().any(|row| row.interval.is_some());
    let counted = view.rows.iter().any(|row| row.requests.is_some());
    let named = |name: &Option<String>| name.as_deref().map(visible).unwrap_or_default();
    html! {
        div.scroll {
            table.metrics {
                thead {
                    tr {
                        th scope="col" { "Metric" }
                        th.num scope="col" { "stable " (named(&view.stable)) }
                        th.num scope="col" { "canary " (named(&view.canary)) }
                        th.num scope="col" { "difference" }
                        @if compared { th.num scope="col" { "95 % interval" } th.draw scope="col" { span.hide { "drawn" } } }
                        th.num scope="col" { "limit" }
                        @if counted { th.num scope="col" { "requests" } }
                        th scope="col" { "verdict" }
                    }
                }
                tbody {
                    @for row in &view.rows {
                        @let cells = row.cells();
                        tr.shown[!row.gates] {
                            th scope="row" { (cells.metric) }
                            td.num data-label="stable" { (cells.stable) }
                            td.num data-label="canary" { (cells.canary) }
                            td.num data-label="difference" { (cells.difference) }
                            @if compared { td.num data-label="interval" { (cells.interval) } td.draw { (svg::interval(row)) } }
                            td.num data-label="limit" { (cells.limit) }
                            @if counted { td.num data-label="requests" { (cells.requests) } }
                            td data-label="verdict" { span class=(format!("badge {}", class(row.verdict.tone()))) { (cells.verdict) } }
                        }
                    }
                }
            }
        }
        @if !view.footnotes.is_empty() {
            ul.footnotes { @for note in &view.footnotes { @for line in note.lines() { li { (visible(line)) } } } }
        }
    }
}

/// The statistics of each metric, and its query.
pub(super) fn statistics_and_queries(frame: &Frame<'_>, metrics: &[MetricEvidence]) -> Markup {
    html! {
        @if !metrics.is_empty() {
            details.panel.more #statistics {
                summary { "Statistics and Prometheus queries" }
                @for metric in metrics {
                    @let fact = statistics(metric);
                    section {
                        h3 { (visible(&fact.label)) }
                        @if !fact.text.is_empty() { ul { @for line in fact.text.lines() { li { (visible(line)) } } } }
                        @if let Some(query) = &metric.query {
                            pre { code { (query) } }
                            p.links {
                                button.button.small type="button" data-copy=(query) hidden { "Copy" }
                                @if let Some(prometheus) = frame.prometheus {
                                    " " a href=(format!("{prometheus}/graph?g0.expr={}&g0.tab=0&g0.range_input=1h", encoded(query))) rel="noreferrer" target="_blank" { "Open in Prometheus" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
