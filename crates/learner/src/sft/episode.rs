//! One episode: what is written into Δ, and what is asked afterwards.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};
use tmem_core::message::Message;
use tmem_core::rollout::writer::json;

use super::{Texts, near};
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
    /// Questions about what was never told, or told and not written, each asked with Δ and without.
    pub unknown: usize,
    /// Questions that differ from a written card in whom or what they ask about, asked with Δ.
    pub near: usize,
    /// Pieces of the conversation that are in the context, without Δ, while something told in them is asked for.
    pub reading: usize,
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
            near: 0,
            reading: 1,
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

/// An episode as sequences, all targets of weight 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Episode {
    /// What is written, under Δ number 0: the first wording of every card, then the second, and so on.
    pub(super) written: Vec<Vec<Sequence>>,
    /// The same cards in held-out wordings, under Δ.
    pub(super) held_out: Vec<Sequence>,
    /// Questions about what Δ does not hold, each under Δ and without; those that are near to a card under Δ alone.
    pub(super) unknown: Vec<Sequence>,
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
        let mut lesson = [self.held_out.as_slice(), &self.unknown, &self.reading].concat();
        weigh(&mut lesson, share);
        let mut writing = self.writing.clone();
        weigh(&mut writing, share * settings.transcripts_weight);
        let mut ordinary = self.ordinary.clone();
        let positions: usize = ordinary.iter().map(|sequence| sequence.targets.len()).sum();
        let weight = share * settings.ordinary_weight / positions.max(1) as f32;
        for sequence in &mut ordinary {
            let targets = std::mem::take(&mut sequence.targets);
            sequence.anchors = targets.into_iter().map(|t| Anchor { position: t.position, weight }).collect();
        }
        lesson.extend(writing);
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
        let wordings = settings.wordings.clamp(1, known.iter().map(|card| card.wordings.len()).max().unwrap_or(1));
        episode.written.resize_with(wordings, Vec::new);
        let near = if settings.near > 0 { near::questions(&known, &self.known, random) } else { Vec::new() };
        for card in known {
            for (batch, wording) in episode.written.iter_mut().zip(card.wordings.iter().cycle()) {
                batch.push(sequence(wording, &card.answer)?.under(0, 1.0));
            }
            let mut held_out: Vec<&String> = card.held_out.iter().collect();
            held_out.shuffle(random);
            for wording in held_out.into_iter().take(settings.held_out) {
                episode.held_out.push(sequence(wording, &card.answer)?.under(0, 1.0));
            }
        }
        let mut unknown: Vec<(&String, &String)> = Vec::new();
        for question in &self.unknown {
            unknown
                .extend(question.wordings.iter().chain(&question.held_out).map(|wording| (wording, &question.answer)));
        }
        let answers: Vec<&String> = self.unknown.iter().map(|question| &question.answer).collect();
        let mut answers = answers.into_iter().cycle();
        for (question, answer) in near.into_iter().take(settings.near).zip(&mut answers) {
            episode.unknown.push(sequence(&question, answer)?.under(0, 1.0));
        }
        for (card, answer) in not_written.into_iter().zip(answers) {
            unknown.extend(card.wordings.iter().chain(&card.held_out).map(|wording| (wording, answer)));
        }
        unknown.shuffle(random);
        for (wording, answer) in unknown.into_iter().take(settings.unknown) {
            let sequence = sequence(wording, answer)?;
            episode.unknown.extend([sequence.clone().under(0, 1.0), sequence]);
        }
        let mut transcripts: Vec<&Transcript> = self.transcripts.iter().collect();
        transcripts.shuffle(random);
        for transcript in transcripts {
            if episode.writing.len() == settings.transcripts {
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
            if episode.reading.len() == settings.reading {
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
        ordinary.truncate(settings.ordinary);
        for exchange in ordinary {
            episode.ordinary.push(sequence(&exchange.user, &exchange.assistant)?);
        }
        Ok(episode)
    }
}

/// Gives all targets equal weights that sum to `total`.
fn weigh(sequences: &mut [Sequence], total: f32) {
    let targets: usize = sequences.iter().map(|sequence| sequence.targets.len()).sum();
    for target in sequences.iter_mut().flat_map(|sequence| &mut sequence.targets) {
        target.weight = total / targets.max(1) as f32;
    }
}
