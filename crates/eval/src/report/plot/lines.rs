//! Curves: score against L_max, the episode, retention, corrections.

use std::collections::BTreeSet;

use tmem_core::settings::MemoryKind;

use super::axis::{Axis, Panel};
use super::svg::{Anchor, Sheet, text_width};
use super::{Plot, headline, main_group, spread, style, subject};
use crate::report::summary::row_name;
use crate::report::{CorrectionPoint, EpisodePoint, Report, Row};
use crate::stats::MeanSd;

/// Width of the area that data is drawn in.
const WIDTH: f64 = 480.0;
/// Space left of it.
const LEFT: f64 = 76.0;
/// Space above the first panel.
const TOP: f64 = 68.0;

/// One line of a panel.
struct Curve {
    name: String,
    series: usize,
    /// (x, y, s.d. of y), x ascending.
    points: Vec<(f64, f64, Option<f64>)>,
    /// Whether each point is marked; not where they are many.
    marked: bool,
}

impl Curve {
    fn tops(curves: &[Self]) -> impl Iterator<Item = f64> {
        curves.iter().flat_map(|curve| &curve.points).map(|(_, y, sd)| y + sd.unwrap_or_default())
    }
}

/// A named line of any plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// (x, y), x ascending, neither negative.
    pub points: Vec<(f64, f64)>,
}

/// Lines of anything; `axes` are the titles of x and y.
pub fn curves(name: &str, title: &str, subtitle: &str, axes: [&str; 2], series: Vec<Series>) -> Plot {
    let curve = |(index, Series { name, points }): (usize, Series)| Curve {
        name,
        series: style::in_turn(index),
        points: points.into_iter().map(|(x, y)| (x, y, None)).collect(),
        marked: true,
    };
    let curves: Vec<Curve> = series.into_iter().enumerate().map(curve).collect();
    let last = curves.iter().flat_map(|curve| &curve.points).map(|(x, ..)| *x).fold(0.0, f64::max);
    let x = Axis::from_zero(axes[0], [last].into_iter(), 8);
    let y = Axis::from_zero(axes[1], Curve::tops(&curves), 5);
    sheet(name, title.to_owned(), subtitle, vec![(x, y, curves)])
}

/// Rows that differ in the token budget alone, in the order of the first of them.
struct Line<'a> {
    memory: MemoryKind,
    variant: &'a str,
    rows: Vec<&'a Row>,
}

fn lines_of(report: &Report) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in &report.rows {
        let variant = row.variant_without_budget.as_str();
        match lines.iter_mut().find(|line| line.memory == row.memory && line.variant == variant) {
            Some(line) => line.rows.push(row),
            None => lines.push(Line { memory: row.memory, variant, rows: vec![row] }),
        }
    }
    lines
}

/// Score against the token budget, over runs that differ in it.
pub(super) fn budget(report: &Report) -> Option<Plot> {
    let group = main_group(report)?;
    let budgets: BTreeSet<usize> = report.rows.iter().map(|row| row.budget).collect();
    if budgets.len() < 2 {
        return None;
    }
    let lines = lines_of(report);
    let one_variant = lines.iter().all(|line| line.variant.is_empty());
    let curve = |(index, line): (usize, &Line<'_>)| {
        let point = |row: &&Row| {
            let overall = row.group(&group)?.summary.overall;
            Some((row.budget as f64, overall.mean, overall.sd))
        };
        let mut points: Vec<_> = line.rows.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let name = row_name(line.variant, line.memory, false);
        Curve {
            name,
            series: if one_variant { style::of_memory(line.memory) } else { style::in_turn(index) },
            points,
            marked: true,
        }
    };
    let curves: Vec<Curve> = lines.iter().enumerate().map(curve).collect();
    let budgets: Vec<f64> = budgets.into_iter().map(|budget| budget as f64).collect();
    let x = Axis::log_at("L_max: tokens of context before memory is written (log scale)", &budgets);
    let y = Axis::from_zero(&format!("score ({})", headline(report, &group)), Curve::tops(&curves), 5);
    let title = format!("{}: score against L_max", subject(report, &group));
    Some(sheet("budget", title, &spread(report), vec![(x, y, curves)]))
}

/// Most lines of a plot.
const MOST: usize = 8;

/// The rows that get a line, each with its series: all of them, or, where they would be too many to follow, the best
/// variant of each strategy by the score of the main group.
fn shown<'a>(report: &'a Report, group: &str, of: impl Fn(&Row) -> bool) -> Vec<(&'a Row, usize)> {
    let mut rows: Vec<&Row> = report.rows.iter().filter(|row| of(row)).collect();
    if rows.len() > MOST {
        let mean = |row: &Row| row.group(group).map_or(f64::NEG_INFINITY, |scores| scores.summary.overall.mean);
        let best = |row: &Row| {
            let others = rows.iter().filter(|other| other.memory == row.memory);
            others.max_by(|a, b| mean(a).total_cmp(&mean(b))).is_some_and(|best| best.variant == row.variant)
        };
        rows = rows.iter().copied().filter(|row| best(row)).collect();
    }
    let of_memory =
        rows.iter().enumerate().all(|(index, row)| rows[..index].iter().all(|other| other.memory != row.memory));
    let series = |(index, row): (usize, &'a Row)| {
        (row, if of_memory { style::of_memory(row.memory) } else { style::in_turn(index) })
    };
    rows.into_iter().enumerate().map(series).collect()
}

/// The subtitle of a plot that shows some of the rows of a report.
fn subtitle(whole: &str, report: &Report, shown: usize, of: impl Fn(&Row) -> bool) -> String {
    let all = report.rows.iter().filter(|row| of(row)).count();
    if shown < all { format!("{whole}; the best variant of each memory") } else { whole.to_owned() }
}

/// Score against the age of the fact.
pub(super) fn retention(report: &Report) -> Option<Plot> {
    let group = main_group(report)?;
    let aged = |row: &Row| !row.retention.is_empty();
    let rows = shown(report, &group, aged);
    let bins: BTreeSet<(usize, usize)> =
        rows.iter().flat_map(|(row, _)| &row.retention).map(|bin| (bin.from, bin.to)).collect();
    // One age makes no curve.
    if bins.len() < 2 {
        return None;
    }
    let place = |bin: (usize, usize)| bins.iter().position(|other| *other == bin).unwrap_or_default() as f64;
    let curve = |(row, series): &(&Row, usize)| Curve {
        name: report.row_name(row),
        series: *series,
        points: row.retention.iter().map(|bin| (place((bin.from, bin.to)), bin.score.mean, bin.score.sd)).collect(),
        marked: true,
    };
    let curves: Vec<Curve> = rows.iter().map(curve).collect();
    let name = |(from, to): &(usize, usize)| if from == to { from.to_string() } else { format!("{from}–{to}") };
    let x = Axis::names("age of the fact: sessions since it was told", bins.iter().map(name).collect());
    let y = Axis::from_zero(&format!("score ({})", headline(report, &group)), Curve::tops(&curves), 5);
    let title = format!("{}: retention by age of the fact", subject(report, &group));
    let subtitle = subtitle(&spread(report), report, curves.len(), aged);
    Some(sheet("retention", title, &subtitle, vec![(x, y, curves)]))
}

/// Accuracy on new and on known classes against the corrections told.
pub(super) fn corrections(report: &Report) -> Option<Plot> {
    let group = main_group(report)?;
    let corrected = |row: &Row| row.corrections.len() > 1;
    let rows = shown(report, &group, corrected);
    let panel = |title: &str, accuracy: fn(&CorrectionPoint) -> Option<MeanSd>| {
        let curve = |(row, series): &(&Row, usize)| {
            let point = |at: &CorrectionPoint| accuracy(at).map(|of| (at.corrections, of.mean, of.sd));
            let points = row.corrections.iter().filter_map(point).collect();
            Curve { name: report.row_name(row), series: *series, points, marked: true }
        };
        let curves: Vec<Curve> = rows.iter().map(curve).collect();
        let told = curves.iter().flat_map(|curve| &curve.points).map(|(told, ..)| *told);
        let x = Axis::from_zero("corrections told", told, 8);
        (x, Axis::from_zero(title, [1.0].into_iter(), 5), curves)
    };
    let panels = vec![
        panel("accuracy on new classes", |point| point.novel),
        panel("accuracy on known classes", |point| point.original),
    ];
    if panels.iter().all(|(_, _, curves)| curves.iter().all(|curve| curve.points.is_empty())) {
        return None;
    }
    let title = format!("{}: recovery and retention by corrections", report.bench);
    let subtitle = subtitle(&spread(report), report, rows.len(), corrected);
    Some(sheet("corrections", title, &subtitle, panels))
}

/// ‖Δ‖ and general knowledge over the episode.
pub(super) fn episode(report: &Report) -> Option<Plot> {
    let group = main_group(report)?;
    // Where nothing is trained nothing is forgotten: such a strategy says nothing here.
    let trains = |row: &Row| row.episode.iter().any(|point| point.delta_norm > 0.0);
    let rows = shown(report, &group, trains);
    let curves = |figure: fn(&EpisodePoint) -> Option<f64>| {
        let curve = |(row, series): &(&Row, usize)| {
            let points = row.episode.iter().filter_map(|point| Some((point.exchanges as f64, figure(point)?, None)));
            let points: Vec<_> = points.collect();
            let name = report.row_name(row);
            (!points.is_empty()).then_some(Curve { name, series: *series, points, marked: false })
        };
        rows.iter().filter_map(curve).collect::<Vec<_>>()
    };
    let norms = curves(|point| Some(point.delta_norm));
    let kept = curves(|point| point.knowledge_kept);
    if norms.is_empty() {
        return None;
    }
    let last = rows.iter().flat_map(|(row, _)| &row.episode).map(|point| point.exchanges as f64).fold(0.0, f64::max);
    let x = || Axis::from_zero("turns fed", [last].into_iter(), 8);
    let mut panels = Vec::new();
    let y = Axis::from_zero("mean ‖ΔW‖ / ‖W‖", Curve::tops(&norms), 4);
    panels.push((x(), y, norms));
    if !kept.is_empty() {
        panels.push((x(), Axis::from_zero("general knowledge kept", [1.0].into_iter(), 5), kept));
    }
    let title = format!("{}: the fast weights over the episode", report.bench);
    let subtitle = subtitle("mean over samples and seeds that have come so far", report, rows.len(), trains);
    Some(sheet("episode", title, &subtitle, panels))
}

/// Panels below each other.
fn sheet(name: &str, title: String, subtitle: &str, panels: Vec<(Axis, Axis, Vec<Curve>)>) -> Plot {
    let height = if panels.len() == 1 { 300.0 } else { 190.0 };
    let down = height + 64.0;
    let names = panels.iter().flat_map(|(_, _, curves)| curves).map(|curve| text_width(&curve.name) * 1.1);
    let width = LEFT + WIDTH + 14.0 + names.fold(0.0, f64::max) + 20.0;
    let width = width.max(40.0 + text_width(&title) * 1.3);
    let mut sheet = Sheet::new(width, TOP + down * panels.len() as f64, &title, subtitle);
    for (index, (x, y, curves)) in panels.into_iter().enumerate() {
        let panel = Panel { left: LEFT, top: TOP + down * index as f64, width: WIDTH, height, x, y };
        panel.draw(&mut sheet);
        draw_curves(&mut sheet, &panel, &curves);
    }
    Plot::new(name, title, sheet)
}

fn draw_curves(sheet: &mut Sheet, panel: &Panel, curves: &[Curve]) {
    for (index, curve) in curves.iter().enumerate() {
        let class = style::series(curve.series);
        // Whiskers of different lines at the same x would hide each other.
        let aside = (index as f64 - (curves.len() as f64 - 1.0) / 2.0) * if curve.marked { 3.0 } else { 0.0 };
        let places: Vec<(f64, f64)> =
            curve.points.iter().map(|(x, y, _)| (panel.across(*x) + aside, panel.up(*y))).collect();
        sheet.line(&places, &format!("curve {class}"));
        if curve.marked {
            for ((x, y), (_, value, sd)) in places.iter().zip(&curve.points) {
                if let Some(sd) = sd {
                    sheet.line(&[(*x, panel.up(value - sd)), (*x, panel.up(value + sd))], &format!("error {class}"));
                }
                sheet.point(*x, *y, curve.series);
            }
        }
    }
    label_ends(sheet, panel, curves);
}

/// Names the lines at their right ends, pushed apart where they would overlap.
fn label_ends(sheet: &mut Sheet, panel: &Panel, curves: &[Curve]) {
    const APART: f64 = 15.0;
    let mut labels: Vec<(f64, &Curve)> =
        curves.iter().filter_map(|curve| Some((panel.up(curve.points.last()?.1), curve))).collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    for index in 1..labels.len() {
        labels[index].0 = labels[index].0.max(labels[index - 1].0 + APART);
    }
    // What was pushed out below is pushed back up.
    let mut lowest = panel.top + panel.height;
    for label in labels.iter_mut().rev() {
        label.0 = label.0.min(lowest);
        lowest = label.0 - APART;
    }
    for (y, curve) in labels {
        let class = format!("name {}", style::series(curve.series));
        sheet.text(panel.left + panel.width + 14.0, y + 4.0, Anchor::Start, &class, &curve.name);
    }
}
