//! Plots as SVG, from a report alone.

mod axis;
mod bars;
mod lines;
mod scatter;
mod style;
mod svg;

pub use lines::{Series, curves};

use super::Report;

/// One plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// Name of its file.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The file.
    pub svg: String,
}

/// All plots that the report has figures for, in a fixed order.
pub fn plots(report: &Report) -> Vec<Plot> {
    let all = [
        bars::scores(report),
        bars::categories(report),
        scatter::tokens(report),
        scatter::seconds(report),
        lines::budget(report),
        lines::episode(report),
        lines::retention(report),
        lines::corrections(report),
    ];
    all.into_iter().flatten().collect()
}

impl Plot {
    fn new(name: &str, title: String, sheet: svg::Sheet) -> Self {
        Self { name: format!("{name}.svg"), title, svg: sheet.finish() }
    }
}

/// The group of scores that plots show.
fn main_group(report: &Report) -> Option<String> {
    report.groups().into_iter().next().map(str::to_owned)
}

/// `locomo, categories 1-4`.
fn subject(report: &Report, group: &str) -> String {
    if group == "all" { report.bench.to_string() } else { format!("{}, {group}", report.bench) }
}

/// The names of the headline scores of a group.
fn headline(report: &Report, group: &str) -> String {
    let groups = report.rows.iter().filter_map(|row| row.group(group));
    let names: std::collections::BTreeSet<&str> = groups.flat_map(|g| &g.headline).map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What the spread is.
fn spread(report: &Report) -> String {
    match report.rows.iter().map(|row| row.seeds.len()).max() {
        Some(seeds @ 2..) => format!("mean ± s.d. over {seeds} seeds"),
        _ => "one seed".to_owned(),
    }
}
