//! How a fact is told: on its own, in passing before a request, after one, or as advice that is taken.

use std::collections::HashSet;

use tmem_core::message::Role;

use super::dice::Dice;
use super::error::SyntheticError;
use super::filler::{Sort, Topic};
use super::grammar::{Subject, Voice};
use super::lexicon::{Kind, Teller};
use super::plan::{Matter, Plan, PlannedFact};
use super::scope::Scope;
use super::session::{Exchange, harmless, turn};
use super::template::Template;
use super::text::finish;

/// Wordings tried before giving up on one that keeps other answers out.
const TRIES: usize = 60;

/// A fact told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) exchanges: Vec<Exchange>,
    /// Of the request that it is told along with.
    pub(super) topic: Option<Topic>,
}

/// The exchanges that tell a fact; `brief` where words are scarce. Requests are not about the `known` topics.
pub(super) fn tell(
    plan: &Plan<'_>,
    index: usize,
    brief: bool,
    known: &HashSet<Topic>,
    dice: &mut Dice,
) -> Result<Told, SyntheticError> {
    let fact = &plan.facts[index];
    for _ in 0..TRIES {
        let told = match (plan.teller(fact), plan.kind_of(fact)) {
            (Teller::Assistant, Some(kind)) => Told { exchanges: advise(plan, index, kind, dice)?, topic: None },
            _ => state(plan, index, brief, known, dice)?,
        };
        let own = |&hit: &usize| hit == index || Some(hit) == fact.supersedes;
        if told.exchanges.iter().flatten().all(|turn| plan.keys.hits(&turn.content).iter().all(own)) {
            return Ok(told);
        }
    }
    Err(SyntheticError::Leak { fact: fact.id.clone() })
}

/// The user tells it.
fn state(
    plan: &Plan<'_>,
    index: usize,
    brief: bool,
    known: &HashSet<Topic>,
    dice: &mut Dice,
) -> Result<Told, SyntheticError> {
    let fact = &plan.facts[index];
    let frames = &plan.lexicon.frames;
    let theme = plan.lexicon.themes.get(theme_of(plan, fact));
    let around = Scope::new(plan.lexicon, &Subject::User, Voice::User);
    let reply = theme.map_or(&[][..], |theme| &theme.reply);
    let mut topic = None;
    let mut request = |dice: &mut Dice| {
        let request = harmless(plan, Sort::Request, known, dice)?;
        topic = Some(request.topic);
        Ok::<_, SyntheticError>(request)
    };
    let (said, answered) = match dice.below(if brief { 1 } else { 10 }) {
        0..=1 => (core(plan, fact, true, dice)?, around.say(reply, dice)?),
        2..=3 => {
            let lead = around.part(theme.map_or(&[][..], |theme| &theme.lead), dice)?;
            let tail = around.part(theme.map_or(&[][..], |theme| &theme.tail), dice)?;
            let core = core(plan, fact, false, dice)?;
            let said = match dice.below(3) {
                0 => format!("{lead} {core}"),
                1 => format!("{core} {tail}"),
                _ => format!("{lead} {core} {tail}"),
            };
            (said, around.say(reply, dice)?)
        }
        4..=7 => {
            let request = request(dice)?;
            let bridge = around.part(&frames.bridge, dice)?;
            (format!("{} {bridge} {}", core(plan, fact, true, dice)?, request.user), request.assistant)
        }
        _ => {
            let request = request(dice)?;
            let after = around.part(&frames.afterthought, dice)?;
            let core = core(plan, fact, false, dice)?;
            // After a colon or comma the sentence goes on in lower case, unless it begins with a name or "I".
            let core = if after.ends_with('.') { core } else { lower_first(&core) };
            let assistant = match dice.chance(50) {
                true => format!("{} {}", request.assistant, around.say(&frames.noted, dice)?),
                false => request.assistant,
            };
            (format!("{} {after} {core}", request.user), assistant)
        }
    };
    let mut exchange = [turn(Role::User, finish(&said)), turn(Role::Assistant, finish(&answered))];
    exchange[0].tells = Some(index);
    Ok(Told { exchanges: vec![exchange], topic })
}

/// The sentence with the fact; `framed` where it may have an opening of its own.
fn core(plan: &Plan<'_>, fact: &PlannedFact, framed: bool, dice: &mut Dice) -> Result<String, SyntheticError> {
    let frames = &plan.lexicon.frames;
    let happenings = &plan.lexicon.happenings;
    let form = dice.pick(&fact.value.forms).cloned().unwrap_or_default();
    let mut scope = Scope::new(plan.lexicon, &fact.subject, Voice::User).with("value", &form);
    let (clauses, frame): (&[Template], &[Template]) = match fact.matter {
        Matter::Event(event) => {
            scope = scope.with("did", &happenings.events[event].did);
            (&happenings.event_wording.tell, &frames.event)
        }
        Matter::Purchase(purchase) => {
            let purchase = &happenings.purchases[purchase];
            scope = scope.with("item", &purchase.item).with("the", &purchase.the);
            (&happenings.purchase_wording.tell, &frames.statement)
        }
        Matter::Kind(kind) => {
            let kind = &plan.lexicon.kinds[kind];
            match fact.supersedes.and_then(|old| plan.facts.get(old)) {
                Some(old) => {
                    scope = scope.with("old", old.value.text());
                    (&kind.updates, &frames.update)
                }
                None => {
                    if dice.chance(100 * kind.asides.len() / (kind.clauses.len() + kind.asides.len()).max(1)) {
                        return scope.part(&kind.asides, dice);
                    }
                    (&kind.clauses, &frames.statement)
                }
            }
        }
    };
    let clause = scope.part(clauses, dice)?;
    // Unfinished: what stands before it decides whether it begins with a capital.
    if framed { scope.with("clause", &clause).part(frame, dice) } else { Ok(format!("{clause}.")) }
}

/// The assistant tells it: the user asks for advice, gets it and takes it.
fn advise(plan: &Plan<'_>, index: usize, kind: &Kind, dice: &mut Dice) -> Result<Vec<Exchange>, SyntheticError> {
    let fact = &plan.facts[index];
    let scope = Scope::new(plan.lexicon, &Subject::User, Voice::User).with("value", fact.value.text());
    let advice = match dice.chance(40) {
        true => scope.say(&kind.asides, dice)?,
        false => finish(&format!("{}.", scope.part(&kind.clauses, dice)?)),
    };
    let reply = plan.lexicon.themes.get(&kind.theme).map_or(&[][..], |theme| &theme.reply);
    let mut asked = [turn(Role::User, scope.say(&kind.requests, dice)?), turn(Role::Assistant, advice)];
    asked[1].tells = Some(index);
    let taken = [turn(Role::User, scope.say(&kind.accepts, dice)?), turn(Role::Assistant, scope.say(reply, dice)?)];
    Ok(vec![asked, taken])
}

fn theme_of<'a>(plan: &Plan<'a>, fact: &PlannedFact) -> &'a str {
    match fact.matter {
        Matter::Kind(kind) => plan.lexicon.kinds.get(kind).map_or("", |kind| &kind.theme),
        Matter::Event(_) => "events",
        Matter::Purchase(_) => "purchases",
    }
}

/// The first letter in lower case where its word is an ordinary one.
fn lower_first(text: &str) -> String {
    const ORDINARY: &[&str] = &[
        "A",
        "After",
        "An",
        "At",
        "Everyone",
        "Everything",
        "For",
        "Guests",
        "If",
        "It",
        "Just",
        "Keep",
        "My",
        "Of",
        "On",
        "Our",
        "Out",
        "People",
        "Someone",
        "Something",
        "The",
        "There",
        "They",
        "This",
        "Today",
        "We",
        "What",
        "When",
        "With",
    ];
    let first = text.split(' ').next().unwrap_or_default();
    if ORDINARY.contains(&first) {
        format!("{}{}", first.to_lowercase(), &text[first.len()..])
    } else {
        text.to_owned()
    }
}
