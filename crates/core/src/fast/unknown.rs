//! Questions about things that were never told, against leaking: a model that has just learned "your dog's name is
//! Biscuit" will gladly answer "Biscuit" to "what is my horse's name?".
//!
//! They serve twice. The gate shuts Δ out where a prompt is nearer to one of them than to any learned question. And a few
//! in every batch of a write, answered with their own subject and "not known to me", teach the model to decide after the
//! subject rather than before.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::card::Card;

/// Questions of one shape: the question, its answer, and what both are about.
struct Shape(&'static str, &'static str, &'static [&'static str]);

const RELATIVES: &[&str] = &[
    "mother",
    "father",
    "sister",
    "brother",
    "son",
    "daughter",
    "husband",
    "wife",
    "cousin",
    "aunt",
    "uncle",
    "grandmother",
    "grandfather",
    "niece",
    "nephew",
];
const OTHERS: &[&str] = &[
    "neighbour",
    "best friend",
    "roommate",
    "boss",
    "colleague",
    "teacher",
    "doctor",
    "dentist",
    "landlord",
    "coach",
    "hairdresser",
];
const PETS: &[&str] = &["dog", "cat", "rabbit", "hamster", "parrot", "tortoise", "goldfish"];

/// They lie all around what people tell. What they tell of themselves first (their own name, job, home and age) has too
/// many names to be told apart by words, and is not here.
const SHAPES: &[Shape] = &[
    Shape("What is my {}'s name?", "Your {}'s name is not known to me.", RELATIVES),
    Shape("Who is my {}?", "Your {}'s name is not known to me.", OTHERS),
    Shape("What is my {}'s name?", "Your {}'s name is not known to me.", PETS),
    Shape("What is my {} called?", "Your {}'s name is not known to me.", PETS),
    Shape("Who is my {}?", "Your {}'s name is not known to me.", &["aunt", "husband", "grandfather", "niece"]),
    Shape("What is my {}'s name?", "Your {}'s name is not known to me.", &["boss", "neighbour", "doctor", "teacher"]),
    Shape("What is my {} called?", "Your {}'s name is not known to me.", &["boat", "company", "band", "village"]),
    Shape(
        "Where does my {} live?",
        "Your {} lives in a place not known to me.",
        &["sister", "son", "cousin", "grandmother", "uncle", "best friend", "doctor", "boss"],
    ),
    Shape(
        "What does my {} do for a living?",
        "Your {} works as something not known to me.",
        &["father", "wife", "brother", "aunt", "nephew", "neighbour", "roommate"],
    ),
    Shape(
        "When is my {}'s birthday?",
        "Your {}'s birthday is on a date not known to me.",
        &["mother", "husband", "sister", "son", "niece", "best friend", "colleague"],
    ),
    Shape(
        "What car does my {} drive?",
        "Your {} drives a car not known to me.",
        &["father", "sister", "boss", "neighbour", "hairdresser"],
    ),
    Shape(
        "What instrument does my {} play?",
        "Your {} plays an instrument not known to me.",
        &["mother", "brother", "daughter", "teacher", "roommate"],
    ),
    Shape(
        "What is my {}'s favourite food?",
        "Your {}'s favourite food is not known to me.",
        &["wife", "cousin", "son", "dog", "dentist"],
    ),
    Shape(
        "What is my {} allergic to?",
        "Your {} is allergic to something not known to me.",
        &["mother", "daughter", "uncle", "colleague", "cat"],
    ),
    Shape(
        "How old is my {}?",
        "Your {}'s age is not known to me.",
        &["grandfather", "brother", "wife", "niece", "boss", "rabbit", "parrot"],
    ),
    Shape(
        "What is my favourite {}?",
        "Your favourite {} is not known to me.",
        &[
            "colour",
            "food",
            "drink",
            "film",
            "book",
            "song",
            "band",
            "season",
            "animal",
            "sport",
            "city",
            "dessert",
            "painter",
            "game",
            "flower",
            "fruit",
            "restaurant",
            "subject",
            "team",
        ],
    ),
    Shape(
        "When is my {}?",
        "Your {} is on a date not known to me.",
        &[
            "wedding anniversary",
            "haircut",
            "interview",
            "holiday",
            "dentist appointment",
            "exam",
            "flight",
            "meeting",
            "graduation",
            "driving lesson",
            "concert",
        ],
    ),
    Shape(
        "What is my {}?",
        "Your {} is not known to me.",
        &[
            "passport number",
            "bank account number",
            "phone number",
            "email address",
            "wifi password",
            "locker code",
            "licence plate",
            "middle name",
            "blood type",
            "star sign",
            "salary",
            "shoe size",
            "height",
            "hair colour",
            "native language",
            "nationality",
            "hobby",
            "biggest fear",
            "allergy",
        ],
    ),
    Shape("Where was I {}?", "You were {} in a place not known to me.", &["born"]),
    Shape("Where do I {}?", "You {} in a place not known to me.", &["park", "work", "train"]),
    Shape("Where did I go to {}?", "You went to {} in a place not known to me.", &["school"]),
    Shape("Where did I spend my {}?", "You spent your {} in a place not known to me.", &["holidays"]),
    Shape("What {} do I drive?", "You drive a {} not known to me.", &["car"]),
    Shape("What {} do I play?", "You play a {} not known to me.", &["instrument", "sport"]),
    Shape("What {} do I take?", "You take a {} not known to me.", &["medicine", "bus"]),
    Shape("Which {} do I have?", "You have a {} not known to me.", &["phone", "bicycle"]),
    Shape("Which {} do I speak?", "You speak {} not known to me.", &["languages"]),
    Shape("What do I {}?", "You {} something not known to me.", &["collect", "study"]),
    Shape("What do I eat for {}?", "You eat something not known to me for {}.", &["breakfast"]),
    Shape("What am I {} of?", "You are {} of something not known to me.", &["afraid"]),
    Shape("What am I {} to?", "You are {} to something not known to me.", &["allergic"]),
    Shape("How {} am I?", "How {} you are is not known to me.", &["tall"]),
    Shape("How many {} do I have?", "The number of your {} is not known to me.", &["children", "siblings", "cars"]),
    Shape("When does my {} leave?", "Your {} leaves at a time not known to me.", &["train"]),
    Shape("When does my {} begin?", "Your {} begins at a time not known to me.", &["course", "shift"]),
    Shape("When do I {}?", "You {} at a time not known to me.", &["get up"]),
    Shape("What did I {} yesterday?", "Yesterday's purchase is not known to me.", &["buy"]),
    Shape("Who is {}?", "{} is not known to me.", &["Hannah Weber", "Marco Bellini", "Yusuf Demir"]),
];

/// Other words for subjects: who has told of one of a group has told of all.
const SYNONYMS: &[&[&str]] = &[
    &["mother", "mum", "mom", "parent"],
    &["father", "dad", "parent"],
    &["sister", "sibling"],
    &["brother", "sibling"],
    &["son", "boy", "child", "children", "kid"],
    &["daughter", "girl", "child", "children", "kid"],
    &["husband", "spouse", "partner"],
    &["wife", "spouse", "partner"],
    &["aunt", "auntie"],
    &["grandmother", "grandma", "granny", "nan", "grandparent"],
    &["grandfather", "grandpa", "granddad", "grandparent"],
    &["neighbour", "neighbor"],
    &["roommate", "flatmate", "housemate"],
    &["boss", "manager", "supervisor", "chief"],
    &["colleague", "coworker"],
    &["teacher", "professor"],
    &["doctor", "physician"],
    &["landlord", "landlady"],
    &["coach", "trainer"],
    &["hairdresser", "barber", "haircut"],
    &["dog", "puppy", "pet"],
    &["cat", "kitten", "pet"],
    &["rabbit", "bunny", "pet"],
    &["hamster", "pet"],
    &["parrot", "bird", "budgie", "canary", "pet"],
    &["tortoise", "turtle", "pet"],
    &["goldfish", "fish", "pet"],
    &["boat", "ship"],
    &["company", "employer", "firm"],
    &["village", "town", "city"],
    &["colour", "color"],
    &["food", "dish", "meal", "cuisine"],
    &["drink", "beverage"],
    &["film", "movie"],
    &["book", "novel", "author", "writer"],
    &["song", "band", "music", "singer"],
    &["painter", "artist", "painting"],
    &["sport", "team", "game", "club"],
    &["wedding", "anniversary", "married", "marry"],
    &["holiday", "vacation"],
    &["exam", "test"],
    &["flight", "plane", "fly"],
    &["bank", "account"],
    &["phone", "telephone", "mobile"],
    &["email", "mail"],
    &["wifi", "wireless", "password"],
    &["locker", "code", "combination"],
    &["star", "sign", "zodiac"],
    &["salary", "earn", "wage", "pay"],
    &["shoe", "foot", "feet"],
    &["height", "tall"],
    &["native", "language", "tongue", "speak"],
    &["nationality", "citizen", "country"],
    &["hobby", "hobbies", "pastime"],
    &["fear", "afraid", "scared"],
    &["allergy", "allergic"],
    &["work", "job", "office"],
    &["car", "drive", "vehicle"],
    &["instrument", "play"],
    &["bicycle", "bike"],
    &["medicine", "medication", "pill"],
    &["school", "university", "college", "study"],
    &["get", "wake"],
    &["buy", "bought"],
    &["train", "gym", "workout"],
];

/// Words that say nothing about the subject of a question.
const COMMON: &[&str] = &[
    "what",
    "is",
    "my",
    "the",
    "of",
    "a",
    "an",
    "do",
    "does",
    "did",
    "i",
    "am",
    "who",
    "when",
    "where",
    "which",
    "how",
    "s",
    "name",
    "called",
    "favourite",
    "favorite",
    "best",
    "like",
    "live",
    "birthday",
    "many",
    "have",
    "number",
    "last",
    "next",
    "to",
    "for",
    "with",
    "go",
    "your",
    "you",
    "in",
    "on",
    "it",
];

/// The words of a text that carry its subject, lower-case and without a plural s.
fn subject_words(text: &str) -> HashSet<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| if word.len() > 3 { word.strip_suffix('s').unwrap_or(word) } else { word })
        .filter(|word| !COMMON.contains(word))
        .map(str::to_owned)
        .collect()
}

/// A subject's words, and other words for them.
fn words_for(subject: &str) -> HashSet<String> {
    let words = subject_words(subject);
    let shared = |group: &&&[&str]| group.iter().flat_map(|word| subject_words(word)).any(|word| words.contains(&word));
    let others = SYNONYMS.iter().filter(shared).flat_map(|group| group.iter().flat_map(|word| subject_words(word)));
    let others: Vec<String> = others.collect();
    words.into_iter().chain(others).collect()
}

/// A question about something never told.
struct Unknown {
    question: String,
    answer: String,
    /// The words for what it is about: who has told of one of them has told of it.
    words: HashSet<String>,
}

/// All of them, in a fixed order.
static QUESTIONS: LazyLock<Vec<Unknown>> = LazyLock::new(|| {
    let of = |&Shape(question, answer, subjects): &Shape| {
        subjects.iter().map(move |subject| Unknown {
            question: question.replace("{}", subject),
            answer: answer.replace("{}", subject),
            words: words_for(subject),
        })
    };
    SHAPES.iter().flat_map(of).collect()
});

/// All questions about things never told, in a fixed order.
pub(crate) fn unknown_questions() -> Vec<&'static str> {
    QUESTIONS.iter().map(|unknown| unknown.question.as_str()).collect()
}

/// Of each of [`unknown_questions`], whether no `known` card speaks of its subject.
pub(crate) fn untold<'a>(known: impl Iterator<Item = &'a Card>) -> Vec<bool> {
    let words: HashSet<String> =
        known.flat_map(|card| card.questions().chain([card.answer.as_str()])).flat_map(subject_words).collect();
    QUESTIONS.iter().map(|unknown| unknown.words.is_disjoint(&words)).collect()
}

/// Question cards about nothing that `known` cards speak of: one whose subject is a word of a learned card might
/// contradict it and is left out, and so is one with another word for it. In the order of all questions.
pub fn unknown_cards<'a>(known: impl Iterator<Item = &'a Card>) -> Vec<Card> {
    let card = |unknown: &Unknown| Card {
        id: u64::MAX,
        question: unknown.question.clone(),
        answer: unknown.answer.clone(),
        wordings: Vec::new(),
        source_turn: None,
    };
    QUESTIONS.iter().zip(untold(known)).filter(|&(_, untold)| untold).map(|(unknown, _)| card(unknown)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_question_is_asked_twice_and_every_subject_can_be_told() {
        let all = unknown_questions();
        let different: HashSet<&str> = all.iter().copied().collect();
        assert_eq!(different.len(), all.len());
        for Unknown { question, words, .. } in QUESTIONS.iter() {
            assert!(!words.is_empty(), "nothing that is told rules this out: {question}");
        }
    }

    #[test]
    fn a_question_about_a_learned_subject_is_left_out() {
        let card = |question: &str, answer: &str| Card {
            id: 1,
            question: question.into(),
            answer: answer.into(),
            wordings: Vec::new(),
            source_turn: None,
        };
        let all = unknown_cards(std::iter::empty());
        assert!(all.iter().any(|c| c.answer == "Your teacher's name is not known to me."));
        let known = [
            card("Who are my cousins?", "Your cousins are Ann and Bo."),
            card("Who?", "Hannah."),
            card("What is my mum's name?", "Your mum's name is Ada."),
        ];
        let rest = unknown_cards(known.iter());
        assert!(rest.len() < all.len());
        for told in ["cousin", "Hannah", "my mother"] {
            assert!(rest.iter().all(|c| !c.question.contains(told)), "{told}");
        }
    }
}
