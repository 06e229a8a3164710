//! Recall of lists, labels, and texts that must contain something in order.

use super::squad;

/// Share of the gold answers that stand in the first `k` lines (or, of one line, comma-separated parts) of an answer. 0
/// without gold answers.
pub fn at<S: AsRef<str>>(k: usize, answer: &str, gold: &[S]) -> f64 {
    if gold.is_empty() {
        return 0.0;
    }
    let separator = if answer.trim().contains('\n') { '\n' } else { ',' };
    let listed: Vec<&str> = answer.split(separator).map(str::trim).filter(|line| !line.is_empty()).take(k).collect();
    let found = |gold: &&S| listed.iter().any(|line| squad::substring_match(line, gold.as_ref()));
    gold.iter().filter(found).count() as f64 / gold.len() as f64
}

/// Whether an answer names a label: it is the label, or begins with it as whole words ("12" in "12 (card lost)", not in
/// "123"), after SQuAD's normalisation; "label:" before it does not count.
pub fn is_label(answer: &str, label: &str) -> bool {
    let first = answer.trim().lines().next().unwrap_or_default();
    let lower = first.to_lowercase();
    let said = squad::normalise(lower.strip_prefix("label:").unwrap_or(&lower));
    let label = squad::normalise(label);
    let rest = said.strip_prefix(label.as_str()).filter(|_| !label.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Whether a text contains all of some keys, as whole words and in their order, after SQuAD's normalisation.
pub fn contains_in_order<S: AsRef<str>>(text: &str, keys: &[S]) -> bool {
    let normal = squad::normalise(text);
    let words: Vec<&str> = normal.split_whitespace().collect();
    let mut rest = words.as_slice();
    keys.iter().all(|key| {
        let key = squad::normalise(key.as_ref());
        let key: Vec<&str> = key.split_whitespace().collect();
        if key.is_empty() {
            return true;
        }
        let found = rest.windows(key.len()).position(|window| window == key.as_slice());
        rest = found.and_then(|at| rest.get(at + key.len()..)).unwrap_or_default();
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_looks_at_the_first_lines() {
        let gold = ["Heat", "Alien"];
        assert_eq!(at(2, "1. The Heat (1995)\n2. Up\n3. Alien", &gold), 0.5);
        assert_eq!(at(5, "Alien, Heat", &gold), 1.0);
        assert_eq!(at(5, "", &gold), 0.0);
        assert_eq!(at::<&str>(5, "Alien", &[]), 0.0);
    }

    #[test]
    fn keys_stand_in_order() {
        assert!(contains_in_order("First pay 3 coins, then move the blue stone.", &["3 coins", "blue"]));
        assert!(!contains_in_order("Move the blue stone, then pay 3 coins.", &["3 coins", "blue"]));
        assert!(!contains_in_order("13 coins", &["3 coins"]));
        assert!(contains_in_order("anything", &[""; 0]));
    }

    #[test]
    fn labels_are_whole() {
        assert!(is_label("Label: 12", "12"));
        assert!(is_label("card_lost, I think", "card_lost"));
        assert!(!is_label("123", "12"));
        assert!(!is_label("not card_lost", "card_lost"));
        assert!(!is_label("x", ""));
    }
}
