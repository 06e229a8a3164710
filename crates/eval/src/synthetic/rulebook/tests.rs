use std::collections::BTreeSet;

use super::*;

fn contexts() -> impl Iterator<Item = Context> {
    let books = RuleBooks::built_in().unwrap();
    (0..60).map(move |number| books.context(11, number).unwrap())
}

#[test]
fn the_right_response_passes_its_own_checks_and_no_other_tasks() {
    for context in contexts() {
        for (task, gold) in context.tasks.iter().zip(&context.gold.tasks) {
            assert_eq!(task.rubrics, gold.checks.iter().map(|check| check.rubric.clone()).collect::<Vec<_>>());
            assert!(gold.checks.iter().all(|check| check.passes(&gold.response)), "{gold:?}");
            assert!(gold.checks.iter().all(|check| !check.passes("")), "{gold:?}");
        }
        let responses: BTreeSet<&str> = context.gold.tasks.iter().map(|task| task.response.as_str()).collect();
        assert_eq!(responses.len(), context.tasks.len());
    }
}

#[test]
fn answers_rest_on_the_rules_that_the_prompt_shows() {
    for context in contexts() {
        for task in &context.tasks {
            assert_eq!(task.messages[0].role, tmem_core::message::Role::System);
            assert_eq!(task.messages.last().unwrap().role, tmem_core::message::Role::User);
            let shown = &task.messages[1].content;
            for card in &context.gold.cards {
                assert!(shown.contains(&format!("\n{}. {}\n", card.rule, card.answer)), "{card:?}\n{shown}");
            }
            for text in task.messages.iter().map(|message| &message.content) {
                assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
            }
        }
    }
}

#[test]
fn ids_are_unique_and_look_like_uuids() {
    let mut ids = BTreeSet::new();
    for context in contexts() {
        assert!(ids.insert(context.gold.context_id.clone()));
        for task in &context.tasks {
            let Metadata { task_id, context_id, .. } = &task.metadata;
            assert_eq!(context_id, &context.gold.context_id);
            assert!(ids.insert(task_id.clone()));
            let groups: Vec<usize> = task_id.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12]);
            assert_eq!(task_id.as_bytes()[14], b'4');
        }
    }
}

#[test]
fn tasks_survive_their_schema_and_a_seed_gives_the_same_book() {
    for (number, context) in contexts().enumerate() {
        let again = RuleBooks::built_in().unwrap().context(11, number as u64).unwrap();
        assert_eq!(context, again);
        let text = serde_json::to_string(&context.tasks).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Task>>(&text).unwrap(), context.tasks);
        let text = serde_json::to_string(&context.gold).unwrap();
        assert_eq!(serde_json::from_str::<RuleBookGold>(&text).unwrap(), context.gold);
    }
    let books = RuleBooks::built_in().unwrap();
    assert_ne!(books.context(1, 0).unwrap(), books.context(2, 0).unwrap());
}

/// Recomputes scores from the text of the rules alone.
#[test]
fn scores_follow_from_the_text() {
    let numbers = |text: &str| -> Vec<isize> {
        tokens(text)
            .iter()
            .filter_map(|word| match word.as_str() {
                "two" => Some(2),
                "three" => Some(3),
                "four" => Some(4),
                word => word.parse().ok(),
            })
            .collect()
    };
    for context in contexts().filter(|context| context.tasks[0].metadata.sub_category == "Game Mechanics") {
        let rule = |at: usize| context.gold.cards[at].answer.as_str();
        let (values, sets, each, greedy) = (numbers(rule(2)), numbers(rule(3)), numbers(rule(4)), numbers(rule(5)));
        let task = context.tasks[0].messages[1].content.lines().last().unwrap();
        // "The game ends in S. A holds 5 x, 5 y, 6 z and 5 w, and B holds ... Who wins ...": the season of the rule.
        let held = numbers(task);
        let mut totals = Vec::new();
        for held in held.chunks(4).take(2) {
            // "each of the four kinds" is no figure of the bonus, which is the only other number of its rule.
            let bonus = *each.iter().max().unwrap();
            let limit = *greedy.iter().min().unwrap();
            let penalty = *greedy.iter().max().unwrap();
            let doubled = held[0] * values[0] + 2 * held[1] * values[1] + held[2] * values[2] + held[3] * values[3];
            totals.push(doubled + held[0] / sets[0] * sets[1] + bonus - (held[2] - limit).max(0) * penalty);
        }
        let response = &context.gold.tasks[0].response;
        for total in totals {
            assert!(response.contains(&format!("total {total}.")), "{total} in {response}\n{task}");
        }
    }
}
