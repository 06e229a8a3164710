//! Sessions, written one after the other: what is told stands among distractors, until the length is met.

use std::collections::{HashSet, VecDeque};

use tmem_core::message::Role;

use super::dice::Dice;
use super::error::SyntheticError;
use super::filler::{self, Filler, Sort, Topic};
use super::grammar::{Subject, Voice};
use super::parameters::Length;
use super::plan::{Plan, stream};
use super::scope::Scope;
use super::tell;
use super::text::{count_words, finish};

/// Topics of distractors that do not come up again while they are remembered; fewer than there are.
const REMEMBERED: usize = 160;

/// Candidates for the last distractors of a session, so that the length is met closely.
const CANDIDATES: usize = 12;

/// Draws until a distractor is new and gives nothing away.
const TRIES: usize = 400;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// The fact that this turn tells, as an index into [`super::Gold::facts`].
    pub tells: Option<usize>,
}

/// A conversation of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Identifies it among all conversations of a seed.
    pub id: String,
    /// When it begins, as LongMemEval writes it.
    pub date: String,
    /// User and assistant in turns, the user first.
    pub turns: Vec<Turn>,
}

/// A user turn and the reply.
pub(super) type Exchange = [Turn; 2];

pub(super) fn turn(role: Role, content: String) -> Turn {
    Turn { role, content, tells: None }
}

impl Plan<'_> {
    /// Writes the sessions, one at a time: memory does not grow with their number.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { plan: self, next: 0, words: 0, recent: Recent::default() }
    }
}

/// The sessions of a plan in order.
#[derive(Debug)]
pub struct Sessions<'a> {
    plan: &'a Plan<'a>,
    next: usize,
    words: usize,
    recent: Recent,
}

/// What came up lately.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<Topic>,
    known: HashSet<Topic>,
}

impl Recent {
    fn insert(&mut self, topic: Topic) {
        if self.known.insert(topic) {
            self.order.push_back(topic);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Iterator for Sessions<'_> {
    type Item = Result<Session, SyntheticError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        let facts = self.plan.by_session.get(index)?;
        self.next += 1;
        Some(self.write(index, facts))
    }
}

impl Sessions<'_> {
    fn write(&mut self, index: usize, facts: &[usize]) -> Result<Session, SyntheticError> {
        let plan = self.plan;
        let mut dice = Dice::new(plan.seed, stream::SESSIONS + index as u64);
        let budget = match plan.parameters.length {
            Length::Words(words) => {
                let due = words as u128 * (index as u128 + 1) / plan.parameters.sessions as u128;
                Some(usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(self.words))
            }
            Length::Exchanges(_) => None,
        };
        let brief = budget.is_some_and(|words| words < 110 * facts.len());
        // Each item is said without anything in between.
        let mut items: Vec<Vec<Exchange>> = Vec::new();
        for &fact in facts {
            let told = tell::tell(plan, fact, brief, &self.recent.known, &mut dice)?;
            told.topic.into_iter().for_each(|topic| self.recent.insert(topic));
            items.push(told.exchanges);
        }
        let mut goodbye = None;
        match (plan.parameters.length, budget) {
            (Length::Exchanges(exchanges), _) => {
                while items.iter().map(Vec::len).sum::<usize>() < exchanges {
                    let filler = self.filler(&mut dice)?;
                    items.push(vec![exchange(filler)]);
                }
                if dice.chance(30) {
                    goodbye = Some(self.goodbye(&mut dice)?);
                }
            }
            (_, budget) => {
                let mut left = budget.unwrap_or(0).saturating_sub(words_of(items.iter().flatten()));
                if left > 120 && dice.chance(30) {
                    let said = self.goodbye(&mut dice)?;
                    left = left.saturating_sub(words_of([&said]));
                    goodbye = Some(said);
                }
                while let Some(filler) = self.fitting(left, items.is_empty(), &mut dice)? {
                    let exchange = exchange(filler);
                    left = left.saturating_sub(words_of([&exchange]));
                    items.push(vec![exchange]);
                }
            }
        }
        dice.shuffle(&mut items);
        let mut turns: Vec<Turn> = items.into_iter().flatten().chain(goodbye).flatten().collect();
        self.greet(&mut turns, &mut dice)?;
        self.words += turns.iter().map(|turn| count_words(&turn.content)).sum::<usize>();
        Ok(Session { id: plan.session_id(index), date: plan.session_date(index), turns })
    }

    /// A distractor that was not said lately and gives no answer away.
    fn filler(&mut self, dice: &mut Dice) -> Result<Filler, SyntheticError> {
        let filler = harmless(self.plan, Sort::Any, &self.recent.known, dice)?;
        self.recent.insert(filler.topic);
        Ok(filler)
    }

    /// A distractor of about `words` words at most; `None` where stopping comes closer than any.
    fn fitting(&mut self, words: usize, needed: bool, dice: &mut Dice) -> Result<Option<Filler>, SyntheticError> {
        if words > 150 {
            return self.filler(dice).map(Some);
        }
        let mut best: Option<(usize, Filler)> = None;
        for _ in 0..CANDIDATES {
            let filler = harmless(self.plan, Sort::Any, &self.recent.known, dice)?;
            let off = words.abs_diff(count_words(&filler.user) + count_words(&filler.assistant));
            if best.as_ref().is_none_or(|(least, _)| off < *least) {
                best = Some((off, filler));
            }
        }
        let chosen = best.filter(|(off, _)| needed || *off < words).map(|(_, filler)| filler);
        if let Some(filler) = &chosen {
            self.recent.insert(filler.topic);
        }
        Ok(chosen)
    }

    fn goodbye(&self, dice: &mut Dice) -> Result<Exchange, SyntheticError> {
        let frames = &self.plan.lexicon.frames;
        let scope = Scope::new(self.plan.lexicon, &Subject::User, Voice::User);
        Ok([
            turn(Role::User, scope.say(&frames.goodbye_user, dice)?),
            turn(Role::Assistant, scope.say(&frames.goodbye_assistant, dice)?),
        ])
    }

    /// Puts a greeting in front of the first message.
    fn greet(&self, turns: &mut [Turn], dice: &mut Dice) -> Result<(), SyntheticError> {
        if let Some(first) = turns.first_mut() {
            let scope = Scope::new(self.plan.lexicon, &Subject::User, Voice::User);
            let greeting = scope.part(&self.plan.lexicon.frames.greeting, dice)?;
            first.content = finish(&format!("{greeting} {}", first.content));
        }
        Ok(())
    }
}

fn exchange(filler: Filler) -> Exchange {
    [turn(Role::User, filler.user), turn(Role::Assistant, filler.assistant)]
}

fn words_of<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> usize {
    exchanges.into_iter().flatten().map(|turn| count_words(&turn.content)).sum()
}

/// A distractor without any key of the conversation, new where that can be had.
pub(super) fn harmless(
    plan: &Plan<'_>,
    sort: Sort,
    known: &HashSet<Topic>,
    dice: &mut Dice,
) -> Result<Filler, SyntheticError> {
    let mut repeated = None;
    for _ in 0..TRIES {
        let filler = filler::draw(plan.lexicon, sort, dice)?;
        let gives_away = |text: &str| !plan.keys.hits(text).is_empty();
        if gives_away(&filler.user) || gives_away(&filler.assistant) {
            continue;
        }
        if !known.contains(&filler.topic) {
            return Ok(filler);
        }
        repeated = Some(filler);
    }
    repeated.ok_or_else(|| SyntheticError::Leak { fact: "any".to_owned() })
}
