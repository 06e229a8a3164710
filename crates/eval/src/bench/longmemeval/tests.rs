use std::io::Write as _;

use super::*;
use crate::bench::FeedOptions;
use crate::metrics::scores;

const ORACLE: &str = r#"[
  {"question_id": "q1", "question_type": "knowledge-update", "question": "Where do I live?", "answer": "Ghent",
   "question_date": "2023/06/30 (Fri) 23:40", "haystack_session_ids": ["late", "early"],
   "haystack_dates": ["2023/05/30 (Tue) 02:21", "2023/05/20 (Sat) 12:01"],
   "haystack_sessions": [
     [{"role": "user", "content": "I moved to Ghent.", "has_answer": true}, {"role": "assistant", "content": "Nice!"}],
     [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "I live in Lyon."}]],
   "answer_session_ids": ["late"]},
  {"question_id": "q2_abs", "question_type": "multi-session", "question": "My horse?", "answer": 18,
   "haystack_session_ids": ["a"], "haystack_dates": ["2023/05/20"],
   "haystack_sessions": [[{"role": "user", "content": "Hi."}]], "answer_session_ids": []}
]"#;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str) -> Result<Vec<Sample>, String> {
    open(file(text).path(), None).map_err(|e| e.to_string())?.map(|sample| sample.map_err(|e| e.to_string())).collect()
}

#[test]
fn sessions_are_fed_in_the_order_of_their_dates() {
    let samples = read(ORACLE).unwrap();
    let turns: Vec<_> = samples[0].turns(&FeedOptions::default()).map(|turn| (turn.user, turn.assistant)).collect();
    assert_eq!(turns[0], ("[2023/05/20 (Sat) 12:01] Go on.".to_owned(), "Hello!".to_owned()));
    assert_eq!(turns[2].0, "[2023/05/30 (Tue) 02:21] I moved to Ghent.");
    let probe = &samples[0].probes[0];
    assert_eq!((probe.evidence_sessions.as_slice(), samples[0].age(probe)), ([1].as_slice(), Some(0)));
    assert!(probe.prompt.ends_with("Current Date: 2023/06/30 (Fri) 23:40\nQuestion: Where do I live?\nAnswer:"));
}

#[test]
fn the_type_of_question_decides_what_is_judged() {
    let samples = read(ORACLE).unwrap();
    let judged = |index: usize| samples[index].probes[0].scoring.clone();
    assert_eq!(judged(0), Scoring::Judged { rubric: JudgedBy::Updated });
    assert_eq!(judged(1), Scoring::Judged { rubric: JudgedBy::Abstention });
    assert_eq!((samples[1].probes[0].category.as_str(), samples[1].probes[0].gold[0].as_str()), ("abstention", "18"));
}

#[test]
fn a_question_without_an_answer_is_scored_by_not_knowing() {
    let probe = read(ORACLE).unwrap().remove(1).probes.remove(0);
    assert_eq!(probe.headline(), "abstained");
    assert_eq!(scores(&probe, "You never told me about a horse.")["abstained"], 1.0);
    assert_eq!(scores(&probe, "18")["abstained"], 0.0);
}

#[test]
fn errors_name_line_and_field() {
    let bad = |from: &str, to: &str| read(&ORACLE.replace(from, to)).unwrap_err();
    assert!(
        bad(r#""role": "assistant", "content": "Nice"#, r#""role": "robot", "content": "Nice"#)
            .contains("line 6, record 0, at `haystack_sessions[0][1].role`")
    );
    assert!(
        bad(r#"["late", "early"]"#, r#"["late"]"#).contains("`haystack_session_ids`: has 1 entries for 2 sessions")
    );
    assert!(bad("2023/05/20 (Sat)", "20 May").contains("line 2, record 0, at `haystack_dates[1]`: `20 May 12:01`"));
    assert!(bad("knowledge-update", "riddle").contains("at `question_type`: `riddle` is no type"));
    assert!(
        bad(r#""content": "Hi.""#, r#""content": " ""#).contains("record 1, at `haystack_sessions`: has no message")
    );
    assert!(read(&ORACLE[..ORACLE.len() - 40]).unwrap_err().contains("was it downloaded whole?"));
}

/// M's instances are megabytes each: what is wrong with a later one does not keep the earlier ones from being used.
#[test]
fn instances_are_read_as_they_are_asked_for() {
    let file = file(&ORACLE.replace("q2_abs\", \"question_type\"", "q2\", \"wrong\""));
    let mut samples = open(file.path(), None).unwrap();
    assert_eq!(samples.next().unwrap().unwrap().id, "q1");
    assert!(samples.next().unwrap().is_err());
    assert!(samples.next().is_none());
}

/// As our generator writes it: every question repeats the history, and the side file has the facts.
#[test]
fn questions_about_one_history_become_one_sample_with_its_cards() {
    let row = |id: &str, question: &str| {
        format!(
            r#"{{"question_id": "{id}", "question_type": "single-session-user", "question": "{question}",
            "answer": "In Ghent.", "question_date": "2023/06/30 (Fri) 23:40", "haystack_session_ids": ["s0", "s1"],
            "haystack_dates": ["2023/05/20 (Sat) 12:01", "2023/05/21 (Sun) 12:01"], "haystack_sessions": [
            [{{"role": "user", "content": "Hi."}}, {{"role": "assistant", "content": "Hello!"}}],
            [{{"role": "user", "content": "I live in Ghent."}}]], "answer_session_ids": ["s1"]}}"#
        )
    };
    let data = file(&format!("[{},\n{}]", row("q1", "Where do I live?"), row("canonical.q2", "Which town is mine?")));
    let gold = file(
        r#"{"conversation": "c", "facts": [
          {"session_id": "s1", "told": "I live in Lyon.", "question": "Where do I live?", "wordings": [],
           "answer": "In Lyon.", "superseded_by": 1},
          {"session_id": "s1", "told": "I live in Ghent.", "question": "Where do I live?", "wordings": ["My town?"],
           "answer": "In Ghent."}],
        "questions": [{"question_id": "q1", "keys": ["Ghent"]}, {"question_id": "q2", "keys": ["Ghent"]}]}"#,
    );
    let samples: Vec<Sample> = open(data.path(), Some(gold.path())).unwrap().collect::<Result<_, _>>().unwrap();
    let [sample] = samples.as_slice() else { panic!("{} samples", samples.len()) };
    assert_eq!((sample.probes.len(), sample.probes[1].keys[0].as_str()), (2, "Ghent"));
    let categories: Vec<&str> = sample.probes.iter().map(|probe| probe.category.as_str()).collect();
    assert_eq!(categories, ["single-session-user", "canonical single-session-user"]);
    assert_eq!(scores(&sample.probes[1], "It is Ghent, I think.")[sample.probes[1].headline()], 1.0);
    let [card] = sample.oracle_cards.as_slice() else { panic!("{:?}", sample.oracle_cards) };
    assert_eq!((card.answer.as_str(), card.wordings.len(), card.source_turn), ("In Ghent.", 1, Some(1)));
}
