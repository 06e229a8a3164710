//! Turns the agent's events into lines of the conversation and news for the page.

#[cfg(test)]
mod tests;

use tmem_core::card::Card;
use tmem_core::fast::{SiteNorm, WriteOutcome, WriteReport};
use tmem_core::rollout::{self, Event, Passage, Speaker, Warning};

use crate::format::{count, sentence};
use crate::log::{Answer, Content, Entry, Log, WriteSummary};
use crate::protocol::{Activity, News};

/// Ids kept free before each turn: memory may have to be written before it is answered, and those lines stand above it.
const SPARE: u64 = 8;

/// Keeps the log.
#[derive(Debug, Default)]
pub struct Scribe {
    log: Log,
    turn: Option<OpenTurn>,
    write: Option<OpenWrite>,
    norms: Vec<SiteNorm>,
}

#[derive(Debug)]
struct OpenTurn {
    id: u64,
    began: f64,
    spare: u64,
    /// When the first token came.
    spoke: Option<f64>,
}

#[derive(Debug)]
struct OpenWrite {
    id: u64,
    began: f64,
    summary: WriteSummary,
}

impl Scribe {
    /// A scribe that goes on with a log.
    pub fn new(log: Log, norms: Vec<SiteNorm>) -> Self {
        Self { log, norms, ..Self::default() }
    }

    /// The log so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Size of Δ at each site after the last write.
    pub fn norms(&self) -> &[SiteNorm] {
        &self.norms
    }

    /// Sets the size of Δ at each site: after a load or a reset.
    pub fn set_norms(&mut self, norms: Vec<SiteNorm>) {
        self.norms = norms;
    }

    /// The run is over: nothing is on its way any more.
    pub fn end_run(&mut self) {
        self.turn = None;
        self.write = None;
        self.log.close();
    }

    /// Adds a line of its own.
    pub fn note(&mut self, text: String) -> News {
        let id = self.next_id();
        self.put(id, Content::Notice { text })
    }

    /// Takes in an event that happened at `now` (seconds on any clock).
    pub fn observe(&mut self, event: Event, now: f64) -> Vec<News> {
        match event {
            Event::TurnStarted { text, .. } => self.begin_turn(text, now),
            Event::Token { speaker, text, .. } => self.token(speaker, text, now),
            Event::Answer(answer) => self.answered(answer, now),
            Event::WritingStarted { .. } => vec![doing(Activity::Writing)],
            Event::CardsWritten { cards, dropped } => self.cards(cards, dropped.len(), now),
            Event::CardsKept { .. } => self.kept(now),
            Event::MemoryWritten { passages, .. } => vec![self.note(remembered(&passages))],
            Event::LearningStarted { cards, from_zero, .. } => self.learning(cards, from_zero, now),
            Event::Step(step) => {
                if let Some(write) = &mut self.write {
                    write.summary.losses.push(step.loss);
                }
                vec![News::Step(step)]
            }
            Event::WriteFinished(report) => self.trained(report, now),
            Event::ContextCleared { .. } => {
                let id = self.next_id();
                vec![self.put(id, Content::Cleared)]
            }
            Event::CardForgotten { .. } | Event::CardEdited { .. } => self.changed(),
            Event::Warning(Warning::NothingWritten { dropped }) => self.nothing_written(dropped, now),
            Event::Warning(warning) => vec![self.note(sentence(&warning.to_string()))],
            Event::Gate { .. }
            | Event::Segment(_)
            | Event::TurnFinished { .. }
            | Event::Trigger { .. }
            | Event::Reset => Vec::new(),
        }
    }

    /// Where the next line goes: above an open turn that is not answered yet, else at the end.
    fn next_id(&mut self) -> u64 {
        match &mut self.turn {
            Some(turn) if turn.spoke.is_none() && turn.spare < turn.id => {
                turn.spare += 1;
                turn.spare - 1
            }
            _ => self.log.entries().last().map_or(0, |entry| entry.id + 1),
        }
    }

    fn put(&mut self, id: u64, content: Content) -> News {
        let entry = Entry { id, content };
        self.log.put(entry.clone());
        News::Entry { entry: Box::new(entry) }
    }

    fn begin_turn(&mut self, question: String, began: f64) -> Vec<News> {
        self.turn = None;
        let spare = self.next_id();
        let id = spare + SPARE;
        self.turn = Some(OpenTurn { id, began, spare, spoke: None });
        let content = Content::Turn { question, answer: Answer::default(), twin: None };
        vec![self.put(id, content), doing(Activity::Answering)]
    }

    fn token(&mut self, speaker: Speaker, text: String, now: f64) -> Vec<News> {
        let twin = match speaker {
            Speaker::Agent => false,
            Speaker::Twin => true,
            Speaker::Writer => return Vec::new(),
        };
        let Some(turn) = &mut self.turn else { return Vec::new() };
        let first = turn.spoke.is_none();
        turn.spoke.get_or_insert(now);
        let entry = turn.id;
        self.log.extend(entry, twin, &text);
        let mut news = Vec::new();
        if first {
            news.push(doing(Activity::Answering));
        }
        news.push(News::Token { entry, twin, text });
        news
    }

    fn answered(&mut self, answer: rollout::Answer, now: f64) -> Vec<News> {
        let Some(turn) = self.turn.take() else { return Vec::new() };
        let took = Answer {
            seconds: now - turn.began,
            first_after: turn.spoke.map_or(0.0, |spoke| spoke - turn.began),
            prompt_tokens: answer.prompt_tokens,
            ..Answer::default()
        };
        let twin = answer.twin.map(|twin| Answer {
            text: twin.text,
            finish: Some(twin.finish),
            tokens: twin.tokens,
            ..took.clone()
        });
        let own =
            Answer { text: answer.text, finish: Some(answer.finish), gate: answer.gate, tokens: answer.tokens, ..took };
        vec![self.put(turn.id, Content::Turn { question: answer.question, answer: own, twin })]
    }

    fn cards(&mut self, cards: Vec<Card>, dropped: usize, now: f64) -> Vec<News> {
        let summary = WriteSummary { count: cards.len(), cards, dropped, ..WriteSummary::default() };
        if summary.cards.is_empty() {
            // `NothingWritten` follows and makes the line.
            return Vec::new();
        }
        let id = self.next_id();
        self.write = Some(OpenWrite { id, began: now, summary: summary.clone() });
        vec![self.put(id, Content::Write(Box::new(summary)))]
    }

    fn learning(&mut self, cards: usize, from_zero: bool, now: f64) -> Vec<News> {
        let news = doing(Activity::Training);
        // The cards of an ordinary write have made their line already.
        if !from_zero {
            return vec![news];
        }
        let mut write = match self.write.take() {
            // Retraining takes several writes; they are one line.
            Some(write) => write,
            None => {
                let summary = WriteSummary { retrained: true, ..WriteSummary::default() };
                OpenWrite { id: self.next_id(), began: now, summary }
            }
        };
        write.summary.count += cards;
        let line = self.put(write.id, Content::Write(Box::new(write.summary.clone())));
        self.write = Some(write);
        vec![news, line]
    }

    fn trained(&mut self, report: WriteReport, now: f64) -> Vec<News> {
        let learned = matches!(report.outcome, WriteOutcome::Completed | WriteOutcome::StoppedEarly);
        if learned {
            self.norms = report.norms;
        }
        let Some(write) = &mut self.write else { return Vec::new() };
        write.summary.outcome = Some(report.outcome);
        write.summary.delta = report.delta;
        write.summary.seconds = now - write.began;
        let (id, summary) = (write.id, write.summary.clone());
        if !summary.retrained {
            self.write = None;
        }
        vec![self.put(id, Content::Write(Box::new(summary)))]
    }

    /// The cards of a write are kept without training.
    fn kept(&mut self, now: f64) -> Vec<News> {
        let Some(mut write) = self.write.take() else { return Vec::new() };
        write.summary.kept = true;
        write.summary.outcome = Some(WriteOutcome::Completed);
        write.summary.seconds = now - write.began;
        vec![self.put(write.id, Content::Write(Box::new(write.summary)))]
    }

    /// A card was changed or forgotten. Where cards are left that shows as a retraining.
    fn changed(&mut self) -> Vec<News> {
        match self.write.take() {
            Some(_) => Vec::new(),
            None => {
                let learned = self.norms.iter().any(|site| site.relative > 0.0);
                for site in &mut self.norms {
                    site.relative = 0.0;
                }
                let text = match learned {
                    true => "No card is left: the fast weights are back at zero.",
                    false => "The cards have changed.",
                };
                vec![self.note(text.to_owned())]
            }
        }
    }

    fn nothing_written(&mut self, dropped: usize, now: f64) -> Vec<News> {
        let began = self.write.take().map_or(now, |write| write.began);
        let outcome = Some(WriteOutcome::Nothing);
        let summary = WriteSummary { dropped, outcome, seconds: now - began, ..WriteSummary::default() };
        let id = self.next_id();
        vec![self.put(id, Content::Write(Box::new(summary)))]
    }
}

fn remembered(passages: &[Passage]) -> String {
    match passages {
        [Passage { turn: None, .. }] => "The summary was rewritten.".to_owned(),
        turns => format!("{} can be brought back later.", count(turns.len(), "turn")),
    }
}

fn doing(activity: Activity) -> News {
    News::Doing { activity }
}
