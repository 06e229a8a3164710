//! What a rollout tells, as text and progress bars for a person.

use std::io::Write;

use indicatif::ProgressBar;
use tmem_core::card::Card;
use tmem_core::fast::{StepReport, WriteOutcome, WriteReport};
use tmem_core::rollout::policy::GateReading;
use tmem_core::rollout::{Event, Passage, Speaker, Warning};

use crate::session::{spinner, style};

/// Steps between lines where there is no terminal for a bar.
const LOG_EVERY: usize = 10;

/// Shows events: answers on the standard output as they are generated, all else on the standard error.
#[derive(Debug, Default)]
pub(crate) struct Display {
    /// Whether answers are shown; a probe has hundreds.
    quiet: bool,
    bar: Option<ProgressBar>,
    gate: Option<GateReading>,
}

impl Display {
    /// A display for a chat.
    pub(crate) fn chat() -> Self {
        Self::default()
    }

    /// A display that leaves answers and cards out.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Token { speaker: Speaker::Agent, text, .. } if !self.quiet => {
                print!("{text}");
                // A terminal that is gone shows itself at the next prompt.
                let _ = std::io::stdout().flush();
            }
            Event::Gate { reading, .. } => self.gate = Some(reading.clone()),
            Event::Answer(answer) if !self.quiet => {
                println!();
                if let Some(gate) = self.gate.take() {
                    eprintln!("  {}", gate_line(&gate));
                }
                if let Some(twin) = &answer.twin {
                    println!("  frozen twin: {}", twin.text.trim());
                }
            }
            Event::Trigger { tokens, budget } => {
                self.say(&format!("the context has {tokens} tokens, its budget is {budget}: writing to memory"));
            }
            Event::WritingStarted { .. } => self.replace(Some(spinner("Writing memory"))),
            Event::CardsWritten { cards, dropped } => {
                self.replace(None);
                if !self.quiet {
                    cards.iter().for_each(|card| self.say(&card_line(card)));
                }
                if !dropped.is_empty() {
                    self.say(&format!("{} item(s) dropped: not grounded, repeated, or malformed", dropped.len()));
                }
            }
            Event::CardsKept { cards } => self.say(&format!("kept {cards} card(s) for looking up; nothing is trained")),
            Event::MemoryWritten { passages, dropped } => {
                self.replace(None);
                if !dropped.is_empty() {
                    self.say(&format!("{} item(s) dropped: too long, or not about the turn", dropped.len()));
                }
                if !self.quiet {
                    passages.iter().for_each(|passage| self.say(&passage_line(passage)));
                }
            }
            Event::LearningStarted { cards, replay, from_zero } => {
                let start = if *from_zero { " from zero" } else { "" };
                self.say(&format!("learning {cards} card(s){start}, {replay} earlier ones at hand"));
                let bar = ProgressBar::new(0).with_style(style("{pos}/{len} {eta}"));
                bar.set_message("Preparing");
                self.replace(Some(bar));
            }
            Event::Step(step) => self.step(step),
            Event::WriteFinished(report) => {
                self.replace(None);
                self.say(&write_line(report));
            }
            Event::ContextCleared { turns } if !self.quiet => {
                self.say(&format!("context cleared ({turns} turn(s))"));
            }
            Event::CardForgotten { id } => self.say(&format!("card {id} is forgotten")),
            Event::CardEdited { card } => self.say(&card_line(card)),
            Event::Reset if !self.quiet => self.say("everything is as at the start"),
            Event::Warning(warning) => {
                if matches!(warning, Warning::NothingWritten { .. } | Warning::WriteAbandoned { .. }) {
                    self.replace(None);
                }
                self.say(&format!("warning: {warning}"));
            }
            _ => {}
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Shows how far something is that tells no events.
    pub(crate) fn progress(&mut self, message: &'static str, done: usize, all: usize) {
        if done >= all {
            return self.replace(None);
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(0).with_style(style("{pos}/{len} {eta}")));
        bar.set_message(message);
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }

    fn step(&mut self, step: &StepReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(step.steps as u64);
            bar.set_position(step.step as u64 + 1);
            bar.set_message(format!("Learning, loss {:.3}", step.loss));
            if bar.is_hidden() && (step.step + 1).is_multiple_of(LOG_EVERY) {
                eprintln!("step {} of {}, loss {:.3}, KL {:.3}", step.step + 1, step.steps, step.loss, step.kl);
            }
        }
    }

    fn replace(&mut self, bar: Option<ProgressBar>) {
        if let Some(old) = std::mem::replace(&mut self.bar, bar) {
            old.finish_and_clear();
        }
    }
}

/// A card on one line.
pub(crate) fn card_line(card: &Card) -> String {
    let turn = card.source_turn.map_or_else(String::new, |turn| format!(" (turn {turn})"));
    let wordings = match card.wordings.len() {
        0 => String::new(),
        more => format!(" [+{more} wordings]"),
    };
    format!("  {}: {}{wordings} -> {}{turn}", card.id, card.question, card.answer)
}

/// A piece of explicit memory, its first line after where it is from.
pub(crate) fn passage_line(passage: &Passage) -> String {
    let source = passage.turn.map_or_else(|| "summary".to_owned(), |turn| format!("turn {}", turn + 1));
    let keywords =
        if passage.keywords.is_empty() { String::new() } else { format!(" ({})", passage.keywords.join(", ")) };
    format!("  {source}: {}{keywords}", passage.text.replace('\n', "\n    "))
}

/// The gate's decision on one line.
fn gate_line(gate: &GateReading) -> String {
    let nearest = gate.nearest_card.map_or_else(String::new, |id| format!(" to card {id}"));
    // Shut although something learned is near: it is nearer to what was never told.
    let lead = gate.lead.filter(|_| gate.scale == 0.0).map_or_else(String::new, |lead| format!(", lead {lead:+.2}"));
    format!("[gate: similarity {:.2}{nearest}{lead}, fast weights at {:.0} %]", gate.similarity, gate.scale * 100.0)
}

/// How a write went on one line.
pub(crate) fn write_line(report: &WriteReport) -> String {
    let how = match &report.outcome {
        WriteOutcome::Completed => "learned".to_owned(),
        WriteOutcome::StoppedEarly => "learned, loss low enough early".to_owned(),
        WriteOutcome::Aborted => "stopped".to_owned(),
        WriteOutcome::RolledBack { reason } => format!("taken back: {reason}"),
        WriteOutcome::Nothing => "nothing to learn".to_owned(),
    };
    let losses = match (report.steps.first(), report.steps.last()) {
        (Some(first), Some(last)) => {
            format!(", loss {:.3} -> {:.3} in {} steps", first.loss, last.loss, report.steps.len())
        }
        _ => String::new(),
    };
    let largest = report.norms.iter().max_by(|a, b| a.relative.total_cmp(&b.relative));
    let size = largest.map_or_else(String::new, |site| {
        format!(", largest change {:.3} (layer {} {})", site.relative, site.layer, site.projection)
    });
    format!("{how}: {} pairs{losses}{size}", report.pairs)
}
