//! A life in facts: what is told, when, what changes, and what is never told.

use jiff::ToSpan;
use jiff::civil::DateTime;

use super::calendar;
use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::Subject;
use super::keys::KeyIndex;
use super::lexicon::{About, Gender, Kind, Lexicon, Teller};
use super::parameters::Parameters;
use super::value::Value;

/// Independent streams of choices.
pub(super) mod stream {
    pub(in super::super) const PLAN: u64 = 0;
    pub(in super::super) const QUESTIONS: u64 = 1;
    pub(in super::super) const CONTROLS: u64 = 2;
    pub(in super::super) const CHOICE: u64 = 3;
    pub(in super::super) const NEIGHBOURS: u64 = 4;
    pub(in super::super) const UNTOLD: u64 = 1 << 30;
    pub(in super::super) const WORDINGS: u64 = 1 << 31;
    pub(in super::super) const SESSIONS: u64 = 1 << 32;
}

/// Draws of a value before its kind is passed over.
const TRIES: usize = 60;

/// Share of facts that change an earlier one, in per cent.
const UPDATES: usize = 16;

/// Share of first facts about people around the user, in per cent.
const ABOUT_OTHERS: usize = 30;

/// Everything that is decided before a word is written. Its size grows with facts and sessions, not with words.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) lexicon: &'a Lexicon,
    pub(super) parameters: Parameters,
    pub(super) seed: u64,
    pub(super) name: String,
    pub(super) facts: Vec<PlannedFact>,
    /// (kind, subject) pairs that no fact is about.
    pub(super) untold: Vec<(usize, Subject)>,
    /// When each session begins, ascending.
    pub(super) dates: Vec<DateTime>,
    /// When the questions are asked.
    pub(super) asked: DateTime,
    /// Fact indices by session.
    pub(super) by_session: Vec<Vec<usize>>,
    pub(super) keys: KeyIndex,
}

/// What a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    /// An entry of [`Lexicon::kinds`].
    Kind(usize),
    /// An entry of the events.
    Event(usize),
    /// An entry of the purchases.
    Purchase(usize),
}

/// A fact with its place.
#[derive(Debug, Clone)]
pub(super) struct PlannedFact {
    pub(super) id: String,
    pub(super) matter: Matter,
    pub(super) subject: Subject,
    pub(super) value: Value,
    pub(super) session: usize,
    pub(super) supersedes: Option<usize>,
    pub(super) superseded_by: Option<usize>,
}

impl<'a> Plan<'a> {
    /// Plans conversation number `conversation` of a seed.
    ///
    /// # Errors
    /// [`SyntheticError::Parameters`] where facts, sessions and words do not fit together.
    pub fn new(lexicon: &'a Lexicon, parameters: &Parameters, conversation: u64) -> Result<Self, SyntheticError> {
        parameters.check()?;
        let seed = parameters.seed_of(conversation);
        let mut dice = Dice::new(seed, stream::PLAN);
        let mut draft = Draft::new(lexicon, parameters, &mut dice);
        draft.add_happenings(&mut dice);
        draft.add_facts(&mut dice)?;
        draft.place(&mut dice);
        let dates = dates(parameters.sessions, &mut dice);
        let last = dates.last().copied().unwrap_or_default();
        let asked = last.saturating_add((dice.between(1, 9) as i64).days());
        let mut by_session = vec![Vec::new(); parameters.sessions];
        let mut keys = KeyIndex::default();
        for (index, fact) in draft.facts.iter().enumerate() {
            by_session[fact.session].push(index);
            keys.insert(index, &fact.value.keys);
        }
        Ok(Self {
            lexicon,
            parameters: parameters.clone(),
            seed,
            name: format!("synthetic-{}-{conversation}", parameters.seed),
            untold: draft.untold,
            facts: draft.facts,
            dates,
            asked,
            by_session,
            keys,
        })
    }

    /// Names the conversation: `synthetic-SEED-NUMBER`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Identifies a session.
    pub(super) fn session_id(&self, session: usize) -> String {
        format!("{}-s{session:04}", self.name)
    }

    /// When a session begins, as LongMemEval writes it.
    pub(super) fn session_date(&self, session: usize) -> String {
        self.dates.get(session).copied().map(calendar::stamp).unwrap_or_default()
    }

    /// The kind of a fact; `None` for events and purchases.
    pub(super) fn kind_of(&self, fact: &PlannedFact) -> Option<&'a Kind> {
        match fact.matter {
            Matter::Kind(kind) => self.lexicon.kinds.get(kind),
            Matter::Event(_) | Matter::Purchase(_) => None,
        }
    }

    /// Who tells a fact.
    pub(super) fn teller(&self, fact: &PlannedFact) -> Teller {
        self.kind_of(fact).map_or(Teller::User, |kind| kind.teller)
    }
}

/// A plan in the making.
struct Draft<'a> {
    lexicon: &'a Lexicon,
    sessions: usize,
    target: usize,
    facts: Vec<PlannedFact>,
    /// What may still be told, in random order: about the user, about others.
    own: Vec<(usize, Subject)>,
    others: Vec<(usize, Subject)>,
    untold: Vec<(usize, Subject)>,
}

impl<'a> Draft<'a> {
    fn new(lexicon: &'a Lexicon, parameters: &Parameters, dice: &mut Dice) -> Self {
        let mut people: Vec<Subject> = Vec::new();
        for role in &lexicon.roles {
            let female = role.gender == Gender::F || (role.gender == Gender::Any && dice.chance(50));
            people.push(Subject::Other { noun: role.noun.clone(), female });
        }
        dice.shuffle(&mut people);
        // A handful of people who come up again and again, more of them in a long conversation.
        people.truncate(2 + parameters.facts / 12);
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (index, kind) in lexicon.kinds.iter().enumerate() {
            if kind.about != About::Others {
                own.push((index, Subject::User));
            }
            if kind.about != About::User {
                others.extend(people.iter().map(|person| (index, person.clone())));
            }
        }
        dice.shuffle(&mut own);
        dice.shuffle(&mut others);
        // Advice and tastes are few among the kinds; every conversation of some length has one of each.
        if parameters.facts >= 10 {
            let kind = |pair: &(usize, Subject)| lexicon.kinds.get(pair.0);
            let advice = |pair: &_| kind(pair).is_some_and(|kind| kind.teller == Teller::Assistant);
            let taste = |pair: &_| kind(pair).is_some_and(|kind| kind.preference.is_some());
            for wanted in [&advice as &dyn Fn(&(usize, Subject)) -> bool, &taste] {
                // The last is drawn first.
                if let Some(at) = own.iter().position(wanted) {
                    own[at..].rotate_left(1);
                }
            }
        }
        let (sessions, target) = (parameters.sessions, parameters.facts);
        Self { lexicon, sessions, target, facts: Vec::new(), own, others, untold: Vec::new() }
    }

    /// Events and purchases: about a tenth of the facts each, in pairs so that they can be compared.
    fn add_happenings(&mut self, dice: &mut Dice) {
        let each = if self.target < 10 { 0 } else { (self.target / 10).max(2) };
        let happenings = &self.lexicon.happenings;
        let mut events: Vec<usize> = (0..happenings.events.len()).collect();
        dice.shuffle(&mut events);
        for index in events.into_iter().take(each) {
            let event = &happenings.events[index];
            self.push(
                format!("event.{}", event.id),
                Matter::Event(index),
                Subject::User,
                Value::plain(event.did.clone()),
            );
        }
        let mut purchases: Vec<usize> = (0..happenings.purchases.len()).collect();
        dice.shuffle(&mut purchases);
        for index in purchases.into_iter().take(each) {
            let purchase = &happenings.purchases[index];
            let price = |dice: &mut Dice| Value::money(dice.between(purchase.price[0], purchase.price[1]));
            let free = (0..TRIES).map(|_| price(dice)).find(|value| self.is_free(value));
            if let Some(value) = free {
                self.push(format!("purchase.{}", purchase.id), Matter::Purchase(index), Subject::User, value);
            }
        }
    }

    fn add_facts(&mut self, dice: &mut Dice) -> Result<(), SyntheticError> {
        while self.facts.len() < self.target {
            if self.sessions > 1 && dice.chance(UPDATES) && self.add_update(dice)? {
                continue;
            }
            let first = if dice.chance(ABOUT_OTHERS) { &mut self.others } else { &mut self.own };
            let Some((kind, subject)) = first.pop().or_else(|| self.own.pop()).or_else(|| self.others.pop()) else {
                let reason = format!("a conversation can tell {} facts at most", self.facts.len());
                return Err(SyntheticError::Parameters(reason));
            };
            if let Some(value) = self.draw(kind, &subject, dice)? {
                let id = fact_id(&self.lexicon.kinds[kind], &subject);
                self.push(id, Matter::Kind(kind), subject, value);
            }
        }
        // What is asked though it was never told: of the same kinds and about the same people as what was.
        let wanted = (self.target / 6).max(2);
        let near = |(kind, subject): &(usize, Subject)| {
            self.facts.iter().any(|fact| fact.matter == Matter::Kind(*kind) || fact.subject == *subject)
        };
        let mut rest: Vec<_> = self.own.drain(..).take(wanted).chain(self.others.drain(..)).collect();
        rest.sort_by_key(|pair| !near(pair));
        rest.truncate(wanted * 3);
        dice.shuffle(&mut rest);
        rest.truncate(wanted);
        self.untold = rest;
        Ok(())
    }

    /// Adds a change to an earlier fact; false where none can change.
    fn add_update(&mut self, dice: &mut Dice) -> Result<bool, SyntheticError> {
        let can_change = |(index, fact): (usize, &PlannedFact)| match fact.matter {
            Matter::Kind(kind) if fact.superseded_by.is_none() && fact.supersedes.is_none() => {
                (!self.lexicon.kinds[kind].updates.is_empty()).then_some((index, kind))
            }
            _ => None,
        };
        let candidates: Vec<(usize, usize)> = self.facts.iter().enumerate().filter_map(can_change).collect();
        let Some(&(old, kind)) = dice.pick(&candidates) else { return Ok(false) };
        let subject = self.facts[old].subject.clone();
        let Some(value) = self.draw(kind, &subject, dice)? else { return Ok(false) };
        self.facts[old].superseded_by = Some(self.facts.len());
        let id = format!("{}-2", self.facts[old].id);
        self.push(id, Matter::Kind(kind), subject, value);
        if let Some(new) = self.facts.last_mut() {
            new.supersedes = Some(old);
        }
        Ok(true)
    }

    fn push(&mut self, id: String, matter: Matter, subject: Subject, value: Value) {
        self.facts.push(PlannedFact { id, matter, subject, value, session: 0, supersedes: None, superseded_by: None });
    }

    /// A value that has nothing in common with any other of the conversation.
    fn draw(&self, kind: usize, subject: &Subject, dice: &mut Dice) -> Result<Option<Value>, SyntheticError> {
        let first_name = match subject {
            Subject::Other { female: false, .. } => "first_m",
            _ => "first_f",
        };
        for _ in 0..TRIES {
            let value = Value::draw(self.lexicon, &self.lexicon.kinds[kind], first_name, dice)?;
            if self.is_free(&value) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn is_free(&self, value: &Value) -> bool {
        !self.facts.iter().any(|fact| fact.value.collides(value))
    }

    /// Spreads the facts over the sessions; what changes a fact comes in a later session.
    fn place(&mut self, dice: &mut Dice) {
        let mut order: Vec<usize> = (0..self.facts.len()).collect();
        dice.shuffle(&mut order);
        for (position, &fact) in order.iter().enumerate() {
            self.facts[fact].session = position * self.sessions / order.len();
        }
        for index in 0..self.facts.len() {
            let Some(old) = self.facts[index].supersedes else { continue };
            let (a, b) = (self.facts[old].session, self.facts[index].session);
            let (mut first, mut second) = (a.min(b), a.max(b));
            if first == second {
                // There are at least two sessions where there are updates.
                (first, second) = if second + 1 < self.sessions { (first, second + 1) } else { (first - 1, second) };
            }
            self.facts[old].session = first;
            self.facts[index].session = second;
        }
    }
}

/// `city` about the user, `city.sister` about somebody else.
fn fact_id(kind: &Kind, subject: &Subject) -> String {
    match subject {
        Subject::User => kind.id.clone(),
        Subject::Other { noun, .. } => format!("{}.{}", kind.id, noun.replace(' ', "_")),
    }
}

/// Ascending moments over some months, at most about three years.
fn dates(sessions: usize, dice: &mut Dice) -> Vec<DateTime> {
    const DAY: usize = 24 * 60;
    let span = (sessions * 4 * DAY).clamp(30 * DAY, 1000 * DAY);
    let step = (span / sessions).max(2);
    let start = jiff::civil::date(2022, 1, 1).at(0, 0, 0, 0).saturating_add((dice.below(600) as i64).days());
    let mut minutes = 0;
    let mut dates = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        minutes += dice.between(step / 2, step * 3 / 2).max(1);
        let at = if step >= 2 * DAY {
            // Steps are a day at least, so the days ascend and the hour is free: people talk when they are awake.
            minutes / DAY * DAY + dice.between(7 * 60, 23 * 60 - 1)
        } else {
            minutes
        };
        dates.push(start.saturating_add((at as i64).minutes()));
    }
    dates
}
