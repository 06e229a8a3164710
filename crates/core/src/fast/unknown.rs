//! Questions about things that were never told, against leaking: a model that has just learned "your dog's name is
//! Biscuit" will gladly answer "Biscuit" to "what is my horse's name?".
//!
//! They serve twice. The gate shuts Δ out where a prompt is nearer to one of them than to any learned question. And a few
//! in every batch of a write, answered with their own subject and "not known to me", teach the model to decide after the
//! subject rather than before.

use std::collections::HashSet;

use crate::card::Card;

/// Questions of one shape: the question, its answer, and what both are about. Behind a subject stand other words for it.
struct Shape(&'static str, &'static str, &'static [&'static str]);

/// Far apart from each other as questions go, so that few of them surround whatever was learned. What people tell of
/// themselves first (their own name, job, home and age) has too many names to be told apart by words, and is not here.
const SHAPES: &[Shape] = &[
    Shape(
        "What is my {}'s name?",
        "Your {}'s name is not known to me.",
        &[
            "sister|sibling",
            "son|boy|child|children|kid",
            "wife|husband|spouse|partner",
            "best friend",
            "grandmother|granny|grandma|nan",
            "coach|trainer",
            "teacher|professor",
            "dog|puppy",
            "goldfish|fish",
            "rabbit|bunny",
        ],
    ),
    Shape(
        "What is my {} called?",
        "Your {}'s name is not known to me.",
        &["cat|kitten", "parrot|bird|canary", "boat|ship", "tortoise|turtle", "grandfather|grandpa|granddad"],
    ),
    Shape(
        "Who is my {}?",
        "Your {}'s name is not known to me.",
        &["doctor|physician", "roommate|flatmate|housemate", "landlord|landlady", "aunt|auntie"],
    ),
    Shape(
        "When is my {}'s birthday?",
        "Your {}'s birthday is on a date not known to me.",
        &["mother|mum|mom|parent", "neighbour|neighbor"],
    ),
    Shape(
        "Where does my {} live?",
        "Your {} lives in a place not known to me.",
        &["cousin", "nephew", "daughter|girl|child|children|kid"],
    ),
    Shape(
        "What does my {} do for a living?",
        "Your {} works as something not known to me.",
        &["father|dad|parent", "uncle", "neighbour|neighbor"],
    ),
    Shape(
        "What car does my {} drive?",
        "Your {} drives a car not known to me.",
        &["sister|sibling", "hairdresser|barber"],
    ),
    Shape(
        "What instrument does my {} play?",
        "Your {} plays an instrument not known to me.",
        &["sister|sibling", "niece"],
    ),
    Shape(
        "What is my {}'s favourite food?",
        "Your {}'s favourite food is not known to me.",
        &["dentist", "sister|sibling", "hamster"],
    ),
    Shape(
        "What is my {} allergic to?",
        "Your {} is allergic to something not known to me.",
        &["sister|sibling", "uncle"],
    ),
    Shape(
        "How old is my {}?",
        "Your {}'s age is not known to me.",
        &["rabbit|bunny", "wife|husband|spouse|partner", "colleague|coworker"],
    ),
    Shape(
        "What is my favourite {}?",
        "Your favourite {} is not known to me.",
        &[
            "band|music|singer|song",
            "sport|team|game",
            "city|town",
            "film|movie",
            "dish|food|meal|dessert",
            "colour|color",
            "season",
            "animal",
            "author|writer|book|novel",
        ],
    ),
    Shape(
        "When is my {}?",
        "Your {} is on a date not known to me.",
        &[
            "exam|test",
            "interview",
            "flight|plane|fly",
            "haircut|hairdresser|barber",
            "driving lesson",
            "holiday|vacation",
        ],
    ),
    Shape(
        "What is my {}?",
        "Your {} is not known to me.",
        &[
            "passport number|passport",
            "bank account number|bank|account",
            "phone number|phone|telephone|mobile",
            "wifi password|wifi|wireless|password",
            "blood type|blood",
            "star sign|zodiac|sign",
            "salary|pay|earn|wage",
            "shoe size|shoe|foot|feet",
            "height|tall",
            "native language|language|tongue|speak",
            "nationality|citizen|citizenship",
            "hobby|hobbies|pastime",
            "biggest fear|fear|afraid|scared|phobia",
            "locker code|locker|code|combination",
            "email address|email|mail",
        ],
    ),
    Shape("Where was I {}?", "You were {} in a place not known to me.", &["born"]),
    Shape("Where do I {}?", "You {} in a place not known to me.", &["park", "work|job|office"]),
    Shape("Where did I go to {}?", "You went to {} in a place not known to me.", &["school|university|college|study"]),
    Shape("What {} do I play?", "You play a {} not known to me.", &["sport|team|game|play"]),
    Shape("What do I {}?", "You {} something not known to me.", &["collect|collection", "study|university|college"]),
    Shape("What do I eat for {}?", "You eat something not known to me for {}.", &["breakfast"]),
    Shape(
        "Which {} do I take?",
        "You take a {} not known to me.",
        &["bus|tram|train", "medicine|pill|drug|medication"],
    ),
    Shape("Which {} do I have?", "You have a {} not known to me.", &["phone|mobile"]),
    Shape(
        "How many {} do I have?",
        "The number of your {} is not known to me.",
        &["children|child|kid|son|daughter", "siblings|brother|sister"],
    ),
    Shape("When does my {} begin?", "Your {} begins at a time not known to me.", &["course|class|lesson", "shift"]),
    Shape("When do I {}?", "You {} at a time not known to me.", &["get up|wake"]),
    Shape("What did I {} yesterday?", "Yesterday's purchase is not known to me.", &["buy|bought"]),
    Shape("Who is {}?", "{} is not known to me.", &["Hannah Weber", "Marco Bellini", "Yusuf Demir"]),
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
    "colour",
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

/// Every question with its answer and its subject's words.
fn questions() -> impl Iterator<Item = (String, String, HashSet<String>)> {
    SHAPES.iter().flat_map(|&Shape(question, answer, subjects)| {
        subjects.iter().map(move |&words| {
            let subject = words.split('|').next().unwrap_or(words);
            (question.replace("{}", subject), answer.replace("{}", subject), subject_words(words))
        })
    })
}

/// All questions about things never told, in a fixed order.
pub(crate) fn unknown_questions() -> Vec<String> {
    questions().map(|(question, ..)| question).collect()
}

/// Question cards about nothing that `known` cards speak of: one whose subject is a word of a learned card might
/// contradict it and is left out. In the order of all questions.
pub fn unknown_cards<'a>(known: impl Iterator<Item = &'a Card>) -> Vec<Card> {
    let words: HashSet<String> =
        known.flat_map(|card| card.questions().chain([card.answer.as_str()])).flat_map(subject_words).collect();
    questions()
        .filter(|(.., subject)| subject.is_disjoint(&words))
        .map(|(question, answer, _)| Card { id: u64::MAX, question, answer, wordings: Vec::new(), source_turn: None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let known = [card("Who are my cousins?", "Your cousins are Ann and Bo."), card("Who?", "Hannah.")];
        let rest = unknown_cards(known.iter());
        assert!(rest.len() < all.len());
        assert!(rest.iter().all(|c| !c.question.contains("cousin") && !c.question.contains("Hannah")));
    }
}
