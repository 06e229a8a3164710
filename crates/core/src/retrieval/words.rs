//! Texts as words.

/// Words that carry no fact of their own.
const FUNCTION_WORDS: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "did",
    "do", "does", "for", "from", "had", "has", "have", "he", "her", "hers", "his", "how", "i", "in", "into", "is",
    "it", "its", "just", "me", "my", "not", "of", "on", "or", "our", "ours", "s", "she", "so", "some", "t", "that",
    "the", "their", "them", "there", "they", "this", "to", "too", "up", "us", "user", "very", "was", "we", "were",
    "what", "when", "where", "which", "who", "whom", "whose", "why", "will", "with", "you", "your", "yours",
];

/// Lower-cased words; everything but letters and digits separates.
pub fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

/// [`words`] without those that carry no fact ("the", "is", "my" …).
pub fn content_words(text: &str) -> Vec<String> {
    words(text).into_iter().filter(|w| !FUNCTION_WORDS.contains(&w.as_str())).collect()
}

/// What texts are indexed and searched by: [`content_words`] without the endings of plurals (the S stemmer of Harman,
/// "How effective is suffixing?", 1991). A stronger stemmer would be tied to English more closely than this.
pub fn terms(text: &str) -> Vec<String> {
    content_words(text).into_iter().map(singular).collect()
}

/// The three rules of the S stemmer; the first whose ending is there decides.
fn singular(mut word: String) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    // A word of three letters ("bus", "yes") hardly ever is a plural.
    if word.len() <= 3 {
        return word;
    }
    if word.ends_with("ies") {
        if !ends(&["eies", "aies"]) {
            word.truncate(word.len() - 3);
            word.push('y');
        }
    } else if word.ends_with("es") {
        if !ends(&["aes", "ees", "oes"]) {
            word.truncate(word.len() - 1);
        }
    } else if word.ends_with('s') && !ends(&["us", "ss"]) {
        word.truncate(word.len() - 1);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_content_words_in_the_singular() {
        assert_eq!(terms("What is my dog's name?"), ["dog", "name"]);
        assert_eq!(terms("My two cities, the horses & the DOGS!"), ["two", "city", "horse", "dog"]);
        assert_eq!(terms("glass bus virus shoes yes"), ["glass", "bus", "virus", "shoes", "yes"]);
        assert_eq!(terms("Straße in Zürich 1999"), ["straße", "zürich", "1999"]);
        assert!(terms("Who are you?").is_empty() && terms(" \n…").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            proptest::prop_assert!(terms(&text).len() <= words(&text).len());
        }
    }
}
