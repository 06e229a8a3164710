//! Whether an answer says that it does not know.

/// Ways of saying so, in lower case with plain apostrophes.
const PHRASES: [&str; 29] = [
    "not mentioned",
    "never mentioned",
    "didn't mention",
    "did not mention",
    "haven't mentioned",
    "have not mentioned",
    "haven't told",
    "have not told",
    "didn't tell",
    "did not tell",
    "never told",
    "not known",
    "unknown",
    "don't know",
    "do not know",
    "doesn't know",
    "no information",
    "not enough information",
    "insufficient information",
    "don't have",
    "do not have",
    "can't answer",
    "cannot answer",
    "cannot be answered",
    "cannot determine",
    "not specified",
    "nothing about",
    "can't say",
    "cannot say",
];

/// Whether an answer says that it does not know, by its wording: a rough stand-in for a judge. An answer that says so and
/// then guesses counts as saying so.
pub fn abstains(answer: &str) -> bool {
    let plain = answer.to_lowercase().replace('\u{2019}', "'");
    PHRASES.iter().any(|phrase| plain.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_knowing_is_said_in_many_ways() {
        assert!(abstains("Your horse\u{2019}s name is not known to me."));
        assert!(abstains("You haven’t told me about a horse."));
        assert!(abstains("I DON'T KNOW"));
        assert!(abstains("There is nothing about that in our conversations, so I cannot say."));
        assert!(!abstains("Your horse is called Rex, as you know."));
        assert!(!abstains(""));
    }
}
