use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use super::*;
use crate::bench::FeedOptions;
use crate::metrics::scores;

const CONVERSATION: &str = r#"[{
  "sample_id": "conv-26",
  "conversation": {
    "speaker_a": "Ann", "speaker_b": "Bo",
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
      {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi Bo! I adopted a dog yesterday."},
      {"speaker": "Bo", "dia_id": "D1:2", "text": "Show me!"},
      {"speaker": "Ann", "dia_id": "D1:3", "text": "Look.", "img_url": ["x"], "blip_caption": "a photo of a dog"}
    ],
    "session_10": [{"speaker": "Bo", "dia_id": "D10:1", "text": "I moved to Rome."}],
    "session_2": [{"speaker": "Bo", "dia_id": "D2:1", "text": "I have 2 cats."}],
    "session_11_date_time": "8 June, 2023"
  },
  "qa": [
    {"question": "When did Ann adopt the dog?", "answer": "7 May 2023", "evidence": ["D1:1"], "category": 2},
    {"question": "How many cats has Bo?", "answer": 2, "evidence": ["D2:1; D:1:3", "D"], "category": 1},
    {"question": "What is Bo's dog called?", "adversarial_answer": "Rex", "evidence": [], "category": 5}
  ],
  "observation": {}, "event_summary": {}
}]"#;

const AUDIT: &str = r#"[
  {"question_id": "locomo_0_qa0", "question": "When did Ann adopt the dog?", "golden_answer": "7 May 2023",
   "category": 2, "error_type": "TEMPORAL_ERROR", "cited_evidence": [], "correct_evidence": ["D1:2"],
   "reasoning": "", "correct_answer": "6 May 2023"}
]"#;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str, audit: Option<&str>) -> Result<Vec<Sample>, String> {
    let (data, audit) = (file(text), audit.map(file));
    let samples = open(data.path(), audit.as_ref().map(|file| file.path()), 1).map_err(|e| e.to_string())?;
    samples.map(|sample| sample.map_err(|e| e.to_string())).collect()
}

#[test]
fn turns_are_lines_and_sessions_are_in_order_of_their_numbers() {
    let sample = read(CONVERSATION, None).unwrap().remove(0);
    let ids: Vec<_> = sample.sessions.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["session_1", "session_2", "session_10"]);
    let turns: Vec<_> = sample.turns(&FeedOptions::default()).map(|turn| turn.user).collect();
    assert_eq!(turns[0], "[1:56 pm on 8 May, 2023] Ann said, \"Hi Bo! I adopted a dog yesterday.\"");
    assert_eq!(turns[2], "Ann said, \"Look.\" and shared a photo of a dog.");
    assert_eq!(sample.sessions[0].exchanges[2].ids, ["D1:3"]);
}

#[test]
fn probes_carry_prompts_answers_and_ages() {
    let sample = read(CONVERSATION, None).unwrap().remove(0);
    let [date, count, unknown] = sample.probes.as_slice() else { unreachable!() };
    assert!(date.prompt.contains("adopt the dog? Use DATE of CONVERSATION to answer with an approximate date. Short"));
    assert_eq!((date.category.as_str(), sample.age(date), date.max_tokens), ("temporal", Some(2), Some(32)));
    assert_eq!((count.gold[0].as_str(), count.evidence.join(" ")), ("2", "D2:1 D1:3".to_owned()));
    assert_eq!((count.evidence_sessions.as_slice(), sample.age(count)), ([0, 1].as_slice(), Some(1)));
    assert_eq!((unknown.gold[0].as_str(), sample.age(unknown)), (NOT_MENTIONED, None));
    assert!(unknown.prompt.contains("(a) ") && unknown.prompt.contains("Rex"));
    assert_eq!(scores(unknown, "Not mentioned in the conversation.")["locomo"], 1.0);
    let Scoring::Locomo { options: Some(options), .. } = &unknown.scoring else { unreachable!() };
    let letter = if options[0] == NOT_MENTIONED { "(a)" } else { "(b)" };
    assert_eq!(scores(unknown, letter)["locomo"], 1.0);
}

#[test]
fn an_audit_corrects_answers_and_evidence() {
    let sample = read(CONVERSATION, Some(AUDIT)).unwrap().remove(0);
    let [date, count, unknown] = sample.probes.as_slice() else { unreachable!() };
    let scored = scores(date, "6 May 2023");
    assert!(scored["locomo"] < 1.0 && scored["locomo_audited"] == 1.0);
    assert_eq!(date.evidence, ["D1:2"]);
    assert_eq!(scores(count, "2")["locomo_audited"], 1.0);
    assert!(!scores(unknown, "Rex").contains_key("locomo_audited"));
    let other = AUDIT.replace("adopt the dog", "buy the dog");
    assert!(read(CONVERSATION, Some(&other)).unwrap_err().contains("record 0, at `question`: question 0 of conv-26"));
}

#[test]
fn the_order_of_choices_depends_on_seed_and_question_alone() {
    let first = |seed| (0..64).map(|i| prompt::options("x", "conv-1", i, seed)[0] == "x").collect::<Vec<_>>();
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
    assert!((16..48).contains(&first(1).iter().filter(|x| **x).count()));
}

#[test]
fn errors_name_line_and_field() {
    let bad = |from: &str, to: &str| read(&CONVERSATION.replace(from, to), None).unwrap_err();
    assert!(
        bad(r#""text": "Show me!""#, r#""text": 3"#).contains("line 8, record 0, at `conversation.session_1[1].text`")
    );
    assert!(bad(r#""category": 5"#, r#""category": 6"#).contains("at `qa[2].category`: is none of the categories"));
    assert!(bad(r#""answer": 2,"#, "").contains("at `qa[1].answer`: is missing"));
    assert!(bad(r#""adversarial_answer": "Rex","#, "").contains("at `qa[2].adversarial_answer`: is missing"));
    assert!(bad(r#""answer": 2"#, r#""answer": [2]"#).contains("at `qa[1].answer`: invalid type: sequence"));
    assert!(bad("session_", "sitting_").contains("at `conversation`: has no session"));
    assert!(bad("When did Ann adopt the dog?", " ").contains("at `qa[0].question`: is empty"));
}

/// The shared files are not part of the repository; their absence is said, not hidden.
#[test]
fn the_published_conversations_are_read_whole() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let (data, audit) = (folder.join("locomo8.json"), folder.join("locomo_audit_errors.json"));
    if !data.exists() || !audit.exists() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    }
    let samples: Vec<Sample> = open(&data, Some(&audit), 0).unwrap().collect::<Result<_, _>>().unwrap();
    let sessions: Vec<_> = samples.iter().map(|sample| sample.sessions.len()).collect();
    assert_eq!(sessions, [19, 19, 32, 29, 29, 28, 31, 30]);
    assert_eq!(samples.iter().map(Sample::exchanges).sum::<usize>(), 4805);
    let mut counts = BTreeMap::new();
    let mut audits = BTreeMap::new();
    for probe in samples.iter().flat_map(|sample| &sample.probes) {
        *counts.entry(probe.category.as_str()).or_insert(0) += 1;
        let Scoring::Locomo { audit, category, .. } = &probe.scoring else { unreachable!() };
        let kind = match audit {
            Audit::Unaudited => "unaudited",
            Audit::Confirmed => "confirmed",
            Audit::Corrected(_) => "corrected",
            Audit::Contested => "contested",
        };
        *audits.entry(kind).or_insert(0) += 1;
        // The gold answer scores fully, except in category 3, where it is cut at a semicolon and the answer is not.
        let score = scores(probe, &probe.gold[0])["locomo"];
        assert!(score == 1.0 || *category == 3 && probe.gold[0].contains(';'), "{}: {score}", probe.id);
    }
    let expected = [("adversarial", 360), ("multi-hop", 213), ("open-domain", 76), ("single-hop", 681)];
    assert_eq!(counts, BTreeMap::from_iter(expected.into_iter().chain([("temporal", 256)])));
    // 123 findings, 50 of them wrong citations only.
    assert_eq!((audits["corrected"], audits["contested"], audits["unaudited"]), (62, 11, 360));
}
