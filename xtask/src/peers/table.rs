//! The rows of a comparison and how they look.

use serde::Serialize;

use super::statistics::{Spread, Unit, ratios};

/// One line: the same work on both sides.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// The work and the peer.
    pub(super) what: String,
    pub(super) unit: Unit,
    /// What each repetition measured; empty where our side has no such measurement.
    pub(super) ours: Vec<f64>,
    pub(super) peer: Vec<f64>,
    /// How many times as fast as the peer we are, pair by pair.
    ratios: Vec<f64>,
    ours_spread: Option<Spread>,
    peer_spread: Option<Spread>,
    ratio_spread: Option<Spread>,
}

impl Row {
    /// Of neighbouring measurements: `ours[i]` was taken just before `peer[i]`.
    pub(super) fn new(what: String, unit: Unit, ours: Vec<f64>, peer: Vec<f64>) -> Self {
        let ratios = ratios(&ours, &peer, unit);
        let (ours_spread, peer_spread) = (Spread::of(&ours), Spread::of(&peer));
        let ratio_spread = Spread::of(&ratios);
        Self { what, unit, ours, peer, ratios, ours_spread, peer_spread, ratio_spread }
    }

    fn cells(&self) -> [String; 4] {
        let with_unit = |spread: Spread| figure(spread, &format!(" {}", self.unit.name()));
        let absent = || "not measured here".to_owned();
        [
            self.what.clone(),
            self.ours_spread.map_or_else(absent, with_unit),
            self.peer_spread.map_or_else(absent, with_unit),
            self.ratio_spread.map_or_else(|| "-".to_owned(), |spread| figure(spread, " ×")),
        ]
    }
}

/// A Markdown table whose columns are also aligned as plain text.
pub(super) fn render(rows: &[Row]) -> String {
    let head = ["", "ours", "peer", "speed, ours ÷ peer"].map(str::to_owned);
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let line = |cells: &[String; 4]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|"));
    let mut text = String::new();
    for (index, cells) in lines.iter().enumerate() {
        text.push_str(&line(cells));
        if index == 0 {
            text.push_str(&rule);
        }
    }
    text
}

fn figure(spread: Spread, unit: &str) -> String {
    let Spread { median, minimum, maximum } = spread;
    format!("{}{unit} [{}..{}]", number(median), number(minimum), number(maximum))
}

/// Three digits that count, and never fewer than those before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians_spreads_and_pairwise_ratios() {
        let rows = [
            Row::new(
                "prefill, 512 tokens: llama.cpp, Vulkan".to_owned(),
                Unit::TokensPerSecond,
                vec![141.0, 139.2, 142.4],
                vec![13.4, 13.1, 13.6],
            ),
            Row::new("decode, 64 tokens: wllama, WASM".to_owned(), Unit::TokensPerSecond, vec![], vec![26.6]),
            Row::new("training step: PyTorch + peft".to_owned(), Unit::Seconds, vec![3.8, 4.0], vec![2.03, 2.0]),
        ];
        let expected = "\
|                                        | ours                    | peer                     | speed, ours ÷ peer |
|----------------------------------------|-------------------------|--------------------------|-------------------------------|
| prefill, 512 tokens: llama.cpp, Vulkan | 141 tokens/s [139..142] | 13.4 tokens/s [13.1..13.6] | 10.5 × [10.5..10.6]           |
| decode, 64 tokens: wllama, WASM        | not measured here       | 26.6 tokens/s [26.6..26.6] | -                             |
| training step: PyTorch + peft          | 3.90 s [3.80..4.00]     | 2.01 s [2.00..2.03]      | 0.517 × [0.500..0.534]        |
";
        let squeezed = |text: &str| text.replace([' ', '-'], "");
        assert_eq!(squeezed(&render(&rows)), squeezed(expected));
    }

    #[test]
    fn every_line_of_the_table_is_as_wide_as_the_others() {
        let row = Row::new("step".to_owned(), Unit::Seconds, vec![1.0], vec![2.0]);
        let text = render(&[row]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 3);
        assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([432.4, 26.64, 2.625, 0.0517].map(number), ["432", "26.6", "2.62", "0.052"]);
    }
}
