//! One episode: what is written into Δ, and what is asked afterwards.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};
use tmem_core::card::Card;
use tmem_core::fast::unknown_cards;
use tmem_core::message::Message;
use tmem_core::rollout::writer::json;

use super::Texts;
use crate::LearnError;
use crate::model::{Anchor, Sequence, Target};

/// A part of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// How many sequences.
    pub count: usize,
    /// Weight of their mean loss a token.
    pub weight: f32,
}

impl Part {
    const fn new(count: usize, weight: f32) -> Self {
        Self { count, weight }
    }
}

/// How large an episode is, and what its parts weigh.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeSettings {
    /// Cards that are written; 0 = nothing is written, and nothing is asked under Δ.
    pub cards: usize,
    /// Wordings of each that are trained, the question among them.
    pub wordings: usize,
    /// Questions about what was never told in every batch of the write (the agent's `fast.unknown_cards`).
    pub write_unknown: usize,
    /// Held-out wordings of each card that are asked under Δ; the answer is the card's.
    pub held_out: Part,
    /// Questions under Δ about what it does not hold; the answer says so.
    pub unknown: Part,
    /// Questions without Δ, about what is told somewhere and what is not; the answer says that it is not known, in
    /// words that begin like the answer that a card would give.
    pub before: Part,
    /// Pieces of the conversation that are in the context, without Δ, while something told in them is asked for.
    pub reading: Part,
    /// Pieces of the conversation whose cards are written, without Δ.
    pub transcripts: Part,
    /// Ordinary prompts without Δ, held to the base model by KL(base ‖ current).
    pub ordinary: Part,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        Self {
            cards: 6,
            wordings: 4,
            write_unknown: 0,
            held_out: Part::new(1, 1.0),
            unknown: Part::new(3, 0.5),
            before: Part::new(3, 0.5),
            reading: Part::new(1, 0.5),
            transcripts: Part::new(0, 0.5),
            ordinary: Part::new(2, 0.5),
        }
    }
}

/// A prompt and the reply to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What the user says.
    pub user: String,
    /// What the assistant says.
    pub assistant: String,
}

/// A question in all its wordings, with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Wordings for training.
    pub wordings: Vec<String>,
    /// Wordings for asking.
    pub held_out: Vec<String>,
    /// The answer.
    pub answer: String,
    /// What to say to the question as long as nothing has been told; where that is the answer itself, nothing.
    pub not_known: Option<String>,
}

impl Asked {
    /// One of all wordings.
    fn any_wording(&self, random: &mut impl Rng) -> Option<&String> {
        let all: Vec<&String> = self.wordings.iter().chain(&self.held_out).collect();
        all.choose(random).copied()
    }

    /// Any wording, with what to say where nothing was told.
    fn unanswered(&self, random: &mut impl Rng) -> Option<(&str, &str)> {
        let answer = self.not_known.as_ref()?;
        Some((self.any_wording(random)?, answer))
    }
}

/// A piece of a conversation with the cards that a perfect writer would write of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transcript {
    /// What is said.
    pub turns: Vec<Exchange>,
    /// Questions and answers; none where nothing in it is worth keeping.
    pub cards: Vec<(String, String)>,
}

/// What episodes are drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EpisodeTexts {
    /// Facts.
    pub known: Vec<Asked>,
    /// Questions about what was never told; the answer says so.
    pub unknown: Vec<Asked>,
    /// The conversation in pieces.
    pub transcripts: Vec<Transcript>,
}

/// An episode as sequences, all targets of weight 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Episode {
    /// What is written, under Δ number 0: the first wording of every card, then the second, and so on, each with some
    /// questions about what was never told.
    pub(super) written: Vec<Vec<Sequence>>,
    /// The same cards in held-out wordings, under Δ.
    pub(super) held_out: Vec<Sequence>,
    /// Questions about what Δ does not hold, under Δ.
    pub(super) unknown: Vec<Sequence>,
    /// Questions without Δ.
    pub(super) before: Vec<Sequence>,
    /// Questions that the context answers.
    pub(super) reading: Vec<Sequence>,
    /// Cards of pieces of the conversation.
    pub(super) writing: Vec<Sequence>,
    /// The base model's own replies to ordinary prompts.
    pub(super) ordinary: Vec<Sequence>,
}

impl Episode {
    /// What the simulated write learns, in batches that hold every card once, as the agent's do.
    pub(super) fn written(&self) -> Vec<Vec<Sequence>> {
        let mut written = self.written.clone();
        written.iter_mut().for_each(|batch| weigh(batch, 1.0));
        written
    }

    /// What θ0 is trained on, with the weights of the loss. `share` is the episode's share of the step's loss.
    pub(super) fn lesson(&self, settings: &EpisodeSettings, share: f32) -> Vec<Sequence> {
        let mut lesson = Vec::new();
        for (sequences, part) in [
            (&self.held_out, settings.held_out),
            (&self.unknown, settings.unknown),
            (&self.before, settings.before),
            (&self.reading, settings.reading),
            (&self.writing, settings.transcripts),
        ] {
            let mut sequences = sequences.clone();
            weigh(&mut sequences, share * part.weight);
            lesson.extend(sequences);
        }
        let mut ordinary = self.ordinary.clone();
        weigh(&mut ordinary, share * settings.ordinary.weight);
        for sequence in &mut ordinary {
            let targets = std::mem::take(&mut sequence.targets);
            let anchor = |target: Target| Anchor { position: target.position, weight: target.weight };
            sequence.anchors = targets.into_iter().map(anchor).collect();
        }
        lesson.extend(ordinary);
        lesson
    }
}

impl EpisodeTexts {
    /// Draws an episode.
    pub(super) fn draw(
        &self,
        texts: Texts<'_>,
        ordinary: &[Exchange],
        settings: &EpisodeSettings,
        random: &mut impl Rng,
    ) -> Result<Episode, LearnError> {
        let mut known: Vec<&Asked> = self.known.iter().collect();
        known.shuffle(random);
        let not_written = known.split_off(settings.cards.min(known.len()));
        let sequence = |question: &str, answer: &str| {
            Ok::<_, LearnError>(Sequence::answered(
                &texts.prompt(&[Message::user(question)])?,
                &texts.answer(answer)?,
                1.0,
            ))
        };
        let mut episode = Episode::default();
        let mut untold = self.untold();
        untold.shuffle(random);
        if !known.is_empty() {
            let wordings = settings.wordings.clamp(1, known.iter().map(|card| card.wordings.len()).max().unwrap_or(1));
            let mut learned = untold.iter().cycle();
            for wording in 0..wordings {
                let mut batch = Vec::new();
                for card in &known {
                    let wording = card.wordings.iter().cycle().nth(wording);
                    batch.extend(wording.map(|wording| sequence(wording, &card.answer)).transpose()?);
                }
                for card in learned.by_ref().take(settings.write_unknown) {
                    batch.push(sequence(&card.question, &card.answer)?);
                }
                episode.written.push(batch.into_iter().map(|sequence| sequence.under(0, 1.0)).collect());
            }
            for card in &known {
                let mut held_out: Vec<&String> = card.held_out.iter().collect();
                held_out.shuffle(random);
                for wording in held_out.into_iter().take(settings.held_out.count) {
                    episode.held_out.push(sequence(wording, &card.answer)?.under(0, 1.0));
                }
            }
            untold.drain(..(wordings * settings.write_unknown).min(untold.len()));
        }
        let mut unknown: Vec<(&str, &str)> = Vec::new();
        for question in &self.unknown {
            unknown.extend(question.any_wording(random).map(|wording| (wording.as_str(), question.answer.as_str())));
        }
        let mut before = unknown.clone();
        unknown.extend(not_written.iter().filter_map(|card| card.unanswered(random)));
        // Fewer of the kind that has nothing to do with the conversation.
        untold.truncate(unknown.len().div_ceil(4));
        unknown.extend(untold.iter().map(|card| (card.question.as_str(), card.answer.as_str())));
        unknown.shuffle(random);
        if !known.is_empty() {
            for (wording, answer) in unknown.into_iter().take(settings.unknown.count) {
                episode.unknown.push(sequence(wording, answer)?.under(0, 1.0));
            }
        }
        before.extend(self.known.iter().filter_map(|card| card.unanswered(random)));
        before.shuffle(random);
        for (wording, answer) in before.into_iter().take(settings.before.count) {
            episode.before.push(sequence(wording, answer)?);
        }
        let mut transcripts: Vec<&Transcript> = self.transcripts.iter().collect();
        transcripts.shuffle(random);
        for transcript in transcripts {
            if episode.writing.len() == settings.transcripts.count {
                break;
            }
            let cards = transcript.cards.iter().map(|(question, answer)| (question.as_str(), answer.as_str()));
            let (prompt, answer) = (texts.writing(&transcript.turns)?, texts.answer(&json::array(cards))?);
            // What the model cannot read whole it will not be asked to write of.
            if prompt.len() + answer.len() <= texts.context() {
                episode.writing.push(Sequence::answered(&prompt, &answer, 1.0));
            }
        }
        let mut told: Vec<&Transcript> = self.transcripts.iter().filter(|piece| !piece.cards.is_empty()).collect();
        told.shuffle(random);
        for piece in told {
            if episode.reading.len() == settings.reading.count {
                break;
            }
            let exchanges = piece
                .turns
                .iter()
                .flat_map(|turn| [Message::user(turn.user.as_str()), Message::assistant(turn.assistant.as_str())]);
            let Some((question, answer)) = piece.cards.choose(random) else { continue };
            let messages: Vec<Message> = exchanges.chain([Message::user(question.as_str())]).collect();
            let (prompt, answer) = (texts.prompt(&messages)?, texts.answer(answer)?);
            if prompt.len() + answer.len() <= texts.context() {
                episode.reading.push(Sequence::answered(&prompt, &answer, 1.0));
            }
        }
        let mut ordinary: Vec<&Exchange> = ordinary.iter().collect();
        ordinary.shuffle(random);
        ordinary.truncate(settings.ordinary.count);
        for exchange in ordinary {
            episode.ordinary.push(sequence(&exchange.user, &exchange.assistant)?);
        }
        Ok(episode)
    }

    /// The agent's own questions about what was never told, those that no fact speaks of.
    fn untold(&self) -> Vec<Card> {
        let card = |asked: &Asked| Card {
            id: 0,
            question: asked.wordings.first().cloned().unwrap_or_default(),
            wordings: asked.wordings.iter().skip(1).chain(&asked.held_out).cloned().collect(),
            answer: asked.answer.clone(),
            source_turn: None,
        };
        let known: Vec<Card> = self.known.iter().map(card).collect();
        unknown_cards(known.iter())
    }
}

/// Gives all targets equal weights that sum to `total`.
fn weigh(sequences: &mut [Sequence], total: f32) {
    let targets: usize = sequences.iter().map(|sequence| sequence.targets.len()).sum();
    for target in sequences.iter_mut().flat_map(|sequence| &mut sequence.targets) {
        target.weight = total / targets.max(1) as f32;
    }
}
