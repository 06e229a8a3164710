//! `summary.md`: the summary as tables.

use std::collections::BTreeSet;

use super::plot::Plot;
use super::{Comparison, GroupScores, Report, Row, RunDescription};
use crate::probe::CardSource;
use crate::run::record::{Mode, OracleWrites, PromptKind};
use crate::stats::{MeanSd, Unit};

/// A Markdown table; all columns but the first are numbers.
struct Table {
    text: String,
}

impl Table {
    fn new<S: AsRef<str>>(columns: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { text: String::new() };
        let columns = table.row(columns);
        let rule: Vec<&str> = (0..columns).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        table.row(rule);
        table
    }

    /// Adds a row; returns its number of cells.
    fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> usize {
        let cells: Vec<String> = cells.into_iter().map(|cell| escaped(cell.as_ref())).collect();
        self.text += &format!("| {} |\n", cells.join(" | "));
        cells.len()
    }
}

/// A cell must not end its row.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn mean_sd(value: &MeanSd) -> String {
    match value.sd {
        Some(sd) => format!("{:.3} ± {sd:.3}", value.mean),
        None => format!("{:.3}", value.mean),
    }
}

/// What is missing is a dash.
fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), text)
}

/// A mean count: whole where it is large.
fn count(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { grouped(value.round() as u64) } else { format!("{value:.1}") }
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Report {
    /// `summary.md`, with the plots that lie beside it.
    pub fn markdown(&self, plots: &[Plot]) -> String {
        let mut parts = vec![format!("# {}\n", self.bench)];
        parts.extend(self.groups().into_iter().map(|group| self.group_section(group)));
        parts.push(self.cost_section());
        if !plots.is_empty() {
            parts.push("## Plots\n".to_owned());
            parts.extend(plots.iter().map(|plot| format!("![{}]({})\n", plot.title, plot.name)));
        }
        parts.push("## Runs\n".to_owned());
        parts.extend(self.runs.iter().map(run_section));
        parts.join("\n")
    }

    fn group_section(&self, group: &str) -> String {
        let rows: Vec<(&Row, &GroupScores)> =
            self.rows.iter().filter_map(|row| Some((row, row.group(group)?))).collect();
        let heading = if group == "all" { "## Scores\n".to_owned() } else { format!("## Scores: {group}\n") };
        let names: BTreeSet<&str> = rows.iter().flat_map(|(_, s)| &s.headline).map(String::as_str).collect();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let seeds = rows.iter().map(|(row, _)| row.seeds.len()).max().unwrap_or_default();
        let spread = if seeds > 1 { "mean ± s.d. over seeds" } else { "one seed, so without s.d." };
        let mut text = format!("{heading}\nHeadline score: {}; {spread}.\n\n", names.join(", "));
        text += &self.score_table(&rows);
        let unscored: usize = rows.iter().map(|(_, scores)| scores.unscored).sum();
        if unscored > 0 {
            text += &format!("\n{unscored} answers have no headline score and are in no mean: they need a judge.\n");
        }
        text += &self.comparisons("the best baseline", &rows, |scores| scores.against_baseline.as_slice());
        text += &self.comparisons("each baseline", &rows, |scores| scores.against_each.as_slice());
        text += &self.comparisons("the first variant", &rows, |scores| scores.against_first_variant.as_slice());
        let mut compared = rows.iter().flat_map(|(_, s)| s.against_baseline.iter().chain(&s.against_first_variant));
        if compared.any(|comparison| comparison.unit == Unit::Probe) {
            text += &format!(
                "\nFewer than {} samples are too few to resample: probes were resampled instead. The interval speaks of other \
                 questions about the same histories, not of other histories.\n",
                super::FEWEST_UNITS
            );
        }
        text + &self.every_score(&rows)
    }

    fn score_table(&self, rows: &[(&Row, &GroupScores)]) -> String {
        let categories: BTreeSet<&String> =
            rows.iter().flat_map(|(_, scores)| scores.summary.categories.keys()).collect();
        // One category is the whole.
        let categories = if categories.len() > 1 { categories } else { BTreeSet::new() };
        let mut columns = vec!["memory", "seeds", "samples", "probes", "overall"];
        if !categories.is_empty() {
            columns.push("macro");
        }
        let mut table = Table::new(columns.into_iter().chain(categories.iter().map(|name| name.as_str())));
        for (row, scores) in rows {
            let summary = &scores.summary;
            let probes: usize = summary.counts.values().sum();
            let mut cells = vec![self.row_name(row)];
            cells.extend([row.seeds.len(), row.samples, probes].map(|n| grouped(n as u64)));
            cells.push(mean_sd(&summary.overall));
            if !categories.is_empty() {
                cells.push(mean_sd(&summary.macro_average));
            }
            cells.extend(categories.iter().map(|name| or_dash(summary.categories.get(*name), mean_sd)));
            table.row(cells);
        }
        table.text
    }

    fn comparisons<'a>(
        &self,
        with: &str,
        rows: &[(&'a Row, &'a GroupScores)],
        of: impl Fn(&'a GroupScores) -> &'a [Comparison],
    ) -> String {
        let compared: Vec<(&Row, &Comparison)> =
            rows.iter().flat_map(|(row, scores)| of(scores).iter().map(|comparison| (*row, comparison))).collect();
        if compared.is_empty() {
            return String::new();
        }
        let mut table = Table::new(["memory", "against", "difference", "95 % interval", "p", "pairs", "resampled"]);
        for (row, comparison) in &compared {
            let interval = or_dash(comparison.interval, |[low, high]| format!("{low:+.3} to {high:+.3}"));
            let p = or_dash(comparison.p, |p| if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") });
            let unit = match comparison.unit {
                Unit::Sample => "samples",
                Unit::Probe => "probes",
            };
            table.row([
                self.row_name(row),
                comparison.with.clone(),
                format!("{:+.3}", comparison.difference),
                interval,
                p,
                grouped(comparison.pairs as u64),
                format!("{} {unit}", grouped(comparison.units as u64)),
            ]);
        }
        format!("\nAgainst {with}, paired by probe and seed (bootstrap):\n\n{}", table.text)
    }

    fn every_score(&self, rows: &[(&Row, &GroupScores)]) -> String {
        let names: BTreeSet<&String> = rows.iter().flat_map(|(_, scores)| scores.every_score.keys()).collect();
        if names.len() < 2 {
            return String::new();
        }
        let mut table = Table::new(["memory"].into_iter().chain(names.iter().map(|name| name.as_str())));
        for (row, scores) in rows {
            let cells = names.iter().map(|name| or_dash(scores.every_score.get(*name), mean_sd));
            table.row([self.row_name(row)].into_iter().chain(cells));
        }
        format!("\nEvery score, over the probes that have it:\n\n{}", table.text)
    }

    fn cost_section(&self) -> String {
        let mut table = Table::new([
            "memory",
            "turns fed",
            "tokens read",
            "tokens generated",
            "tokens a prompt",
            "writes",
            "cards",
            "cards dropped",
            "turns lost",
            "peak GPU MiB",
            "seconds",
            "reading",
            "writing",
            "training",
            "answering",
        ]);
        for row in &self.rows {
            let cost = &row.cost;
            let mut cells = vec![self.row_name(row)];
            let counts = [
                cost.exchanges,
                cost.tokens_read,
                cost.tokens_generated,
                cost.probe_tokens_read,
                cost.writes,
                cost.cards,
                cost.dropped_cards,
                cost.dropped_turns,
            ];
            cells.extend(counts.map(count));
            cells.push(or_dash(cost.peak_gpu_bytes, |bytes| grouped(bytes >> 20)));
            let seconds = cost.seconds.map(|s| [s.total, s.reading, s.writing, s.training, s.answering]);
            cells.extend((0..5).map(|part| or_dash(seconds, |seconds| format!("{:.1}", seconds[part]))));
            table.row(cells);
        }
        format!(
            "## Cost\n\nMeans over samples and seeds, probes included. The peak counts from the start of a process: \
             strategies before this one are in it.\n\n{}",
            table.text
        )
    }
}

fn run_section(run: &RunDescription) -> String {
    let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
    let mode = match run.mode {
        Mode::Blind => "the writer does not know the questions",
        Mode::Aware => "the writer knows the question, one episode for each",
    };
    let mut text = format!("**{}**: {} on {}; {mode}; ", run.folder, run.model, run.adapter);
    if run.prompt == PromptKind::Plain {
        text += "questions put plainly; ";
    }
    if run.cards == CardSource::Oracle {
        text += match run.oracle_writes {
            OracleWrites::Once => "an oracle's cards; ",
            OracleWrites::Sessions => "an oracle's cards, a write for each session; ",
        };
    }
    text += &format!("judge: {}; seeds {}; ", run.judge, seeds.join(", "));
    text += &format!(
        "{} units finished (a sample with one memory and seed), {} probes; {}.",
        run.units,
        grouped(run.probes as u64),
        run.program
    );
    if run.unfinished > 0 {
        text += &format!(" {} more probes belong to an unfinished unit and are left out.", run.unfinished);
    }
    format!("{text}\n\n```sh\n{}\n```\n", run.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 3.0, 2.25, 1234.5].map(count), ["0", "3", "2.2", "1,235"]);
    }

    #[test]
    fn a_cell_stays_in_its_row() {
        let mut table = Table::new(["a", "b"]);
        table.row(["x|y", "1\n2"]);
        assert_eq!(table.text, "| a | b |\n| --- | ---: |\n| x\\|y | 1 2 |\n");
    }
}
