//! Questions about a plan, with their answers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::calendar;
use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::{Subject, Voice};
use super::lexicon::{Kind, Teller};
use super::plan::{Matter, Plan, PlannedFact, stream};
use super::scope::Scope;
use super::template::Template;
use super::text::finish;
use super::value::Value;
use crate::score::normalise;

/// Most wordings for training beside the question itself.
const WORDINGS: usize = 8;

/// LongMemEval's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionType {
    /// Told by the user, once.
    SingleSessionUser,
    /// Told by the assistant.
    SingleSessionAssistant,
    /// A taste that a good reply respects; the answer is a rubric.
    SingleSessionPreference,
    /// Something that changed: the latest counts.
    KnowledgeUpdate,
    /// Needs the dates of sessions.
    TemporalReasoning,
    /// Needs facts of more than one session.
    MultiSession,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Unique among all conversations of a seed; ends in `_abs` where nothing answers the question.
    pub question_id: String,
    /// Its type.
    pub question_type: QuestionType,
    /// The question as first put.
    pub question: String,
    /// Further wordings, for training.
    pub wordings: Vec<String>,
    /// Wordings that are no paraphrases of those by template, for testing; never among the others.
    pub held_out: Vec<String>,
    /// The answer; what to say where there is none.
    pub answer: String,
    /// A right answer contains one of these; empty where the question cannot be answered or the answer is a rubric.
    pub keys: Vec<String>,
    /// Facts that are needed, as indices into [`super::Gold::facts`].
    pub evidence: Vec<usize>,
}

impl Question {
    /// Whether nothing that was told answers it.
    pub fn is_unanswerable(&self) -> bool {
        self.evidence.is_empty()
    }
}

/// A question in all its wordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wordings {
    pub(super) question: String,
    pub(super) wordings: Vec<String>,
    pub(super) held_out: Vec<String>,
}

impl Plan<'_> {
    /// All questions: one for each fact that still holds, sums and spans, tastes, and what was never told. In the order
    /// of the facts; the same for every call.
    ///
    /// # Errors
    /// [`SyntheticError::UnknownSlot`] where a template is broken.
    pub fn questions(&self) -> Result<Vec<Question>, SyntheticError> {
        let mut dice = Dice::new(self.seed, stream::QUESTIONS);
        let mut questions = Vec::new();
        for (index, fact) in self.facts.iter().enumerate() {
            if fact.superseded_by.is_some() {
                continue;
            }
            let wordings = self.wordings(index)?;
            let question_type = match (fact.matter, self.teller(fact)) {
                (Matter::Event(_), _) => QuestionType::TemporalReasoning,
                (_, Teller::Assistant) => QuestionType::SingleSessionAssistant,
                _ if fact.supersedes.is_some() => QuestionType::KnowledgeUpdate,
                _ => QuestionType::SingleSessionUser,
            };
            let answer = self.answer(index, Voice::Assistant, &mut dice)?;
            questions.push(self.question(
                &fact.id,
                question_type,
                wordings,
                answer,
                self.answer_keys(index),
                vec![index],
            ));
            if let Some(preference) = self.kind_of(fact).and_then(|kind| kind.preference.as_ref())
                && fact.subject == Subject::User
            {
                let scope = Scope::new(self.lexicon, &fact.subject, Voice::User).with("value", fact.value.text());
                let question = scope.sentence(&preference.question, "", &mut dice)?;
                let wordings = Wordings { question, wordings: Vec::new(), held_out: Vec::new() };
                let rubric = scope.sentence(&preference.rubric, ".", &mut dice)?;
                let id = format!("{}.taste", fact.id);
                questions.push(self.question(
                    &id,
                    QuestionType::SingleSessionPreference,
                    wordings,
                    rubric,
                    Vec::new(),
                    vec![index],
                ));
            }
        }
        self.compare_events(&mut questions, &mut dice)?;
        self.add_purchases(&mut questions, &mut dice)?;
        self.ask_for_untold(&mut questions, &mut dice)?;
        Ok(questions)
    }

    fn question(
        &self,
        id: &str,
        question_type: QuestionType,
        wordings: Wordings,
        answer: String,
        keys: Vec<String>,
        evidence: Vec<usize>,
    ) -> Question {
        let suffix = if evidence.is_empty() { "_abs" } else { "" };
        Question {
            question_id: format!("{}-{id}{suffix}", self.name),
            question_type,
            question: wordings.question,
            wordings: wordings.wordings,
            held_out: wordings.held_out,
            answer,
            keys,
            evidence,
        }
    }

    /// The question that asks for a fact.
    pub(super) fn wordings(&self, index: usize) -> Result<Wordings, SyntheticError> {
        // A stream for each fact, so that the same fact always gets the same wordings.
        let dice = &mut Dice::new(self.seed, stream::WORDINGS + index as u64);
        let fact = &self.facts[index];
        let scope = Scope::new(self.lexicon, &fact.subject, Voice::User).with("value", fact.value.text());
        match fact.matter {
            Matter::Kind(kind) => self.kind_wordings(&self.lexicon.kinds[kind], &fact.subject, dice),
            Matter::Event(event) => {
                let event = &self.lexicon.happenings.events[event];
                let wording = &self.lexicon.happenings.event_wording;
                let scope = scope.with("did", &event.did).with("do", &event.infinitive);
                self.phrase(&scope, &wording.when_questions, &wording.when_indirect, &wording.when_held_out, dice)
            }
            Matter::Purchase(purchase) => {
                let purchase = &self.lexicon.happenings.purchases[purchase];
                let wording = &self.lexicon.happenings.purchase_wording;
                let scope = scope.with("item", &purchase.item).with("the", &purchase.the);
                self.phrase(&scope, &wording.questions, &wording.indirect, &wording.held_out, dice)
            }
        }
    }

    pub(super) fn kind_wordings(
        &self,
        kind: &Kind,
        subject: &Subject,
        dice: &mut Dice,
    ) -> Result<Wordings, SyntheticError> {
        let scope = Scope::new(self.lexicon, subject, Voice::User);
        self.phrase(&scope, &kind.questions, &kind.indirect, &kind.held_out, dice)
    }

    /// Puts questions into frames. Held-out wordings are sentences of their own.
    fn phrase(
        &self,
        scope: &Scope<'_>,
        direct: &[Template],
        indirect: &[Template],
        held_out: &[Template],
        dice: &mut Dice,
    ) -> Result<Wordings, SyntheticError> {
        let frames = &self.lexicon.frames;
        let mut direct = direct.iter();
        let question = direct.next().map(|first| scope.sentence(first, "?", dice)).transpose()?.unwrap_or_default();
        let held_out = held_out.iter().map(|own| scope.sentence(own, "", dice)).collect::<Result<Vec<_>, _>>()?;
        let mut seen: BTreeSet<String> = held_out.iter().map(|text| normalise(text)).collect();
        seen.insert(normalise(&question));
        let mut wordings = Vec::new();
        let mut add = |text: String| {
            if wordings.len() < WORDINGS && seen.insert(normalise(&text)) {
                wordings.push(text);
            }
        };
        // Every form once as it is, then in random frames.
        let mut plain = vec![question.trim_end_matches('?').to_owned()];
        for form in direct {
            let text = form.expand(scope, dice)?;
            add(finish(&format!("{text}?")));
            plain.push(text);
        }
        for form in indirect {
            let text = form.expand(scope, dice)?;
            let frame = if is_noun_phrase(&text) { &frames.indirect_noun } else { &frames.indirect };
            add(scope.with("q", &text).say(frame, dice)?);
        }
        for _ in 0..3 * WORDINGS {
            let text = match dice.chance(50) {
                true => {
                    let text = dice.pick(&plain).map_or("", String::as_str);
                    let text = if text == plain[0] { lower_first(text) } else { text.to_owned() };
                    scope.with("q", &text).say(&frames.direct, dice)?
                }
                false => {
                    let text = scope.part(indirect, dice)?;
                    if text.is_empty() {
                        continue;
                    }
                    let frame = if is_noun_phrase(&text) { &frames.indirect_noun } else { &frames.indirect };
                    scope.with("q", &text).say(frame, dice)?
                }
            };
            add(text);
        }
        Ok(Wordings { question, wordings, held_out })
    }

    /// The answer that asserts a fact: to the user, or as a note about them.
    pub(super) fn answer(&self, index: usize, voice: Voice, dice: &mut Dice) -> Result<String, SyntheticError> {
        let fact = &self.facts[index];
        let happenings = &self.lexicon.happenings;
        let scope = Scope::new(self.lexicon, &fact.subject, voice).with("value", fact.value.text());
        let answer = match fact.matter {
            Matter::Kind(kind) => {
                let kind = &self.lexicon.kinds[kind];
                let note = kind.statement.as_ref().filter(|_| voice == Voice::Note);
                scope.sentence(note.unwrap_or(&kind.answer), ".", dice)?
            }
            Matter::Event(event) => {
                let date = calendar::date_forms(self.dates[fact.session].date()).swap_remove(0);
                // Events are written as the user says them.
                let did = happenings.events[event].did.replace(" my ", " your ");
                let scope = scope.with("did", &did).with("date", &date);
                scope.sentence(&happenings.event_wording.when_answer, ".", dice)?
            }
            Matter::Purchase(purchase) => {
                let scope = scope.with("the", &happenings.purchases[purchase].the);
                scope.sentence(&happenings.purchase_wording.answer, ".", dice)?
            }
        };
        // Templates that are only about the user say "you"; a note says who that is.
        Ok(if voice == Voice::Note { as_note(&answer) } else { answer })
    }

    /// What a right answer about a fact contains.
    pub(super) fn answer_keys(&self, index: usize) -> Vec<String> {
        let fact = &self.facts[index];
        match fact.matter {
            Matter::Event(_) => calendar::date_forms(self.dates[fact.session].date()),
            Matter::Kind(_) | Matter::Purchase(_) => fact.value.keys.clone(),
        }
    }

    /// Days between two events, and since one.
    fn compare_events(&self, questions: &mut Vec<Question>, dice: &mut Dice) -> Result<(), SyntheticError> {
        let wording = &self.lexicon.happenings.event_wording;
        let mut events: Vec<usize> = self.of_matter(|matter| matches!(matter, Matter::Event(_)));
        events.sort_by_key(|&index| self.facts[index].session);
        let date = |index: usize| self.dates[self.facts[index].session].date();
        let event_of = |index: usize| match self.facts[index].matter {
            Matter::Event(event) => self.lexicon.happenings.events.get(event),
            _ => None,
        };
        let days = |from: jiff::civil::Date, to: jiff::civil::Date| from.until(to).map_or(0, |span| span.get_days());
        for pair in events.chunks(2) {
            let (&[first, ..], Some(event)) = (pair, event_of(pair[0])) else { continue };
            let scope = Scope::new(self.lexicon, &Subject::User, Voice::User).with("did", &event.did);
            let scope = scope.with("do", &event.infinitive);
            let ago = days(date(first), self.asked.date());
            let wordings = self.phrase(&scope, &wording.ago_questions, &[], &wording.ago_held_out, dice)?;
            let id = format!("{}.ago", self.facts[first].id);
            questions.push(self.counted(
                &id,
                QuestionType::TemporalReasoning,
                wordings,
                ago as usize,
                "day",
                vec![first],
            ));
            let &[first, second] = pair else { continue };
            let (span, Some(other)) = (days(date(first), date(second)), event_of(second)) else { continue };
            if span > 0 {
                let scope = scope.with("first", &event.did).with("second", &other.did);
                let wordings = self.phrase(&scope, &wording.span_questions, &[], &wording.span_held_out, dice)?;
                let id = format!("{}.to.{}", self.facts[first].id, other.id);
                let both = vec![first, second];
                questions.push(self.counted(
                    &id,
                    QuestionType::TemporalReasoning,
                    wordings,
                    span as usize,
                    "day",
                    both,
                ));
            }
        }
        Ok(())
    }

    /// Sums over two purchases of different sessions.
    fn add_purchases(&self, questions: &mut Vec<Question>, dice: &mut Dice) -> Result<(), SyntheticError> {
        let wording = &self.lexicon.happenings.purchase_wording;
        let bought: Vec<usize> = self.of_matter(|matter| matches!(matter, Matter::Purchase(_)));
        let price = |index: usize| self.facts[index].value.keys.last().and_then(|key| key.parse::<usize>().ok());
        let item = |index: usize| match self.facts[index].matter {
            Matter::Purchase(purchase) => self.lexicon.happenings.purchases.get(purchase),
            _ => None,
        };
        // As many sums as purchases, neighbours first.
        let apart = (1..bought.len()).flat_map(|gap| bought.iter().zip(&bought[gap..]));
        for (&a, &b) in apart.filter(|&(&a, &b)| self.facts[a].session != self.facts[b].session).take(bought.len()) {
            let (Some(first), Some(second), Some(x), Some(y)) = (item(a), item(b), price(a), price(b)) else {
                continue;
            };
            let scope = Scope::new(self.lexicon, &Subject::User, Voice::User).with("the", &first.the);
            let scope = scope.with("other", &second.the);
            let wordings = self.phrase(&scope, &wording.sum_questions, &[], &wording.sum_held_out, dice)?;
            let id = format!("sum.{}.{}", first.id, second.id);
            let Value { forms, keys } = Value::money(x + y);
            let answer = forms.into_iter().next().unwrap_or_default();
            questions.push(self.question(&id, QuestionType::MultiSession, wordings, answer, keys, vec![a, b]));
        }
        Ok(())
    }

    fn counted(
        &self,
        id: &str,
        question_type: QuestionType,
        wordings: Wordings,
        count: usize,
        unit: &str,
        evidence: Vec<usize>,
    ) -> Question {
        let plural = if count == 1 { "" } else { "s" };
        let keys = vec![count.to_string()];
        self.question(id, question_type, wordings, format!("{count} {unit}{plural}"), keys, evidence)
    }

    fn ask_for_untold(&self, questions: &mut Vec<Question>, dice: &mut Dice) -> Result<(), SyntheticError> {
        for (kind, subject) in &self.untold {
            let kind = &self.lexicon.kinds[*kind];
            let question_type = match kind.teller {
                Teller::User => QuestionType::SingleSessionUser,
                Teller::Assistant => QuestionType::SingleSessionAssistant,
            };
            let wordings = self.kind_wordings(kind, subject, dice)?;
            let scope = Scope::new(self.lexicon, subject, Voice::Assistant);
            let answer = scope.say(&self.lexicon.frames.unanswerable, dice)?;
            let id = format!("{}.{}", kind.id, subject.name().replace(' ', "_"));
            questions.push(self.question(&id, question_type, wordings, answer, Vec::new(), Vec::new()));
        }
        Ok(())
    }

    fn of_matter(&self, wanted: fn(Matter) -> bool) -> Vec<usize> {
        let is_wanted = |fact: &PlannedFact| wanted(fact.matter) && fact.superseded_by.is_none();
        self.facts.iter().enumerate().filter(|(_, fact)| is_wanted(fact)).map(|(index, _)| index).collect()
    }
}

/// Whether an embedded question is "the name of my dog" rather than "what my dog is called".
fn is_noun_phrase(text: &str) -> bool {
    const QUESTION_WORDS: &[&str] = &["what", "which", "where", "who", "whom", "whose", "when", "how"];
    !text.split(' ').take(2).any(|word| QUESTION_WORDS.contains(&word.to_lowercase().as_str()))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// "You live", "Your dog" as notes: answers written only for the user address them.
fn as_note(answer: &str) -> String {
    let mut words = answer.split(' ');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = words.fold(String::new(), |rest, word| rest + " " + word);
    let verb = match second {
        "are" => "is",
        "have" => "has",
        verb => verb,
    };
    // Whatever else is addressed to the user is about them.
    let rest = rest.replace(" your ", " their ").replace(" you ", " them ");
    match first {
        "You" => format!("The user {verb}{rest}"),
        "Your" => format!("The user's {second}{rest}"),
        _ => answer.replace(" your ", " the user's "),
    }
}
