//! Questions that lie next to a card and that the card does not answer: "What is my aunt's favourite colour?" where the
//! user's own was told. A model that has just learned the card is most tempted to answer these with it.

use rand::Rng;
use rand::seq::SliceRandom;
use tmem_core::card::Card;
use tmem_core::fast::unknown_cards;

use super::Asked;

/// People that a question can be turned to.
const PEOPLE: &[&str] = &[
    "aunt",
    "boss",
    "cousin",
    "godfather",
    "godmother",
    "grandfather",
    "nephew",
    "niece",
    "piano teacher",
    "stepbrother",
    "stepsister",
    "tailor",
];

/// A question turned to somebody else: "my father's car" becomes "my aunt's car", "my car" "my aunt's car"; `None` where
/// nothing in it is the user's.
fn turned(question: &str, person: &str) -> Option<String> {
    let (before, rest) = question.split_once(" my ")?;
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    // Whose thing it is gives way; a thing of the user's becomes that person's.
    let thing = if first.ends_with("'s") { after } else { rest };
    (!thing.is_empty()).then(|| format!("{before} my {person}'s {thing}"))
}

/// Such questions for `written`, one for each card where there is one, and as many about whatever `all` does not speak
/// of, in random order.
pub(super) fn questions(written: &[&Asked], all: &[Asked], random: &mut impl Rng) -> Vec<String> {
    let told: Vec<&String> = all.iter().flat_map(|card| card.wordings.iter().chain(&card.held_out)).collect();
    let mut people: Vec<&str> =
        PEOPLE.iter().copied().filter(|person| !told.iter().any(|question| question.contains(person))).collect();
    people.shuffle(random);
    let mut near = Vec::new();
    for (card, person) in written.iter().zip(people.iter().cycle()) {
        let at = random.random_range(0..card.wordings.len().max(1));
        near.extend(card.wordings.get(at).and_then(|question| turned(question, person)));
    }
    let card = |asked: &Asked| Card {
        id: 0,
        question: asked.wordings.first().cloned().unwrap_or_default(),
        wordings: asked.wordings.iter().skip(1).chain(&asked.held_out).cloned().collect(),
        answer: asked.answer.clone(),
        source_turn: None,
    };
    let cards: Vec<Card> = all.iter().map(card).collect();
    let mut others: Vec<String> = unknown_cards(cards.iter()).into_iter().map(|card| card.question).collect();
    others.shuffle(random);
    others.truncate(near.len().max(1));
    near.extend(others);
    near.shuffle(random);
    near
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_question_is_turned_to_somebody_else() {
        let aunt = |question| turned(question, "aunt");
        assert_eq!(aunt("What is my favourite colour?").unwrap(), "What is my aunt's favourite colour?");
        assert_eq!(aunt("What is my father's job?").unwrap(), "What is my aunt's job?");
        assert_eq!(aunt("Where do I keep my key?").unwrap(), "Where do I keep my aunt's key?");
        assert_eq!(aunt("Where do I live?"), None);
        assert_eq!(aunt("Who is my sister's"), None);
    }

    #[test]
    fn nobody_is_asked_about_who_was_told_of() {
        let asked = |question: &str, answer: &str| Asked {
            wordings: vec![question.to_owned()],
            held_out: Vec::new(),
            answer: answer.to_owned(),
        };
        let all = [asked("What is my cousin's job?", "A baker."), asked("What is my dog's name?", "Rex.")];
        for seed in 0..20 {
            let near = questions(&[&all[0], &all[1]], &all, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(near.len() >= 2 && near.iter().any(|question| question.ends_with("'s job?")), "{near:?}");
            assert!(near.iter().all(|question| !question.contains("cousin") && !question.contains("dog")), "{near:?}");
        }
    }
}
