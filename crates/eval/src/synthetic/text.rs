//! From raw template output to a fluent sentence: spaces, articles, capitals.

/// Words that begin with a vowel letter but not with a vowel sound.
const CONSONANT_SOUND: &[&str] = &["uni", "use", "usu", "euro", "one", "once", "ukulele", "utopia"];

/// Words that begin with a consonant letter but with a vowel sound.
const VOWEL_SOUND: &[&str] = &["hour", "honest", "honour", "heir", "xperia"];

/// Collapses white space, removes it before punctuation, chooses between "a" and "an", and begins sentences with a capital.
pub(super) fn finish(raw: &str) -> String {
    let words: Vec<&str> = raw.split_whitespace().collect();
    let mut text = String::with_capacity(raw.len());
    let mut starts_sentence = true;
    for (i, &word) in words.iter().enumerate() {
        if !text.is_empty() && !word.starts_with(['.', ',', '?', '!', ';', ':']) {
            text.push(' ');
        }
        let next = words.get(i + 1).copied().unwrap_or_default();
        // "A" inside a sentence is a name (vitamin A), not an article.
        let article = match word {
            "a" | "an" => true,
            "A" | "An" => starts_sentence,
            _ => false,
        };
        let word = if article && !next.is_empty() { article_for(next) } else { word };
        if starts_sentence {
            push_capitalised(&mut text, word)
        } else {
            text.push_str(word)
        }
        starts_sentence = ends_sentence(word);
    }
    text
}

/// "a" or "an" before this word.
fn article_for(next: &str) -> &'static str {
    let next = next.trim_start_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let begins = |list: &[&str]| list.iter().any(|start| next.starts_with(start));
    let number: String = next.chars().take_while(char::is_ascii_digit).collect();
    let vowel = match number.as_str() {
        "" => begins(VOWEL_SOUND) || (next.starts_with(['a', 'e', 'i', 'o', 'u']) && !begins(CONSONANT_SOUND)),
        "11" | "18" => true,
        number => number.starts_with('8'),
    };
    if vowel { "an" } else { "a" }
}

/// Whether the next word begins a sentence.
fn ends_sentence(word: &str) -> bool {
    word.trim_end_matches(['"', ')', '”']).ends_with(['.', '!', '?'])
}

fn push_capitalised(text: &mut String, word: &str) {
    let mut chars = word.chars();
    // A word with a capital inside ("iPhone") is written as it is.
    match chars.next() {
        Some(first) if !chars.as_str().chars().next().is_some_and(char::is_uppercase) => {
            text.extend(first.to_uppercase());
            text.push_str(chars.as_str());
        }
        _ => text.push_str(word),
    }
}

/// The words of a text, as lengths are counted.
pub(super) fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_follow_the_sound() {
        assert_eq!(finish("a apple and an pear"), "An apple and a pear");
        assert_eq!(finish("I am a oboist, an hour from a university"), "I am an oboist, an hour from a university");
        assert_eq!(finish("a 8-day trip, a 11th, a 17th"), "An 8-day trip, an 11th, a 17th");
        assert_eq!(finish("we need vitamin A in winter"), "We need vitamin A in winter");
        assert_eq!(finish("it is a \"odd\" one"), "It is an \"odd\" one");
    }

    #[test]
    fn spaces_and_capitals_are_mended() {
        assert_eq!(finish("  hello ,  you .  how are you ? fine"), "Hello, you. How are you? Fine");
        assert_eq!(finish("iPhone users. \"so.\" he said"), "iPhone users. \"so.\" He said");
        assert_eq!(finish("3.40 pm, mr"), "3.40 pm, mr");
        assert_eq!(finish(""), "");
    }
}
