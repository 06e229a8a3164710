//! The writer for small models: the answer first, as a span copied from what the person said, then its question.
//!
//! A model of 135 million weights does not write usable JSON, and asked for questions it invents answers. So the
//! answer is copied, never generated:
//! 1. Rules find spans together with the question they answer ("I live in Ghent": "Where do I live?"), several
//!    wordings, and the answer as a sentence. Plain English only; other languages fall through to 2.
//! 2. For names, points in time and numbers in turns that no rule explains the model writes the question, few-shot.
//!    Where it writes none that fits (a model of 135 million weights hardly ever does), the most probable of a few
//!    templates takes its place.
//! 3. Questions of 2 must bring the span back when they are asked about the turn (round trip).
//!
//! A turn that reports what named people said (`Ann said, "I live in Ghent."`) goes the same way by its quoted text, and
//! what is found is put into the third person.

mod inverted;
mod pattern;
mod rules;
pub(super) mod speaker;
#[cfg(test)]
mod tests;
mod text;
mod verbs;

use self::inverted::inverted_cards;
use self::pattern::is_function_word;
use self::rules::{Found, core_of, is_time, loose_spans, rule_cards, subject_card};
use self::speaker::{Quoted, Reader, quoted_card, quoted_question};
use self::text::{second_person, sentences};
use super::{Draft, DropReason, Dropped, Writer, WriterInput, WriterOutput, sample};
use crate::abort::Abort;
use crate::message::Message;
use crate::rollout::event::Event;
use crate::rollout::policy::{GenerateRequest, Policy, PolicyError, Sampling, ScoreRequest, Weights};

/// How the model's question begins.
const QUESTION_PREFIX: &str = "Question:";
/// Most tokens of a question.
const QUESTION_TOKENS: usize = 18;
/// Most tokens of a round trip's answer.
const ROUND_TRIP_TOKENS: usize = 20;
/// Most spans the model is asked about in one write.
const MAX_SPANS: usize = 32;
/// Most bytes of a turn that are looked at; the rest of a longer one (a pasted document) is not a statement about the
/// person.
const MAX_TURN: usize = 8 * 1024;

const INSTRUCTION: &str = "Write one short question that the user could ask later about the answer. The question says \
                           \"I\" or \"my\" and does not contain the answer.\n\n";

/// (text, answer, question).
const EXAMPLES: [(&str, &str, &str); 6] = [
    ("My sister Olga came by with her kids.", "Olga", "What is my sister's name?"),
    ("I finally sold the old Toyota yesterday.", "Toyota", "Which car did I own?"),
    ("We are flying to Lisbon in May, I can't wait.", "Lisbon", "Where am I flying to?"),
    ("I dropped my keys at the Blue Lion last night.", "Blue Lion", "Where did I drop my keys?"),
    ("Can you believe I am 45 today?", "45", "How old am I?"),
    ("My colleague Ben gave me his Canon for the trip.", "Canon", "Which camera do I have for the trip?"),
];

/// Questions about a name: true of whatever was said, so that none invents a fact.
const NAME_TEMPLATES: [&str; 5] = [
    "Which name did I mention?",
    "Which person did I mention?",
    "Which place did I mention?",
    "Which company did I mention?",
    "Which thing did I mention?",
];
/// Questions about a point in time.
const TIME_TEMPLATES: [&str; 3] =
    ["Which day did I mention?", "Which date did I mention?", "Which time did I mention?"];
/// Questions about a number.
const NUMBER_TEMPLATES: [&str; 2] = ["Which number did I mention?", "Which year did I mention?"];

/// Words a question may bring in although the turn does not have them.
const TYPE_WORDS: [&str; 24] = [
    "name", "place", "city", "town", "country", "date", "day", "time", "number", "kind", "thing", "person", "people",
    "old", "many", "much", "year", "month", "company", "brand", "what", "where", "how", "i'm",
];

/// The writer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerFirst;

/// A span whose question the model writes.
struct Loose {
    turn: usize,
    text: String,
    span: String,
    /// Who said the text, where that is not the user.
    quoted: Option<Quoted>,
}

impl Loose {
    /// A question of the first person, about whoever said the text; nothing where that cannot be put for certain.
    fn asked(&self, question: &str) -> Option<String> {
        match &self.quoted {
            Some(quoted) => quoted_question(question, quoted),
            None => Some(question.to_owned()),
        }
    }

    /// The text as somebody tells it to the model.
    fn told(&self) -> String {
        match &self.quoted {
            Some(quoted) => format!("{} said, \"{}\"", quoted.name, self.text),
            None => self.text.clone(),
        }
    }

    /// The sentence that has the span, as the answer to a question.
    fn answer(&self) -> String {
        if let Some(quoted) = &self.quoted {
            return quoted_card(&self.span, quoted);
        }
        let said = sentences(&self.text).into_iter().find(|s| s.contains(&self.span)).unwrap_or(&self.text);
        format!("{}.", second_person(said))
    }
}

impl Writer for AnswerFirst {
    async fn write<P: Policy>(
        &self,
        policy: &mut P,
        input: &WriterInput<'_>,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        let mut output = WriterOutput::default();
        let mut cards: Vec<(usize, Found)> = Vec::new();
        let mut loose = Vec::new();
        let mut reader = Reader::default();
        let speeches: Vec<_> = input.turns.iter().map(|turn| reader.read(&turn.user)).collect();
        let mut speakers: Vec<String> = speeches.iter().flatten().map(|speech| speech.name.clone()).collect();
        speakers.sort_unstable();
        speakers.dedup();
        for (turn, speeches) in input.turns.iter().zip(&speeches) {
            for speech in speeches {
                let (found, spans) = speaker::cards(speech, &speakers);
                cards.extend(found.into_iter().map(|card| (turn.index, card)));
                let quoted = Quoted { name: speech.name.clone(), text: speech.text.clone() };
                loose.extend(spans.into_iter().map(|span| Loose {
                    turn: turn.index,
                    text: speech.text.clone(),
                    span,
                    quoted: Some(quoted.clone()),
                }));
            }
            if !speeches.is_empty() {
                continue;
            }
            let text = squeeze(&turn.user);
            let found = found_by_rules(&text);
            if found.is_empty() {
                let spans = loose_spans(&text, &found);
                loose.extend(spans.into_iter().map(|span| Loose {
                    turn: turn.index,
                    text: text.clone(),
                    span,
                    quoted: None,
                }));
            }
            cards.extend(found.into_iter().map(|card| (turn.index, card)));
        }
        let mut loose = askable(policy, loose, &mut output.dropped)?;
        for skipped in loose.drain(MAX_SPANS.min(loose.len())..) {
            output.dropped.push(Dropped::new(DropReason::OverLimit, &skipped.span));
        }
        if !loose.is_empty() {
            cards.extend(self.ask_model(policy, loose, &mut output, observe, abort).await?);
        }
        if output.aborted {
            return Ok(output);
        }
        let cards = keep_last(cards, &mut output.dropped);
        let wordings = input.settings.rollout.wordings;
        output.drafts = cards.into_iter().map(|(turn, card)| draft(card, Some(turn), wordings)).collect();
        Ok(output)
    }
}

impl AnswerFirst {
    /// Stages 2 and 3.
    async fn ask_model<P: Policy>(
        &self,
        policy: &mut P,
        loose: Vec<Loose>,
        output: &mut WriterOutput,
        observe: &mut dyn FnMut(Event),
        abort: &Abort,
    ) -> Result<Vec<(usize, Found)>, PolicyError> {
        let ask = |span: &Loose| request(vec![ask_prompt(&span.text, &span.span)], QUESTION_PREFIX, QUESTION_TOKENS);
        let requests: Vec<_> = loose.iter().map(ask).collect();
        let (generations, aborted) = sample(policy, &requests, observe, abort).await?;
        output.aborted |= aborted;
        if output.aborted {
            return Ok(Vec::new());
        }
        let mut questions = Vec::with_capacity(loose.len());
        for (span, generation) in loose.into_iter().zip(generations) {
            let written = generation.text.trim().to_owned();
            let written = fits(&written, &span.span, &span.text).then(|| span.asked(&written)).flatten();
            let question = match written {
                Some(question) => question,
                None => {
                    let template = best_template(policy, &span).await?;
                    span.asked(&template).unwrap_or(template)
                }
            };
            questions.push((span, question));
        }
        let round_trip = |(span, question): &(Loose, String)| {
            let messages =
                vec![Message::user(span.told()), Message::assistant("Noted!"), Message::user(question.as_str())];
            request(messages, "", ROUND_TRIP_TOKENS)
        };
        let requests: Vec<_> = questions.iter().map(round_trip).collect();
        let (generations, aborted) = sample(policy, &requests, observe, abort).await?;
        output.aborted |= aborted;
        let mut cards = Vec::new();
        for ((span, question), generation) in questions.into_iter().zip(generations) {
            let core = core_of(&span.span).to_lowercase();
            if !generation.text.to_lowercase().contains(&core) {
                output.dropped.push(Dropped::new(DropReason::NotAnswered, &format!("{question} {}", span.span)));
                continue;
            }
            let answer = span.answer();
            let wordings = reworded(&question);
            cards.push((span.turn, Found::new(question, answer, &span.span, wordings)));
        }
        Ok(cards)
    }
}

/// The spans that the model can be asked about: where it cannot read the examples and the whole turn, with the sentence
/// in place of the turn. Those for which not even that fits are dropped.
fn askable<P: Policy>(policy: &P, loose: Vec<Loose>, dropped: &mut Vec<Dropped>) -> Result<Vec<Loose>, PolicyError> {
    let room = policy.context_length().saturating_sub(QUESTION_PREFIX.len() + QUESTION_TOKENS);
    let mut askable = Vec::with_capacity(loose.len());
    for mut span in loose {
        let fits = |text: &str| Ok::<_, PolicyError>(policy.count_tokens(&[ask_prompt(text, &span.span)])? <= room);
        if !fits(&span.text)? {
            let sentence = sentences(&span.text).into_iter().find(|sentence| sentence.contains(&span.span));
            match sentence {
                Some(sentence) if fits(sentence)? => span.text = sentence.to_owned(),
                _ => {
                    dropped.push(Dropped::new(DropReason::TooLong, &span.span));
                    continue;
                }
            }
        }
        askable.push(span);
    }
    Ok(askable)
}

/// The frozen model writes: what Δ has learned so far must not colour what is learned next.
fn request(messages: Vec<Message>, prefix: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        messages,
        assistant_prefix: prefix.to_owned(),
        max_tokens,
        sampling: Sampling::default(),
        weights: Weights::Frozen,
        stop: vec!["\n".to_owned()],
    }
}

fn ask_prompt(text: &str, span: &str) -> Message {
    let examples: String =
        EXAMPLES.iter().map(|(t, a, q)| format!("Text: {t}\nAnswer: {a}\nQuestion: {q}\n\n")).collect();
    Message::user(format!("{INSTRUCTION}{examples}Text: {text}\nAnswer: {span}"))
}

/// The template that the model finds most probable per token as the question of a span.
async fn best_template<P: Policy>(policy: &mut P, span: &Loose) -> Result<String, PolicyError> {
    let templates: &[&str] = match &span.span {
        text if is_time(text) => &TIME_TEMPLATES,
        text if text.starts_with(|c: char| c.is_ascii_digit()) => &NUMBER_TEMPLATES,
        _ => &NAME_TEMPLATES,
    };
    let request = |template: &&str| ScoreRequest {
        messages: vec![ask_prompt(&span.text, &span.span)],
        assistant_prefix: QUESTION_PREFIX.to_owned(),
        continuation: format!(" {template}"),
        weights: Weights::Frozen,
    };
    let requests: Vec<_> = templates.iter().map(request).collect();
    let scores = policy.score(&requests).await?;
    let mean = |at: usize| scores.get(at).map_or(f32::NEG_INFINITY, |s| s.log_probability / s.tokens.max(1) as f32);
    let best = (0..templates.len()).max_by(|&a, &b| mean(a).total_cmp(&mean(b))).unwrap_or(0);
    Ok(templates[best].to_owned())
}

/// Whether a model's question is one, is about the person, does not give the answer away, and names nothing that
/// neither the turn nor [`TYPE_WORDS`] has: a small model otherwise copies nouns from the examples.
fn fits(question: &str, span: &str, turn: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let between = |c: char| !(c.is_alphanumeric() || c == '_' || c == '\'');
        text.to_lowercase().split(between).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let (asked, said) = (words(question), words(turn));
    let heard = |word: &String| {
        let forms = [word.as_str(), word.trim_end_matches('s'), word.strip_suffix("'s").unwrap_or(word)];
        is_function_word(word)
            || TYPE_WORDS.contains(&word.as_str())
            || forms.iter().any(|form| said.iter().any(|w| w == form))
    };
    let own = ["i", "my", "me", "i'm", "we", "our"];
    let low = question.to_lowercase();
    question.ends_with('?')
        && (3..=14).contains(&asked.len())
        && asked.iter().any(|w| own.contains(&w.as_str()))
        && asked.iter().all(heard)
        && !span.split(' ').any(|part| part.chars().count() > 2 && low.contains(&part.to_lowercase()))
}

/// Wordings that fit any question.
fn reworded(question: &str) -> [String; 3] {
    let low = text::lower_first(question);
    [format!("Do you remember {low}"), format!("Tell me: {low}"), format!("Can you tell me {low}")]
}

/// The same question twice: the later answer holds.
fn keep_last(cards: Vec<(usize, Found)>, dropped: &mut Vec<Dropped>) -> Vec<(usize, Found)> {
    let mut kept: Vec<(usize, Found)> = Vec::with_capacity(cards.len());
    for (turn, card) in cards {
        match kept.iter_mut().find(|(_, k)| k.question.eq_ignore_ascii_case(&card.question)) {
            Some(old) => {
                dropped.push(Dropped::new(DropReason::Duplicate, &format!("{} {}", old.1.question, old.1.answer)));
                *old = (turn, card);
            }
            None => kept.push((turn, card)),
        }
    }
    kept
}

fn draft(card: Found, source_turn: Option<usize>, most_wordings: usize) -> Draft {
    let mut wordings = card.wordings;
    wordings.truncate(most_wordings);
    Draft { question: card.question, wordings, answer: card.answer, source_turn }
}

/// The cards that rules alone write of what a user said, each with at most `wordings` further wordings: what the writer
/// does where it needs no model.
pub fn drafts_by_rules(user: &str, wordings: usize) -> Vec<Draft> {
    found_by_rules(&squeeze(user)).into_iter().map(|card| draft(card, None, wordings)).collect()
}

/// The first set of rules that finds anything decides.
fn found_by_rules(text: &str) -> Vec<Found> {
    let mut found = rule_cards(text);
    if found.is_empty() {
        found = inverted_cards(text);
    }
    if found.is_empty() {
        found.extend(subject_card(text));
    }
    found
}

/// One line with single spaces, at most [`MAX_TURN`] bytes of it.
fn squeeze(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TURN)].split_whitespace().collect::<Vec<_>>().join(" ")
}
