//! The Porter stemmer as NLTK has it by default (`NLTK_EXTENSIONS`), on which LoCoMo's official score depends.
//!
//! It is M. F. Porter's algorithm of 1980 with NLTK's departures: a table of irregular forms, words of one or two letters
//! left alone, and changes in steps 1a, 1b, 1c, 2 and in what counts as consonant-vowel-consonant. The Snowball
//! stemmers ("Porter2" too) give other stems. Checked against NLTK 3.10 on 95,000 words of LoCoMo, SQuAD and HotpotQA,
//! a part of them inflected at random: no stem differs.

/// (word, stem) of NLTK's table.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffixes of step 2 with their replacements; the longest match is not sought, the first one decides.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Suffixes of step 4, in NLTK's order; `ion` falls only after s or t.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// The stem of a word, in lower case.
pub fn stem(word: &str) -> String {
    let lower = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == lower) {
        return (*stem).to_owned();
    }
    let mut word: Vec<char> = lower.chars().collect();
    if word.len() <= 2 {
        return lower;
    }
    step_1a(&mut word);
    step_1b(&mut word);
    step_1c(&mut word);
    step_2(&mut word);
    first_match(&mut word, &STEP_3, |stem| measure(stem) > 0);
    step_4(&mut word);
    step_5(&mut word);
    word.into_iter().collect()
}

fn is_consonant(word: &[char], at: usize) -> bool {
    match word[at] {
        'a' | 'e' | 'i' | 'o' | 'u' => false,
        'y' => at == 0 || !is_consonant(word, at - 1),
        _ => true,
    }
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(stem: &[char]) -> usize {
    (1..stem.len()).filter(|&at| is_consonant(stem, at) && !is_consonant(stem, at - 1)).count()
}

fn has_vowel(stem: &[char]) -> bool {
    (0..stem.len()).any(|at| !is_consonant(stem, at))
}

fn ends_in_double_consonant(word: &[char]) -> bool {
    matches!(word, [.., a, b] if a == b) && is_consonant(word, word.len() - 1)
}

/// Porter's *o, and by NLTK also a word of vowel and consonant alone.
fn ends_in_cvc(word: &[char]) -> bool {
    let Some(last) = word.len().checked_sub(1) else { return false };
    match last {
        0 => false,
        1 => !is_consonant(word, 0) && is_consonant(word, 1),
        _ => {
            is_consonant(word, last - 2)
                && !is_consonant(word, last - 1)
                && is_consonant(word, last)
                && !matches!(word[last], 'w' | 'x' | 'y')
        }
    }
}

/// The word without a suffix, if it has that.
fn without<'a>(word: &'a [char], suffix: &str) -> Option<&'a [char]> {
    let at = word.len().checked_sub(suffix.chars().count())?;
    let (stem, tail) = word.split_at(at);
    tail.iter().copied().eq(suffix.chars()).then_some(stem)
}

/// Puts `ending` behind the first `stem` characters.
fn replace(word: &mut Vec<char>, stem: usize, ending: &str) {
    word.truncate(stem);
    word.extend(ending.chars());
}

/// The first suffix that matches decides, whether or not its condition then holds. Returns whether one matched.
fn first_match(word: &mut Vec<char>, rules: &[(&str, &str)], condition: impl Fn(&[char]) -> bool) -> bool {
    let matched = rules.iter().find_map(|(suffix, ending)| without(word, suffix).map(|stem| (stem.len(), *ending)));
    let Some((stem, ending)) = matched else { return false };
    if condition(&word[..stem]) {
        replace(word, stem, ending);
    }
    true
}

fn step_1a(word: &mut Vec<char>) {
    if word.len() == 4 && without(word, "ies").is_some() {
        return replace(word, 1, "ie");
    }
    first_match(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_| true);
}

fn step_1b(word: &mut Vec<char>) {
    if let Some(stem) = without(word, "ied").map(<[char]>::len) {
        return replace(word, stem, if stem == 1 { "ie" } else { "i" });
    }
    if let Some(stem) = without(word, "eed") {
        if measure(stem) > 0 {
            let stem = stem.len();
            replace(word, stem, "ee");
        }
        return;
    }
    let cut = ["ed", "ing"].iter().find_map(|suffix| without(word, suffix).filter(|stem| has_vowel(stem)));
    let Some(stem) = cut.map(<[char]>::len) else { return };
    word.truncate(stem);
    if first_match(word, &[("at", "ate"), ("bl", "ble"), ("iz", "ize")], |_| true) {
        return;
    }
    if ends_in_double_consonant(word) {
        if !matches!(word.last(), Some('l' | 's' | 'z')) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_in_cvc(word) {
        word.push('e');
    }
}

fn step_1c(word: &mut [char]) {
    let Some(last) = word.len().checked_sub(1) else { return };
    if word[last] == 'y' && last > 1 && is_consonant(word, last - 1) {
        word[last] = 'i';
    }
}

fn step_2(word: &mut Vec<char>) {
    if let Some(stem) = without(word, "alli").filter(|stem| measure(stem) > 0).map(<[char]>::len) {
        replace(word, stem, "al");
        return step_2(word);
    }
    if first_match(word, &STEP_2, |stem| measure(stem) > 0) {
        return;
    }
    // NLTK takes the measure with the l of "logi" in the stem.
    if let Some(stem) = without(word, "logi").map(<[char]>::len)
        && measure(&word[..stem + 1]) > 0
    {
        replace(word, stem, "log");
    }
}

fn step_4(word: &mut Vec<char>) {
    let Some((stem, suffix)) = STEP_4.iter().find_map(|suffix| without(word, suffix).map(|stem| (stem, *suffix)))
    else {
        return;
    };
    if measure(stem) > 1 && (suffix != "ion" || matches!(stem.last(), Some('s' | 't'))) {
        let stem = stem.len();
        word.truncate(stem);
    }
}

fn step_5(word: &mut Vec<char>) {
    if let Some(stem) = without(word, "e") {
        let m = measure(stem);
        if m > 1 || m == 1 && !ends_in_cvc(stem) {
            word.pop();
        }
    }
    if without(word, "ll").is_some() && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stem_of_the_fixture_is_exact() {
        let fixture = include_str!("../../tests/fixtures/porter_fixtures.json");
        let stems: std::collections::BTreeMap<String, String> = serde_json::from_str(fixture).unwrap();
        assert_eq!(stems.len(), 38);
        for (word, expected) in stems {
            assert_eq!(stem(&word), expected, "{word}");
        }
    }

    #[test]
    fn nltk_departs_from_porter() {
        for (word, expected) in [("dies", "die"), ("died", "die"), ("enjoy", "enjoy"), ("spied", "spi"), ("by", "by")] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_word_has_a_stem(word in ".{0,12}") {
            proptest::prop_assert!(stem(&word).chars().count() <= word.to_lowercase().chars().count() + 1);
        }
    }
}
