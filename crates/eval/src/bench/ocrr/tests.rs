use std::collections::HashMap;
use std::io::Write as _;

use super::*;

const STREAM: &str = r#"{"part": "known", "text": "card gone", "label": "card"}
{"part": "stream", "text": "dollar rate", "label": "rate"}
{"part": "stream", "text": "card lost", "label": "card"}
{"part": "stream", "text": "euro rate", "label": "rate"}
{"part": "novel", "text": "dollar rate", "label": "rate"}
{"part": "original", "text": "card gone", "label": "card"}"#;

fn read(text: &str, division: &Division) -> Result<CorrectionStream, String> {
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    open(file.path(), division).map_err(|e| e.to_string())
}

/// Knows by heart what it was told and answers "card" otherwise.
fn learn(run: &mut CorrectionRun) -> Vec<String> {
    let mut heart: HashMap<String, String> = HashMap::new();
    let mut told = Vec::new();
    loop {
        match run.next_step() {
            Next::Tell(text) => {
                let (_, rest) = text.split_once('"').unwrap();
                let (message, label) = rest.split_once("\" is ").unwrap();
                heart.insert(message.to_owned(), label.trim_end_matches('.').to_owned());
                told.push(text);
                run.told();
            }
            Next::Ask(questions) => {
                let answer = |question: &String| {
                    let message = question.split("Message: ").nth(1).unwrap().split('\n').next().unwrap();
                    heart.get(message).cloned().unwrap_or_else(|| "card".to_owned())
                };
                let answers: Vec<String> = questions.iter().map(answer).collect();
                run.answered(&answers);
            }
            Next::End => return told,
        }
    }
}

#[test]
fn corrections_teach_new_classes() {
    let stream = read(STREAM, &Division::default()).unwrap();
    let mut run = CorrectionRun::new(stream, RunOptions { checkpoint_every: 2, ..RunOptions::default() });
    let told = learn(&mut run);
    assert_eq!(told.len(), 3);
    assert_eq!(told[1], "That was wrong. The label of the message \"dollar rate\" is rate.");
    let point = |step, corrections, novel| Checkpoint { step, corrections, novel, original: 1.0 };
    assert_eq!(run.checkpoints(), [point(0, 0, 0.0), point(2, 1, 1.0), point(3, 2, 1.0)]);
    assert_eq!((run.corrections_to(0.7), run.corrections_to(1.1)), (Some(1), None));
    assert_eq!(run.next_step(), Next::End);
}

#[test]
fn without_corrections_nothing_is_learned() {
    let stream = read(STREAM, &Division::default()).unwrap();
    let mut run = CorrectionRun::new(stream, RunOptions { corrected: 0.0, ..RunOptions::default() });
    assert_eq!(learn(&mut run).len(), 1);
    assert!(run.checkpoints().iter().all(|checkpoint| checkpoint.corrections == 0 && checkpoint.novel == 0.0));
}

#[test]
fn labels_are_listed_as_they_become_known() {
    let mut run = CorrectionRun::new(read(STREAM, &Division::default()).unwrap(), RunOptions::default());
    run.told();
    let Next::Ask(questions) = run.next_step() else { panic!("no checkpoint") };
    assert!(questions[0].contains("Labels so far: card.\n\nMessage: dollar rate"), "{}", questions[0]);
}

#[test]
fn labelled_rows_are_divided_by_seed() {
    let row = |i: usize| format!("{{\"text\": \"t{i}\", \"label\": {}}}\n", i % 5);
    let rows: String = (0..100).map(row).collect();
    let division = Division { seed: 3, ..Division::default() };
    let stream = read(&rows, &division).unwrap();
    assert_eq!(stream, read(&rows, &division).unwrap().renamed(&stream.name));
    assert_eq!((stream.known.len(), stream.stream.len(), stream.novel.len(), stream.original.len()), (16, 40, 4, 16));
    assert!(stream.known.iter().all(|example| example.label != stream.novel[0].label));
    let few = rows.lines().take(20).collect::<String>();
    assert!(read(&few, &division).unwrap_err().contains("rows of 5 needed") || read(&few, &division).is_err());
}

#[test]
fn errors_name_line_and_field() {
    let bad = |from: &str, to: &str| read(&STREAM.replace(from, to), &Division::default()).unwrap_err();
    assert!(bad("\"part\": \"known\"", "\"part\": \"past\"").contains("line 1, record 0, at `part`"));
    assert!(bad("{\"part\": \"novel\", ", "{").contains("record 4, at `part`: some rows have a part"));
    assert!(
        bad(
            "\"original\", \"text\": \"card gone\", \"label\": \"card\"",
            "\"original\", \"text\": \"x\", \"label\": \"y\""
        )
        .contains("record 5, at `label`: `y` is not among the known classes")
    );
    assert!(
        bad(
            "\"novel\", \"text\": \"dollar rate\", \"label\": \"rate\"",
            "\"novel\", \"text\": \"x\", \"label\": \"card\""
        )
        .contains("`card` is known from the start")
    );
    assert!(bad("\"euro rate\"", "\" \"").contains("record 3, at `text`: is empty"));
    assert!(bad("\"novel\"", "\"stream\"").contains("has no rows of the part `novel`"));
}

impl CorrectionStream {
    /// Temporary files have other names every time.
    fn renamed(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }
}
