//! Cost against score.

use tmem_core::settings::MemoryKind;

use super::axis::{Axis, Panel};
use super::svg::{Anchor, Sheet, text_width};
use super::{Plot, headline, main_group, spread, style, subject};
use crate::report::{Report, Row};
use crate::stats::MeanSd;

/// Tokens read and generated against the score.
pub(super) fn tokens(report: &Report) -> Option<Plot> {
    let tokens = |row: &Row| Some(row.cost.tokens_read + row.cost.tokens_generated);
    draw(report, "cost", "tokens", "tokens read and generated, mean over samples (log scale)", tokens)
}

/// Clock time against the score.
pub(super) fn seconds(report: &Report) -> Option<Plot> {
    let seconds = |row: &Row| row.cost.seconds.map(|seconds| seconds.total);
    draw(report, "seconds", "time", "seconds, mean over samples (log scale)", seconds)
}

/// A row as a point.
struct Point {
    name: String,
    memory: MemoryKind,
    variant: String,
    series: usize,
    cost: f64,
    score: MeanSd,
}

fn draw(report: &Report, name: &str, what: &str, axis: &str, cost: impl Fn(&Row) -> Option<f64>) -> Option<Plot> {
    let group = main_group(report)?;
    let colours = style::of_rows(report);
    let point = |(row, series): (&Row, usize)| {
        let cost = cost(row).filter(|cost| *cost > 0.0)?;
        let score = row.group(&group)?.summary.overall;
        let variant = row.variant.clone();
        Some(Point { name: report.row_name(row), memory: row.memory, variant, series, cost, score })
    };
    let points: Vec<Point> = report.rows.iter().zip(colours).filter_map(point).collect();
    if points.is_empty() {
        return None;
    }
    let ends = points.iter().map(|point| point.score.mean + point.score.sd.unwrap_or_default());
    let panel = Panel {
        left: 76.0,
        top: 68.0,
        width: 520.0,
        height: 300.0,
        x: Axis::log(axis, points.iter().map(|point| point.cost)),
        y: Axis::from_zero(&format!("score ({})", headline(report, &group)), ends, 5),
    };
    let title = format!("{}: {what} against score", subject(report, &group));
    let mut sheet = Sheet::new(640.0, 424.0, &title, &format!("up and to the left is better; {}", spread(report)));
    panel.draw(&mut sheet);
    let places: Vec<(f64, f64)> = points.iter().map(|p| (panel.across(p.cost), panel.up(p.score.mean))).collect();
    for (point, &(x, y)) in points.iter().zip(&places) {
        if let Some(sd) = point.score.sd {
            let (low, high) = (panel.up(point.score.mean - sd), panel.up(point.score.mean + sd));
            sheet.line(&[(x, low), (x, high)], &format!("error {}", style::series(point.series)));
        }
        sheet.point(x, y, point.series);
    }
    let mut taken: Vec<[f64; 4]> = places.iter().map(|(x, y)| [x - 6.0, y - 6.0, x + 6.0, y + 6.0]).collect();
    // The best point of a strategy has its whole name; of the others the variant is enough, where there is room.
    let best = |point: &Point| {
        let others = points.iter().filter(|other| other.memory == point.memory);
        others.max_by(|a, b| a.score.mean.total_cmp(&b.score.mean)).is_some_and(|best| best.name == point.name)
    };
    let brief = |point: &Point| style::several_memories(report) && !best(point);
    let pairs = || points.iter().zip(&places);
    for (point, &at) in pairs().filter(|(point, _)| !brief(point)) {
        let (label, _) = place(&point.name, at, &panel, &taken);
        let class = format!("name {}", style::series(point.series));
        sheet.text(label[0], label[3] - 3.0, Anchor::Start, &class, &point.name);
        taken.push(label);
    }
    for (point, &at) in pairs().filter(|(point, _)| brief(point)) {
        let (label, free) = place(&point.variant, at, &panel, &taken);
        if free {
            let class = format!("aside {}", style::series(point.series));
            sheet.text(label[0], label[3] - 3.0, Anchor::Start, &class, &point.variant);
            taken.push(label);
        }
    }
    Some(Plot::new(name, title, sheet))
}

/// The box \[left, top, right, bottom\] of a label, and whether it is free: beside its point, else further off.
fn place(name: &str, (x, y): (f64, f64), panel: &Panel, taken: &[[f64; 4]]) -> ([f64; 4], bool) {
    let (width, height) = (text_width(name) * 1.1, 14.0);
    let candidates = (0..3).flat_map(|step| {
        let away = 15.0 * f64::from(step);
        [
            (x + 9.0, y - 7.0 - away),
            (x + 9.0, y - 7.0 + away),
            (x - 9.0 - width, y - 7.0 - away),
            (x - 9.0 - width, y - 7.0 + away),
            (x - width / 2.0, y - 22.0 - away),
            (x - width / 2.0, y + 8.0 + away),
        ]
    });
    let boxes: Vec<[f64; 4]> = candidates.map(|(left, top)| [left, top, left + width, top + height]).collect();
    let inside = |b: &[f64; 4]| {
        b[0] >= panel.left
            && b[2] <= panel.left + panel.width + 36.0
            && b[1] >= panel.top - 14.0
            && b[3] <= panel.top + panel.height
    };
    let apart = |a: &[f64; 4], b: &[f64; 4]| a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
    let free = boxes.iter().find(|candidate| inside(candidate) && taken.iter().all(|other| apart(candidate, other)));
    (*free.unwrap_or(&boxes[0]), free.is_some())
}
