//! Which answers a text gives away.

use std::collections::HashMap;

/// Words of a text as [`crate::score::contains_key`] sees them: lower case, without punctuation, digits and letters apart.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = ' ';
    for c in text.to_lowercase().chars() {
        if c.is_alphanumeric() {
            match tokens.last_mut() {
                Some(token) if last.is_alphanumeric() && last.is_numeric() == c.is_numeric() => token.push(c),
                _ => tokens.push(c.to_string()),
            }
        }
        last = c;
    }
    tokens
}

/// The keys of all facts, by their first word.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyIndex {
    by_first: HashMap<String, Vec<(Vec<String>, usize)>>,
}

impl KeyIndex {
    /// Adds a fact's keys.
    pub(super) fn insert(&mut self, fact: usize, keys: &[String]) {
        for key in keys {
            let words = tokens(key);
            if let Some(first) = words.first() {
                self.by_first.entry(first.clone()).or_default().push((words, fact));
            }
        }
    }

    /// The facts that have a key in the text, in its order, some of them perhaps more than once.
    pub(super) fn hits(&self, text: &str) -> Vec<usize> {
        let words = tokens(text);
        let mut hits = Vec::new();
        for (at, word) in words.iter().enumerate() {
            for (key, fact) in self.by_first.get(word).into_iter().flatten() {
                if words[at..].starts_with(key) {
                    hits.push(*fact);
                }
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::contains_key;

    #[test]
    fn hits_name_the_facts_whose_keys_are_there() {
        let mut index = KeyIndex::default();
        index.insert(3, &["Biscuit".to_owned()]);
        index.insert(5, &["9 March".to_owned(), "March 9".to_owned()]);
        assert_eq!(index.hits("My dog biscuit, born March 9th."), [3, 5]);
        assert!(index.hits("Biscuits on March 19").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_the_scorer(text in "[aB3 :.-]{0,20}", key in "[ab3 :]{1,6}") {
            let mut index = KeyIndex::default();
            index.insert(0, std::slice::from_ref(&key));
            proptest::prop_assert_eq!(!index.hits(&text).is_empty(), contains_key(&text, &[key]));
        }
    }
}
