//! A small file of every benchmark.

use std::fs;
use std::path::{Path, PathBuf};

use tmem_eval::bench::{BenchmarkKind, OpenOptions};

/// A folder with the files, and where they are.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write("longmemeval.json", &longmemeval());
        files.write("conversations.jsonl", &gold());
        files.write("locomo.json", LOCOMO);
        files.write("tasks.jsonl", &TASK.replace('\n', " "));
        files.write("gold.jsonl", &RULE_GOLD.replace('\n', " "));
        files.write("mab.json", MEMORY_AGENT_BENCH);
        files.write("user_evidence/1_evidence/batch.json", CONVOMEM);
        files.write("questions.json", SEARCH);
        files.write("stream.jsonl", &stream());
        files
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The data and the options that a benchmark is opened with.
    pub(crate) fn of(&self, bench: BenchmarkKind) -> (Vec<PathBuf>, OpenOptions) {
        let name = match bench {
            BenchmarkKind::Locomo => "locomo.json",
            BenchmarkKind::LongMemEval => "longmemeval.json",
            BenchmarkKind::Search => "questions.json",
            BenchmarkKind::ClBench | BenchmarkKind::RuleBook => "tasks.jsonl",
            BenchmarkKind::MemoryAgentBench => "mab.json",
            BenchmarkKind::ConvoMem => "user_evidence/1_evidence/batch.json",
            BenchmarkKind::Ocrr => "stream.jsonl",
        };
        let gold = match bench {
            BenchmarkKind::RuleBook => Some(self.path("gold.jsonl")),
            BenchmarkKind::LongMemEval => Some(self.path("conversations.jsonl")),
            _ => None,
        };
        (vec![self.path(name)], OpenOptions { gold, ..OpenOptions::default() })
    }
}

/// Two conversations of three sessions, five and two questions.
fn longmemeval() -> String {
    let turn = |user: &str| {
        format!(
            r#"[{{"role": "user", "content": "{user}"}}, {{"role": "assistant", "content": "How nice to hear that!"}}]"#
        )
    };
    let sessions = [
        turn("Hello there, my dear friend, my name is Anneke and I live in Lyon with my sister Berta."),
        turn("By the way, yesterday I bought a bicycle, and the colour of the bicycle is Green, as you might expect."),
        turn("Guess what has happened to me since then: I moved to Ghent and I work as a Baker in the mornings."),
    ];
    let item = |sample: &str, number: usize| {
        format!(
            r#"{{"question_id": "{sample}_q{number}", "question_type": "single-session-user",
                "question": "Where do I live, asked for the time {number}?", "answer": "Ghent",
                "question_date": "2023/06/30 (Fri) 23:40", "haystack_session_ids": ["{sample}0", "{sample}1", "{sample}2"],
                "haystack_dates": ["2023/05/20 (Sat) 12:01", "2023/05/30 (Tue) 02:21", "2023/06/02 (Fri) 02:21"],
                "haystack_sessions": [{}], "answer_session_ids": ["{sample}2"]}}"#,
            sessions.join(", ")
        )
    };
    let items: Vec<String> = (1..=5).map(|n| item("a", n)).chain((1..=2).map(|n| item("b", n))).collect();
    format!("[{}]", items.join(",\n"))
}

/// The side file that joins their questions.
fn gold() -> String {
    let line = |sample: &str, count: usize| {
        let questions: Vec<String> =
            (1..=count).map(|n| format!(r#"{{"question_id": "{sample}_q{n}", "keys": ["Ghent"]}}"#)).collect();
        let fact = |session: usize, told: &str, question: &str, answer: &str| {
            format!(
                r#"{{"session_id": "{sample}{session}", "told": "{told}", "question": "{question}", "answer": "{answer}"}}"#
            )
        };
        let facts = [
            fact(1, "the colour of the bicycle is Green", "What colour is my bicycle?", "Green"),
            fact(2, "I moved to Ghent", "Where do I live?", "Ghent"),
        ];
        let (facts, questions) = (facts.join(", "), questions.join(", "));
        format!("{{\"conversation\": \"{sample}\", \"facts\": [{facts}], \"questions\": [{questions}]}}\n")
    };
    line("a", 5) + &line("b", 2)
}

/// A stream of twelve examples with two new classes.
fn stream() -> String {
    let rows = [
        ("known", "my card is gone", "card_lost"),
        ("known", "somebody took my card", "card_lost"),
        ("stream", "what is the dollar at", "exchange_rate"),
        ("stream", "I lost the card", "card_lost"),
        ("stream", "the euro in pounds", "exchange_rate"),
        ("stream", "when will my parcel come", "delivery"),
        ("stream", "where is the parcel", "delivery"),
        ("novel", "how much is a dollar", "exchange_rate"),
        ("novel", "has the parcel come", "delivery"),
        ("novel", "how much is a euro", "exchange_rate"),
        ("original", "no card in my purse", "card_lost"),
        ("original", "the card is missing", "card_lost"),
    ];
    let row = |(part, text, label)| format!("{{\"part\": \"{part}\", \"text\": \"{text}\", \"label\": \"{label}\"}}\n");
    rows.map(row).concat()
}

const LOCOMO: &str = r#"[{
  "sample_id": "conv-26",
  "conversation": {
    "speaker_a": "Ann", "speaker_b": "Bo",
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
      {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi Bo! I adopted a dog yesterday."},
      {"speaker": "Bo", "dia_id": "D1:2", "text": "Show me!"}
    ],
    "session_2_date_time": "2:10 pm on 9 June, 2023",
    "session_2": [{"speaker": "Bo", "dia_id": "D2:1", "text": "I have 2 cats and I moved to Rome."}]
  },
  "qa": [
    {"question": "When did Ann adopt the dog?", "answer": "7 May 2023", "evidence": ["D1:1"], "category": 2},
    {"question": "How many cats has Bo?", "answer": 2, "evidence": ["D2:1"], "category": 4},
    {"question": "What is Bo's dog called?", "adversarial_answer": "Rex", "evidence": ["D1:1"], "category": 5}
  ]
}]"#;

const TASK: &str = r#"{"messages": [{"role": "system", "content": "Rule 1: a move costs two coins."},
  {"role": "user", "content": "I begin with five."}, {"role": "assistant", "content": "Good."},
  {"role": "user", "content": "What is left after a move?"}],
  "rubrics": ["Says three."],
  "metadata": {"task_id": "t1", "context_id": "c1", "context_category": "Rules", "sub_category": "Games"}}"#;

const RULE_GOLD: &str = r#"{"context_id": "c1",
  "cards": [{"question": "What costs a move?", "answer": "Two coins.", "rule": 1}],
  "tasks": [{"task_id": "t1", "response": "Three coins.", "checks": [{"rubric": "Says three.", "keys": ["three"]}]}]}"#;

const MEMORY_AGENT_BENCH: &str = r#"[
  {"context": "1. Rome lies in France.\n2. Rome lies in Italy.", "questions": ["Where is Rome?", "And Oslo?"],
   "answers": [["Italy"], "Norway"], "metadata": {"source": "factconsolidation_sh_6k", "qa_pair_ids": ["f0", "f1"]}}]"#;

const CONVOMEM: &str = r#"{"evidence_items": [
  {"question": "Which car do I drive?", "answer": "A Skoda.", "category": "Sales", "personId": "p",
   "message_evidences": [{"speaker": "User", "text": "I drive a Skoda."}],
   "conversations": [
     {"messages": [{"speaker": "User", "text": "Hi."}, {"speaker": "Assistant", "text": "Hello!"}]},
     {"messages": [{"speaker": "User", "text": "I drive a Skoda."}], "id": "c2"}]}]}"#;

const SEARCH: &str = r#"[
  {"question": "which country is Ghent in", "answer": ["Belgium"],
   "context": [["Ghent", ["Ghent is a city in Belgium.", "It lies on the Leie."]]]},
  {"question": "who was last on the moon", "answer": ["Gene Cernan", "Cernan"],
   "context": [["Moon", ["Gene Cernan was on the Moon in December 1972."]]]}]"#;
