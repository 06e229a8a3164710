//! What the data files must fulfil, and what cannot be seen from outside. `crates/eval/tests/synthetic.rs` checks the
//! output itself.

use std::collections::BTreeSet;

use super::dice::Dice;
use super::filler::{self, Sort};
use super::grammar::{Subject, Voice};
use super::keys::{KeyIndex, tokens};
use super::lexicon::{About, Entry, Lexicon, Teller};
use super::scope::Scope;
use super::template::Template;
use super::value::Value;
use crate::score::{contains_key, normalise};

fn lexicon() -> Lexicon {
    Lexicon::built_in().unwrap()
}

fn sister() -> Subject {
    Subject::Other { noun: "sister".to_owned(), female: true }
}

#[test]
fn the_data_is_as_rich_as_its_readme_says() {
    let lexicon = lexicon();
    assert!(lexicon.kinds.len() >= 40, "{}", lexicon.kinds.len());
    let mut ids = BTreeSet::new();
    for kind in &lexicon.kinds {
        assert!(ids.insert(&kind.id), "{} is there twice", kind.id);
        assert!(lexicon.themes.contains_key(&kind.theme), "{}: no theme {}", kind.id, kind.theme);
        assert!(kind.clauses.len() >= 4 && kind.clauses.len() + kind.asides.len() >= 6, "{}", kind.id);
        assert!(kind.questions.len() + kind.indirect.len() >= 5, "{}", kind.id);
        assert!(kind.held_out.len() >= 3, "{}", kind.id);
        assert_eq!(
            kind.teller == Teller::Assistant,
            !kind.requests.is_empty() && !kind.accepts.is_empty(),
            "{}",
            kind.id
        );
    }
    let rows: usize = lexicon.tables.iter().map(|table| table.rows.len()).sum();
    let exchanges: usize = lexicon.exchanges.iter().map(Vec::len).sum();
    assert!(rows >= 200 && rows + exchanges >= 250, "{rows} {exchanges}");
    assert!(lexicon.tables.iter().flat_map(|table| &table.rows).all(|(_, answer)| !answer.keys.is_empty()));
}

#[test]
fn every_statement_carries_its_value_and_every_template_can_be_filled() {
    let lexicon = lexicon();
    let sister = sister();
    for kind in &lexicon.kinds {
        let subjects: &[&Subject] = match kind.about {
            About::User => &[&Subject::User],
            About::Anyone => &[&Subject::User, &sister],
            About::Others => &[&sister],
        };
        for subject in subjects {
            for round in 0..5 {
                let mut dice = Dice::new(round, 0);
                let value = Value::draw(&lexicon, kind, "first_f", &mut dice).unwrap();
                assert!(contains_key(value.text(), &value.keys), "{}: {value:?}", kind.id);
                let scope = Scope::new(&lexicon, subject, Voice::User).with("value", value.text()).with("old", "OLD");
                let carriers = kind.clauses.iter().chain(&kind.asides).chain(&kind.accepts).chain(&kind.updates);
                for template in carriers {
                    let said = scope.sentence(template, "", &mut dice).unwrap();
                    assert!(contains_key(&said, &value.keys), "{}: {said}", kind.id);
                }
                let askers = kind.questions.iter().chain(&kind.indirect).chain(&kind.held_out).chain(&kind.requests);
                for template in askers {
                    let said = scope.sentence(template, "", &mut dice).unwrap();
                    assert!(!contains_key(&said, &value.keys), "{}: {said}", kind.id);
                }
                for voice in [Voice::Assistant, Voice::Note] {
                    let scope = Scope::new(&lexicon, subject, voice).with("value", value.text());
                    let answer = scope.sentence(&kind.answer, ".", &mut dice).unwrap();
                    assert!(contains_key(&answer, &value.keys), "{}: {answer}", kind.id);
                    let unknown = scope.sentence(&kind.unknown, ".", &mut dice).unwrap();
                    assert!(!contains_key(&unknown, &value.keys), "{}: {unknown}", kind.id);
                }
            }
        }
    }
}

#[test]
fn dates_times_and_sums_are_known_by_each_of_their_forms() {
    let lexicon = lexicon();
    let mut dice = Dice::new(3, 0);
    for kind in &lexicon.kinds {
        for _ in 0..20 {
            let value = Value::draw(&lexicon, kind, "first_m", &mut dice).unwrap();
            for form in &value.forms {
                assert!(contains_key(form, &value.keys), "{}: {form} {:?}", kind.id, value.keys);
            }
        }
    }
}

/// "truly different": not one held-out wording has the content words of a training wording.
#[test]
fn held_out_wordings_are_different_questions_not_reordered_ones() {
    const COMMON: &[&str] = &[
        "a", "am", "an", "and", "at", "be", "by", "can", "did", "do", "does", "for", "from", "has", "have", "how", "i",
        "in", "is", "it", "me", "my", "of", "on", "s", "should", "the", "to", "was", "what", "when", "where", "which",
        "who", "with", "would", "you", "your", "m", "that", "will", "if",
    ];
    let lexicon = lexicon();
    let content = |text: &str| -> BTreeSet<String> {
        tokens(text).into_iter().filter(|word| !COMMON.contains(&word.as_str())).collect()
    };
    let say = |template: &Template, subject: &Subject| {
        Scope::new(&lexicon, subject, Voice::User).sentence(template, "", &mut Dice::new(0, 0)).unwrap()
    };
    let mut too_close = BTreeSet::new();
    for kind in &lexicon.kinds {
        let sister = sister();
        let subject = if kind.about == About::Others { &sister } else { &Subject::User };
        let trained: Vec<_> = kind.questions.iter().chain(&kind.indirect).map(|t| content(&say(t, subject))).collect();
        for template in &kind.held_out {
            let text = say(template, subject);
            let words = content(&text);
            for other in &trained {
                let (both, all) = (words.intersection(other).count(), words.union(other).count());
                if both * 2 > all {
                    too_close.insert(format!("{}: {text}", kind.id));
                }
            }
        }
    }
    assert!(too_close.is_empty(), "{too_close:#?}");
}

/// A word that some fact may have as its answer must not stand in the templates of other facts.
#[test]
fn no_template_gives_away_what_another_kind_draws() {
    let lexicon = lexicon();
    let mut index = KeyIndex::default();
    let lists: Vec<&String> = lexicon.lists.keys().collect();
    for (at, list) in lists.iter().enumerate() {
        for Entry { keys, .. } in &lexicon.lists[*list] {
            index.insert(at, keys);
        }
    }
    // Parts of values that are never keys on their own.
    let parts = ["_head", "_tail", "_adjective", "_noun", "password_word"];
    let mut found = BTreeSet::new();
    let mut check = |place: &str, templates: &[&Template], own: &[&str]| {
        for template in templates {
            for hit in index.hits(template.source()) {
                let list = lists[hit].as_str();
                let harmless = parts.iter().any(|part| list.ends_with(part)) || own.contains(&list);
                if !harmless {
                    found.insert(format!("{place}: `{}` has a word of {list}", template.source()));
                }
            }
        }
    };
    for kind in &lexicon.kinds {
        let own = kind.value.slots();
        let told: Vec<&Template> = kind
            .clauses
            .iter()
            .chain(&kind.asides)
            .chain(&kind.updates)
            .chain(&kind.requests)
            .chain(&kind.accepts)
            .collect();
        check(&kind.id, &told, &own);
    }
    for theme in lexicon.themes.values() {
        let around: Vec<&Template> = theme.lead.iter().chain(&theme.tail).chain(&theme.reply).collect();
        check(&theme.id, &around, &[]);
    }
    let frames = &lexicon.frames;
    let around: Vec<&Template> =
        frames.statement.iter().chain(&frames.update).chain(&frames.bridge).chain(&frames.afterthought).collect();
    check("frames", &around, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn distractors_answer_their_own_questions() {
    let lexicon = lexicon();
    let mut dice = Dice::new(5, 0);
    let mut seen = BTreeSet::new();
    for _ in 0..4000 {
        let filler = filler::draw(&lexicon, Sort::Any, &mut dice).unwrap();
        assert!(filler.keys.is_empty() || contains_key(&filler.assistant, &filler.keys), "{filler:?}");
        assert!(filler.keys.is_empty() || !contains_key(&filler.user, &filler.keys), "{filler:?}");
        seen.insert(normalise(&filler.user));
    }
    assert!(seen.len() > 800, "{}", seen.len());
}

#[test]
fn computed_distractors_are_right() {
    let lexicon = lexicon();
    let mut dice = Dice::new(6, 0);
    let mut checked = 0;
    for _ in 0..4000 {
        let filler = filler::draw(&lexicon, Sort::Any, &mut dice).unwrap();
        if filler.topic.0 != 1 {
            continue;
        }
        let numbers: Vec<u32> = tokens(&filler.user).iter().filter_map(|word| word.parse().ok()).collect();
        let result: u32 = filler.keys[0].parse().unwrap();
        let right = match (filler.user.contains("times"), filler.user.contains("plus"), filler.user.contains("divide"))
        {
            (true, _, _) => numbers[0] * numbers[1],
            (_, true, _) => numbers[0] + numbers[1],
            (_, _, true) => numbers[0] / numbers[1],
            _ if filler.user.contains("centimetres") => numbers[0] * 100,
            _ => numbers[0] * 60,
        };
        assert_eq!(result, right, "{filler:?}");
        checked += 1;
    }
    assert!(checked > 50);
}
