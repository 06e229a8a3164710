//! Scorers: does an answer contain a key, and how many words does it share with the reference answer.

use crate::metrics::Overlap;

/// Lower-cases, deletes punctuation and collapses white space (SQuAD's convention without its removal of
/// articles): "Self-care,  twice!" becomes "selfcare twice".
pub fn normalise(text: &str) -> String {
    let kept: String = text.to_lowercase().chars().filter(|&c| !is_punctuation(c)).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Token F1: the harmonic mean of precision and recall over the multisets of normalised words. 1 where
/// both texts are empty, 0 where only one is.
pub fn token_f1(prediction: &str, reference: &str) -> f64 {
    let (prediction, reference) = (normalise(prediction), normalise(reference));
    if prediction.is_empty() || reference.is_empty() {
        return if prediction == reference { 1.0 } else { 0.0 };
    }
    let Overlap { common, prediction, answer } = Overlap::of(prediction.split(' '), reference.split(' '));
    // 2PR / (P + R) with P = common / |prediction| and R = common / |reference|.
    2.0 * common as f64 / (prediction + answer) as f64
}

/// Whether the text contains one of the keys: without regard to case, punctuation and white space, and as whole words.
///
/// "3:40 pm" is found in "at 3:40pm" and "9" in "the 9th", since a digit beside a letter is a boundary too; "7" is not
/// found in "17", nor "Au" in "because". Scripts written without spaces have no whole words: there any occurrence counts.
pub fn contains_key<S: AsRef<str>>(text: &str, keys: &[S]) -> bool {
    let text = spaced(text);
    keys.iter().any(|key| contains_words(&text, &spaced(key.as_ref())))
}

/// Lower case with runs of punctuation and white space as one space, and a space between digits and letters.
fn spaced(text: &str) -> Vec<char> {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        let gap = c.is_whitespace() || is_punctuation(c);
        let last = out.last().copied().unwrap_or(' ');
        if (gap || last.is_numeric() != c.is_numeric()) && last != ' ' {
            out.push(' ');
        }
        if !gap {
            out.push(c);
        }
    }
    if out.last() == Some(&' ') {
        out.pop();
    }
    out
}

fn contains_words(text: &[char], key: &[char]) -> bool {
    let (Some(&first), Some(&last)) = (key.first(), key.last()) else { return false };
    let whole =
        |outside: Option<&char>, edge: char| outside.is_none_or(|&c| c == ' ' || is_unspaced(c) || is_unspaced(edge));
    text.windows(key.len()).enumerate().any(|(at, window)| {
        window == key
            && whole(at.checked_sub(1).and_then(|before| text.get(before)), first)
            && whole(text.get(at + key.len()), last)
    })
}

/// ASCII punctuation and the punctuation blocks of Unicode that real answers contain.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '\u{00A1}' | '\u{00A7}' | '\u{00AB}' | '\u{00B6}' | '\u{00B7}' | '\u{00BB}' | '\u{00BF}')
        || matches!(c, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '\u{3001}'..='\u{3003}')
        || matches!(c, '\u{3008}'..='\u{3011}' | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}')
}

/// Letters of scripts that are written without spaces between words (Thai to Khmer, kana, Han).
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}')
        || matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
        || matches!(c, '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_keeps_words_and_nothing_else() {
        assert_eq!(normalise("  Self-care,\ttwice! "), "selfcare twice");
        assert_eq!(normalise("“Über”… café"), "über café");
        assert_eq!(normalise("?!…"), "");
    }

    #[test]
    fn f1_counts_each_word_once() {
        assert_eq!(token_f1("Your name is Priya.", "your NAME is priya"), 1.0);
        // Two common words of three and of four: 2·2 / 7.
        assert!((token_f1("teal teal teal and red", "teal") - 2.0 / 6.0).abs() < 1e-12);
        assert!((token_f1("it is teal", "is it really blue") - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!(token_f1("no", "yes"), 0.0);
        assert_eq!(token_f1("", "..."), 1.0);
        assert_eq!(token_f1("", "yes"), 0.0);
    }

    #[test]
    fn keys_are_whole_words() {
        assert!(contains_key("Your landlord is Mr. OKAFOR's son.", &["Okafor"]));
        assert!(contains_key("On Thursday at 3:40pm", &["3:40 pm"]));
        assert!(contains_key("On March 9th.", &["March 9"]));
        assert!(contains_key("There are 7 days", &["seven", "7"]));
        assert!(contains_key("a\u{a0}carbon\ndioxide molecule", &["carbon dioxide"]));
        assert!(!contains_key("There are 17 days", &["7"]));
        assert!(!contains_key("because", &["Au"]));
        assert!(!contains_key("On March 19th.", &["March 9"]));
        assert!(!contains_key("", &["Au"]));
        assert!(!contains_key("anything", &["", "!"]));
    }

    #[test]
    fn scripts_without_spaces_match_anywhere() {
        assert!(contains_key("私は東京に住んでいます", &["東京"]));
        assert!(!contains_key("私は京都に住んでいます", &["東京"]));
    }

    proptest::proptest! {
        #[test]
        fn scores_are_bounded_symmetric_and_never_panic(a in ".{0,40}", b in ".{0,40}") {
            let f1 = token_f1(&a, &b);
            proptest::prop_assert!((0.0..=1.0).contains(&f1));
            proptest::prop_assert_eq!(f1, token_f1(&b, &a));
            proptest::prop_assert!(normalise(&a).is_empty() || token_f1(&a, &a) == 1.0);
            contains_key(&a, &[&b]);
        }
    }
}
