//! Scores by strategy.

use std::collections::BTreeSet;

use super::axis::{Axis, Panel};
use super::svg::{Anchor, Sheet, text_width};
use super::{Plot, headline, main_group, spread, style, subject};
use crate::report::Report;
use crate::stats::MeanSd;

/// Height of a row.
const ROW: f64 = 26.0;
/// Space above the first row of panels, and above each for its heading.
const TOP: f64 = 64.0;
const HEADING: f64 = 24.0;
/// Space below the bars for ticks and the axis' title.
const FOOT: f64 = 56.0;
/// Space right of a panel's bars for the figures.
const FIGURES: f64 = 56.0;

/// Bars of the same rows under one heading.
struct Bars {
    heading: String,
    values: Vec<Option<MeanSd>>,
}

/// Overall scores; LoCoMo's two groups beside each other.
pub(super) fn scores(report: &Report) -> Option<Plot> {
    let groups = report.groups();
    let panels: Vec<Bars> = groups
        .iter()
        .map(|group| Bars {
            heading: if *group == "all" { String::new() } else { (*group).to_owned() },
            values: report.rows.iter().map(|row| Some(row.group(group)?.summary.overall)).collect(),
        })
        .collect();
    let title = format!("{}: score by memory", report.bench);
    let names: BTreeSet<String> = groups.iter().map(|group| headline(report, group)).collect();
    let score = names.into_iter().collect::<Vec<_>>().join(", ");
    draw(report, "scores", title, &score, &panels, 2)
}

/// Scores of the main group by category.
pub(super) fn categories(report: &Report) -> Option<Plot> {
    let group = main_group(report)?;
    let parts = || report.rows.iter().filter_map(|row| row.group(&group));
    let names: BTreeSet<&String> = parts().flat_map(|scores| scores.summary.categories.keys()).collect();
    let panel = |name: &String| Bars {
        heading: name.clone(),
        values: report.rows.iter().map(|row| row.group(&group)?.summary.categories.get(name).copied()).collect(),
    };
    let panels: Vec<Bars> = names.into_iter().map(panel).collect();
    let title = format!("{}: score by category", subject(report, &group));
    (panels.len() > 1).then(|| {
        draw(report, "categories", title, &headline(report, &group), &panels, if panels.len() == 4 { 2 } else { 3 })
    })?
}

fn draw(report: &Report, name: &str, title: String, score: &str, panels: &[Bars], columns: usize) -> Option<Plot> {
    if report.rows.is_empty() || panels.is_empty() {
        return None;
    }
    let columns = columns.min(panels.len());
    let names: Vec<String> = report.rows.iter().map(|row| report.row_name(row)).collect();
    let margin = 20.0 + names.iter().map(|name| text_width(name)).fold(0.0, f64::max) + 12.0;
    let bars_width = if columns == 1 { 420.0 } else { 230.0 };
    let bars_height = ROW * names.len() as f64;
    let heading = if panels.iter().all(|panel| panel.heading.is_empty()) { 0.0 } else { HEADING };
    let (across, down) = (bars_width + FIGURES, heading + bars_height + FOOT);
    let rows = panels.len().div_ceil(columns);
    let subtitle = format!("headline score: {score}; {}", spread(report));
    let width =
        (margin + columns as f64 * across).max(40.0 + text_width(&title) * 1.3).max(40.0 + text_width(&subtitle));
    let mut sheet = Sheet::new(width, TOP + rows as f64 * down, &title, &subtitle);
    // One scale for all panels: bars of different panels can be compared.
    let ends = panels.iter().flat_map(|panel| &panel.values).flatten().map(|v| v.mean + v.sd.unwrap_or_default());
    let axis = Axis::from_zero("score", ends, if columns == 1 { 5 } else { 4 });
    let colours = style::of_rows(report);
    for (index, bars) in panels.iter().enumerate() {
        let panel = Panel {
            left: margin + (index % columns) as f64 * across,
            top: TOP + (index / columns) as f64 * down + heading,
            width: bars_width,
            height: bars_height,
            x: axis.clone(),
            y: Axis::names("", Vec::new()),
        };
        let labels = (index % columns == 0).then_some(names.as_slice());
        one_panel(&mut sheet, &panel, bars, labels, &colours);
    }
    Some(Plot::new(name, title, sheet))
}

fn one_panel(sheet: &mut Sheet, panel: &Panel, bars: &Bars, names: Option<&[String]>, colours: &[usize]) {
    sheet.text(panel.left, panel.top - 8.0, Anchor::Start, "heading", &bars.heading);
    panel.draw_x_grid(sheet);
    panel.draw_x(sheet);
    for (row, (value, colour)) in bars.values.iter().zip(colours).enumerate() {
        let middle = panel.top + ROW * (row as f64 + 0.5);
        if let Some(name) = names.and_then(|names| names.get(row)) {
            sheet.text(panel.left - 10.0, middle + 4.0, Anchor::End, "body", name);
        }
        let Some(value) = value else {
            sheet.text(panel.left + 6.0, middle + 4.0, Anchor::Start, "quiet", "–");
            continue;
        };
        let end = panel.across(value.mean);
        let class = format!("bar {}", style::series(*colour));
        sheet.rectangle(panel.left, middle - 8.0, end - panel.left, 16.0, &class);
        let mut right = end;
        if let Some(sd) = value.sd {
            let (low, high) = (panel.across(value.mean - sd), panel.across(value.mean + sd));
            sheet.line(&[(low, middle), (high, middle)], "whisker");
            for x in [low, high] {
                sheet.line(&[(x, middle - 4.0), (x, middle + 4.0)], "whisker");
            }
            right = high;
        }
        sheet.text(right + 6.0, middle + 4.0, Anchor::Start, "body", &format!("{:.3}", value.mean));
    }
    sheet.line(&[(panel.left, panel.top), (panel.left, panel.top + panel.height)], "axis");
}
