//! What holds for every generated conversation.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tmem_core::message::Role;
use tmem_eval::data::DataFile;
use tmem_eval::score::{contains_key, normalise};
use tmem_eval::synthetic::{
    CANONICAL, Gold, Instance, Length, Lexicon, LongMemEvalWriter, Parameters, Plan, Question, QuestionType, Session,
    Wording,
};

/// Everything about one conversation.
struct Made {
    sessions: Vec<Session>,
    gold: Gold,
}

fn make(lexicon: &Lexicon, parameters: &Parameters, conversation: u64) -> Made {
    let plan = Plan::new(lexicon, parameters, conversation).unwrap();
    Made { sessions: plan.sessions().collect::<Result<_, _>>().unwrap(), gold: plan.gold().unwrap() }
}

fn words(sessions: &[Session]) -> usize {
    sessions.iter().flat_map(|session| &session.turns).map(|turn| turn.content.split_whitespace().count()).sum()
}

/// Parameters of every size that can be met quickly.
fn parameters() -> impl Strategy<Value = Parameters> {
    (any::<u64>(), 1usize..12, 1usize..60, prop_oneof![Just(None), (0usize..4000).prop_map(Some)]).prop_map(
        |(seed, sessions, facts, more)| {
            let least = (facts * 30).max(sessions * 40).max(300);
            let length = more.map_or(Length::Exchanges(4), |more| Length::Words(least + more));
            Parameters { seed, sessions, facts, length }
        },
    )
}

#[track_caller]
fn fluent(text: &str) {
    assert!(!text.contains(['{', '}', '[', ']', '|']), "unfilled: {text}");
    assert!(!text.contains("  ") && text.trim() == text && !text.is_empty(), "spaces: {text:?}");
    for bad in [" .", " ,", " ?", " !", "..", ",,", ",.", "?.", "!.", ":."] {
        assert!(!text.contains(bad), "`{bad}` in {text}");
    }
    let first = text.chars().find(|c| c.is_alphanumeric()).unwrap();
    assert!(!first.is_lowercase() || text.starts_with("iPhone"), "no capital: {text}");
    assert!(text.ends_with(['.', '?', '!', '"']), "no end: {text}");
    let vowel_sound = |word: &str| {
        let word = word.to_lowercase();
        word.starts_with(['a', 'e', 'i', 'o', 'u'])
            && !["uni", "use", "ukul", "one"].iter().any(|w| word.starts_with(w))
    };
    let all: Vec<&str> = text.split(' ').collect();
    for pair in all.windows(2) {
        if let ["a", next] = pair {
            assert!(!vowel_sound(next), "`a {next}` in {text}");
        }
        if let ["an", next] = pair {
            assert!(vowel_sound(next) || next.starts_with(['8', '1', 'h', 'H', 'X']), "`an {next}` in {text}");
        }
        assert!(pair[0] != pair[1] || pair[0] == "that", "`{}` twice in {text}", pair[0]);
    }
    for broken in ["I is ", "I has ", "my my ", "your your ", "I are ", "he have ", "she have "] {
        assert!(!format!(" {text} ").contains(&format!(" {broken}")), "`{broken}` in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_told_once_and_given_away_nowhere(parameters in parameters()) {
        let lexicon = Lexicon::built_in().unwrap();
        let Made { sessions, gold } = make(&lexicon, &parameters, 0);
        prop_assert_eq!(gold.facts.len(), parameters.facts);
        prop_assert_eq!(sessions.len(), parameters.sessions);
        let ids: BTreeSet<&str> = gold.facts.iter().map(|fact| fact.id.as_str()).collect();
        prop_assert_eq!(ids.len(), gold.facts.len());
        for (index, fact) in gold.facts.iter().enumerate() {
            let turn = &sessions[fact.session].turns[fact.turn];
            prop_assert_eq!((turn.tells, &turn.content), (Some(index), &fact.told));
            prop_assert_eq!(&sessions[fact.session].id, &fact.session_id);
            prop_assert_eq!(turn.role, match fact.told_by { tmem_eval::synthetic::Teller::User => Role::User, _ => Role::Assistant });
            if fact.kind == "event" {
                continue;
            }
            prop_assert!(contains_key(&fact.told, &fact.keys), "{:?}", fact);
            prop_assert!(contains_key(&fact.answer, &fact.keys) && contains_key(&fact.statement, &fact.keys), "{:?}", fact);
            // Elsewhere: only where advice is taken, and where a change names what it changes.
            for (at, session) in sessions.iter().enumerate() {
                for (place, turn) in session.turns.iter().enumerate() {
                    if contains_key(&turn.content, &fact.keys) {
                        let here = at == fact.session && (place == fact.turn || place == fact.turn + 1);
                        let changed = turn.tells.is_some() && turn.tells == fact.superseded_by;
                        prop_assert!(here || changed, "{} in {}", fact.id, turn.content);
                    }
                }
            }
        }
        // No turn tells two facts.
        let telling = sessions.iter().flat_map(|session| &session.turns).filter(|turn| turn.tells.is_some()).count();
        prop_assert_eq!(telling, gold.facts.len());
    }

    #[test]
    fn every_question_follows_from_the_latest_fact(parameters in parameters()) {
        let lexicon = Lexicon::built_in().unwrap();
        let Made { sessions, gold } = make(&lexicon, &parameters, 0);
        for pair in sessions.windows(2) {
            prop_assert!(pair[0].date < pair[1].date, "{} {}", pair[0].date, pair[1].date);
        }
        prop_assert!(sessions.last().unwrap().date < gold.question_date);
        let mut asked = BTreeSet::new();
        for question in &gold.questions {
            prop_assert!(asked.insert(&question.question_id), "{}", question.question_id);
            prop_assert_eq!(question.question_id.ends_with("_abs"), question.is_unanswerable());
            for &index in &question.evidence {
                prop_assert!(gold.facts[index].superseded_by.is_none());
            }
            let right = contains_key(&question.answer, &question.keys);
            prop_assert!(question.keys.is_empty() || right, "{:?}", question);
            match (question.question_type, question.evidence.as_slice()) {
                (QuestionType::KnowledgeUpdate, &[new]) => {
                    let old = gold.facts[new].supersedes.unwrap();
                    prop_assert!(gold.facts[old].session < gold.facts[new].session);
                    prop_assert!(!contains_key(&question.answer, &gold.facts[old].keys), "{:?}", question);
                }
                (QuestionType::MultiSession, &[a, b]) => {
                    let price = |at: usize| gold.facts[at].keys.last().unwrap().parse::<u32>().unwrap();
                    prop_assert!(contains_key(&question.answer, &[(price(a) + price(b)).to_string()]));
                    prop_assert!(gold.facts[a].session != gold.facts[b].session);
                }
                (QuestionType::TemporalReasoning, evidence) if question.answer.ends_with("days") || question.answer.ends_with("day") => {
                    let day = |stamp: &str| jiff::civil::Date::strptime("%Y/%m/%d", &stamp[..10]).unwrap();
                    let from = day(&gold.facts[evidence[0]].date);
                    let to = evidence.get(1).map_or(day(&gold.question_date), |&at| day(&gold.facts[at].date));
                    let days = from.until(to).unwrap().get_days();
                    prop_assert!(question.answer.starts_with(&format!("{days} day")), "{:?}", question);
                }
                (QuestionType::SingleSessionPreference, &[fact]) => {
                    prop_assert!(contains_key(&question.answer, &gold.facts[fact].keys));
                }
                _ => {}
            }
        }
        // Each fact that holds is asked for; nothing told is about what cannot be answered.
        let live = gold.facts.iter().filter(|fact| fact.superseded_by.is_none());
        for fact in live {
            prop_assert!(gold.questions.iter().any(|question| question.question == fact.question && !question.is_unanswerable()));
        }
        let told: BTreeSet<String> = gold.facts.iter().map(|fact| normalise(&fact.question)).collect();
        let unanswerable: Vec<&Question> = gold.questions.iter().filter(|question| question.is_unanswerable()).collect();
        prop_assert!(!unanswerable.is_empty());
        for question in unanswerable {
            prop_assert!(!told.contains(&normalise(&question.question)), "{}", question.question);
            prop_assert!(question.keys.is_empty());
        }
    }

    #[test]
    fn wordings_are_many_and_apart(parameters in parameters()) {
        let lexicon = Lexicon::built_in().unwrap();
        let gold = Plan::new(&lexicon, &parameters, 1).unwrap().gold().unwrap();
        for fact in &gold.facts {
            let trained: BTreeSet<String> = std::iter::once(&fact.question).chain(&fact.wordings).map(|text| normalise(text)).collect();
            prop_assert_eq!(trained.len(), 1 + fact.wordings.len());
            prop_assert!(trained.len() >= 6, "{:?}", trained);
            prop_assert!(fact.held_out.len() >= 3);
            for text in &fact.held_out {
                prop_assert!(!trained.contains(&normalise(text)), "{}", text);
            }
            for text in fact.wordings.iter().chain(&fact.held_out).chain([&fact.question]) {
                prop_assert!(fact.kind == "event" || !contains_key(text, &fact.keys), "{} gives {:?} away", text, fact.keys);
            }
        }
    }

    #[test]
    fn everything_said_is_fluent(parameters in parameters()) {
        let lexicon = Lexicon::built_in().unwrap();
        let Made { sessions, gold } = make(&lexicon, &parameters, 2);
        for session in &sessions {
            prop_assert!(!session.turns.is_empty());
            for (at, turn) in session.turns.iter().enumerate() {
                prop_assert_eq!(turn.role, if at % 2 == 0 { Role::User } else { Role::Assistant });
                fluent(&turn.content);
            }
        }
        let has_word = |text: &str, word: &str| text.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
        for fact in &gold.facts {
            // Titles apart, an answer speaks to the user and a note about them.
            for word in ["my", "me", "our"] {
                prop_assert!(!has_word(&fact.answer, word) && !has_word(&fact.statement, word), "{} / {}", fact.answer, fact.statement);
            }
            prop_assert!(!has_word(&fact.statement, "your") && !has_word(&fact.statement, "you"), "{}", fact.statement);
            fact.wordings.iter().chain(&fact.held_out).chain([&fact.question, &fact.answer, &fact.statement]).for_each(|text| fluent(text));
        }
        for question in &gold.questions {
            question.wordings.iter().chain(&question.held_out).chain([&question.question]).for_each(|text| fluent(text));
        }
    }

    #[test]
    fn a_length_in_words_is_met(seed: u64, sessions in 1usize..20, wanted in 300usize..6000) {
        let lexicon = Lexicon::built_in().unwrap();
        let wanted = wanted.max(sessions * 40);
        let parameters = Parameters::fitting(seed, sessions, Length::Words(wanted));
        let Made { sessions, gold } = make(&lexicon, &parameters, 0);
        prop_assert_eq!(gold.words, words(&sessions));
        prop_assert!(gold.words.abs_diff(wanted) * 10 <= wanted, "{} instead of {}", gold.words, wanted);
    }
}

fn file(parameters: &Parameters, conversation: u64) -> Vec<u8> {
    let lexicon = Lexicon::built_in().unwrap();
    let plan = Plan::new(&lexicon, parameters, conversation).unwrap();
    let mut writer = LongMemEvalWriter::new(Vec::new()).unwrap();
    writer.write(&plan, &plan.questions().unwrap(), Wording::HeldOut).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let parameters = |seed| Parameters { seed, sessions: 4, facts: 14, length: Length::Words(1200) };
    assert_eq!(file(&parameters(1), 0), file(&parameters(1), 0));
    assert_ne!(file(&parameters(1), 0), file(&parameters(2), 0));
    assert_ne!(file(&parameters(1), 0), file(&parameters(1), 1));
}

#[test]
fn a_file_may_have_every_question_in_both_wordings() {
    let lexicon = Lexicon::built_in().unwrap();
    let parameters = Parameters { seed: 1, sessions: 4, facts: 14, length: Length::Words(1200) };
    let plan = Plan::new(&lexicon, &parameters, 0).unwrap();
    let questions = plan.questions().unwrap();
    let mut writer = LongMemEvalWriter::new(Vec::new()).unwrap();
    writer.write(&plan, &questions, Wording::Both).unwrap();
    let instances: Vec<Instance> = serde_json::from_slice(&writer.finish().unwrap()).unwrap();
    for question in &questions {
        let texts = |id: &str| -> Vec<&str> {
            instances.iter().filter(|i| i.question_id == id).map(|i| i.question.as_str()).collect()
        };
        let (held_out, canonical) =
            (texts(&question.question_id), texts(&format!("{CANONICAL}{}", question.question_id)));
        match question.held_out.as_slice() {
            [] => assert_eq!((held_out, canonical), (vec![question.question.as_str()], vec![])),
            wordings => {
                assert!(wordings.iter().any(|wording| held_out == [wording]), "{held_out:?}");
                assert_eq!(canonical, [question.question.as_str()]);
            }
        }
    }
}

/// A change of data or draws changes what a seed means: figures measured on the old set are no longer comparable.
#[test]
fn the_first_words_of_seed_0_are_pinned() {
    let lexicon = Lexicon::built_in().unwrap();
    let parameters = Parameters { seed: 0, sessions: 3, facts: 8, length: Length::Words(600) };
    let made = make(&lexicon, &parameters, 0);
    assert_eq!(made.sessions[0].id, "synthetic-0-0-s0000");
    assert_eq!(made.sessions[0].date, PINNED_DATE);
    assert_eq!(made.gold.facts[0].told, PINNED_FACT);
}

const PINNED_DATE: &str = "2023/07/29 (Sat) 21:04";
const PINNED_FACT: &str = "Oh, and the date of my driving test is the 25th of November.";

#[test]
fn a_file_survives_its_schema_and_marks_what_answers() {
    let parameters = Parameters { seed: 5, sessions: 6, facts: 30, length: Length::Words(4000) };
    let lexicon = Lexicon::built_in().unwrap();
    let gold = Plan::new(&lexicon, &parameters, 0).unwrap().gold().unwrap();
    let bytes = file(&parameters, 0);
    let instances: Vec<Instance> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(instances.len(), gold.questions.len());
    // What a reader makes of it is all that was written.
    let again: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(serde_json::to_value(&instances).unwrap(), again);
    let mut types = BTreeMap::new();
    for (instance, question) in instances.iter().zip(&gold.questions) {
        *types.entry(instance.question_type).or_insert(0) += 1;
        assert_eq!(instance.haystack_sessions.len(), 6);
        assert_eq!((instance.haystack_session_ids.len(), instance.haystack_dates.len()), (6, 6));
        assert!(question.held_out.contains(&instance.question) || question.held_out.is_empty());
        let mut marked = 0;
        for (id, session) in instance.haystack_session_ids.iter().zip(&instance.haystack_sessions) {
            let needed = instance.answer_session_ids.contains(id);
            for turn in session {
                assert_eq!(turn.has_answer.is_some(), needed);
                if turn.has_answer == Some(true) {
                    marked += 1;
                    let of_evidence = question.evidence.iter().any(|&at| gold.facts[at].told == turn.content);
                    assert!(of_evidence, "{}", turn.content);
                    let direct =
                        !matches!(question.question_type, QuestionType::TemporalReasoning | QuestionType::MultiSession);
                    assert!(
                        !direct || question.keys.is_empty() || contains_key(&turn.content, &question.keys),
                        "{}",
                        turn.content
                    );
                }
            }
        }
        assert_eq!(marked, question.evidence.len());
    }
    assert_eq!(types.len(), 6, "{types:?}");
}

#[test]
fn a_choice_of_questions_has_every_type() {
    let lexicon = Lexicon::built_in().unwrap();
    let parameters = Parameters { seed: 5, sessions: 6, facts: 30, length: Length::Words(4000) };
    let plan = Plan::new(&lexicon, &parameters, 0).unwrap();
    let all = plan.questions().unwrap();
    let some = plan.some_questions(9).unwrap();
    assert_eq!(some.len(), 9);
    assert!(some.iter().all(|question| all.contains(question)));
    let types: BTreeSet<QuestionType> = some.iter().map(|question| question.question_type).collect();
    assert_eq!((types.len(), some.iter().any(Question::is_unanswerable)), (6, true));
    assert_eq!(plan.some_questions(10_000).unwrap().len(), all.len());
}

#[test]
fn the_probe_files_are_valid_and_credit_every_fact_to_a_turn() {
    let lexicon = Lexicon::built_in().unwrap();
    for seed in 0..5 {
        let parameters = Parameters { seed, sessions: 5, facts: 40, length: Length::Exchanges(9) };
        let (conversation, controls) = Plan::new(&lexicon, &parameters, 0).unwrap().probe().unwrap();
        conversation.check().unwrap();
        controls.check().unwrap();
        let cards = conversation.oracle_cards(0);
        assert!(cards.iter().all(|card| card.source_turn.is_some()));
        for fact in &conversation.facts {
            assert!(contains_key(&fact.user_turn, &fact.keys), "{fact:?}");
        }
        assert!(controls.general_knowledge.len() >= 10 && controls.neutral_prompts.len() >= 10);
        assert!(controls.unknown_questions.len() >= 5);
        // A control that has a learned answer would measure nothing.
        let learned: Vec<&String> = conversation.facts.iter().flat_map(|fact| &fact.keys).collect();
        for item in &controls.general_knowledge {
            assert!(!item.keys.iter().any(|key| contains_key(key, &learned)), "{item:?}");
        }
    }
}

#[test]
fn what_lies_next_to_the_facts_is_asked_for_and_nothing_answers_it() {
    let lexicon = Lexicon::built_in().unwrap();
    for seed in 0..5 {
        let parameters = Parameters { seed, sessions: 5, facts: 40, length: Length::Exchanges(9) };
        let plan = Plan::new(&lexicon, &parameters, 0).unwrap();
        let (facts, neighbours) = (plan.gold().unwrap().facts, plan.neighbours().unwrap());
        assert_eq!(neighbours, plan.neighbours().unwrap());
        assert!(neighbours.len() >= 15, "{}", neighbours.len());
        let mut asked = BTreeSet::new();
        for neighbour in &neighbours {
            let (kind, about) = (neighbour.kind.as_str(), neighbour.subject.name());
            assert!(asked.insert((kind, about)), "{neighbour:?} is there twice");
            assert!(
                facts.iter().all(|fact| (fact.kind.as_str(), fact.subject.name()) != (kind, about)),
                "{neighbour:?}"
            );
            assert!(neighbour.wordings.len() > 1 && neighbour.held_out.len() > 2);
            [&neighbour.question, &neighbour.answer].into_iter().for_each(|text| fluent(text));
        }
        for (number, fact) in facts.iter().enumerate() {
            let not_known = plan.not_known(number).unwrap();
            assert_eq!(not_known.is_none(), ["event", "purchase"].contains(&fact.kind.as_str()), "{fact:?}");
            let Some(not_known) = not_known else { continue };
            fluent(&not_known);
            assert!(not_known.contains("not known to me") || not_known.starts_with("I recommended no "), "{not_known}");
            assert_eq!(not_known.split(' ').next(), fact.answer.split(' ').next(), "{not_known} {}", fact.answer);
        }
        assert_eq!(plan.not_known(facts.len()).unwrap(), None);
    }
}

#[test]
fn what_cannot_be_met_is_refused_with_what_would_do() {
    let lexicon = Lexicon::built_in().unwrap();
    let refused = |sessions, facts, length| {
        Plan::new(&lexicon, &Parameters { seed: 0, sessions, facts, length }, 0).unwrap_err().to_string()
    };
    assert!(refused(0, 3, Length::Words(500)).contains("at least one session"));
    assert!(refused(2, 0, Length::Words(500)).contains("one fact"));
    assert!(refused(2, 50, Length::Words(500)).contains("at least 1500 words"));
    assert!(refused(50, 5, Length::Words(500)).contains("at least 2000 words"));
    assert!(refused(2, 5, Length::Exchanges(0)).contains("at least one exchange"));
    assert!(refused(20, 100_000, Length::Exchanges(4)).contains("facts at most"));
}

/// Memory of a long conversation does not grow with its words: a session is made when it is asked for.
#[test]
fn a_long_conversation_is_streamed() {
    let lexicon = Lexicon::built_in().unwrap();
    let parameters = Parameters { seed: 9, sessions: 5000, facts: 300, length: Length::Words(1_000_000) };
    let plan = Plan::new(&lexicon, &parameters, 0).unwrap();
    let some: usize = plan.sessions().take(40).map(|session| words(&[session.unwrap()])).sum();
    assert!(some.abs_diff(8000) < 800, "{some}");
}
