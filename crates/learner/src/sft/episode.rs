//! One episode: what is written into Δ, and what is asked afterwards.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tmem_core::message::Message;
use tmem_core::rollout::writer::json;

use super::Texts;
use crate::LearnError;
use crate::model::{Anchor, Sequence};

/// How large an episode is, and what its parts weigh.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeSettings {
    /// Cards that are written.
    pub cards: usize,
    /// Wordings of each that are trained, the question among them.
    pub wordings: usize,
    /// Held-out wordings of each that are asked.
    pub held_out: usize,
    /// Questions about what was never told, each asked with Δ and without.
    pub unknown: usize,
    /// Ordinary prompts that are held to the base model.
    pub ordinary: usize,
    /// Weight of KL(base ‖ current) along their replies, against 1 for all answers together.
    pub ordinary_weight: f32,
    /// Pieces of the conversation whose cards are written, without Δ.
    pub transcripts: usize,
    /// Weight of those cards, against 1 for all answers together.
    pub transcripts_weight: f32,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        Self {
            cards: 6,
            wordings: 4,
            held_out: 2,
            unknown: 3,
            ordinary: 2,
            ordinary_weight: 0.5,
            transcripts: 0,
            transcripts_weight: 0.5,
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

/// An episode as sequences; their weights are those of the loss.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Episode {
    /// What is written, under Δ number 0.
    pub(super) written: Vec<Sequence>,
    /// What is asked afterwards.
    pub(super) asked: Vec<Sequence>,
}

impl EpisodeTexts {
    /// Draws an episode. `share` is its share of the step's loss.
    pub(super) fn draw(
        &self,
        texts: Texts<'_>,
        ordinary: &[Exchange],
        settings: &EpisodeSettings,
        share: f32,
        random: &mut impl Rng,
    ) -> Result<Episode, LearnError> {
        let mut known: Vec<&Asked> = self.known.iter().collect();
        known.shuffle(random);
        known.truncate(settings.cards);
        let sequence = |question: &str, answer: &str| {
            Ok::<_, LearnError>(Sequence::answered(
                &texts.prompt(&[Message::user(question)])?,
                &texts.answer(answer)?,
                1.0,
            ))
        };
        let (mut written, mut asked) = (Vec::new(), Vec::new());
        for card in known {
            for wording in card.wordings.iter().take(settings.wordings.max(1)) {
                written.push(sequence(wording, &card.answer)?.under(0, 1.0));
            }
            let mut held_out: Vec<&String> = card.held_out.iter().collect();
            held_out.shuffle(random);
            for wording in held_out.into_iter().take(settings.held_out) {
                asked.push(sequence(wording, &card.answer)?.under(0, 1.0));
            }
        }
        let mut unknown: Vec<(&String, &String)> = Vec::new();
        for question in &self.unknown {
            unknown
                .extend(question.wordings.iter().chain(&question.held_out).map(|wording| (wording, &question.answer)));
        }
        unknown.shuffle(random);
        for (wording, answer) in unknown.into_iter().take(settings.unknown) {
            let sequence = sequence(wording, answer)?;
            asked.extend([sequence.clone().under(0, 1.0), sequence]);
        }
        weigh(&mut written, 1.0);
        weigh(&mut asked, share);
        let mut transcripts: Vec<&Transcript> = self.transcripts.iter().collect();
        transcripts.shuffle(random);
        let mut writing = Vec::new();
        for transcript in transcripts {
            if writing.len() == settings.transcripts {
                break;
            }
            let cards = transcript.cards.iter().map(|(question, answer)| (question.as_str(), answer.as_str()));
            let (prompt, answer) = (texts.writing(&transcript.turns)?, texts.answer(&json::array(cards))?);
            // What the model cannot read whole it will not be asked to write of.
            if prompt.len() + answer.len() <= texts.context() {
                writing.push(Sequence::answered(&prompt, &answer, 1.0));
            }
        }
        weigh(&mut writing, share * settings.transcripts_weight);
        let mut ordinary: Vec<&Exchange> = ordinary.iter().collect();
        ordinary.shuffle(random);
        ordinary.truncate(settings.ordinary);
        let mut held = Vec::with_capacity(ordinary.len());
        for exchange in ordinary {
            held.push(sequence(&exchange.user, &exchange.assistant)?);
        }
        let positions: usize = held.iter().map(|sequence| sequence.targets.len()).sum();
        let weight = share * settings.ordinary_weight / positions.max(1) as f32;
        for sequence in &mut held {
            let targets = std::mem::take(&mut sequence.targets);
            sequence.anchors = targets.into_iter().map(|t| Anchor { position: t.position, weight }).collect();
        }
        asked.extend(writing);
        asked.extend(held);
        Ok(Episode { written, asked })
    }
}

/// Gives all targets equal weights that sum to `total`.
fn weigh(sequences: &mut [Sequence], total: f32) {
    let targets: usize = sequences.iter().map(|sequence| sequence.targets.len()).sum();
    for target in sequences.iter_mut().flat_map(|sequence| &mut sequence.targets) {
        target.weight = total / targets.max(1) as f32;
    }
}
