use std::io::Write as _;
use std::path::PathBuf;

use super::*;

fn corpus() -> Corpus {
    let passage = |title: &str, text: &str| Passage { title: title.to_owned(), text: text.to_owned() };
    Corpus::new(vec![
        passage("Ghent", "Ghent is a city in Belgium. It lies on the Leie."),
        passage("Moon", "Gene Cernan was on the Moon in December 1972."),
        passage("Moon", "Gene Cernan was on the Moon in December 1972."),
        passage("Bread", "Bread is baked from flour."),
    ])
}

fn task() -> SearchTask {
    let questions = vec!["which country is Ghent in".to_owned(), "Who was last on the moon?".to_owned()];
    let gold = vec![vec!["Belgium".to_owned()], vec!["Gene Cernan".to_owned(), "Eugene Cernan".to_owned()]];
    SearchTask::new("t", "nq", questions, gold).unwrap()
}

fn run(options: EpisodeOptions, texts: &[&str]) -> (SearchEpisode, Vec<String>) {
    let (mut episode, corpus) = (SearchEpisode::new(task(), options), corpus());
    let mut prompts = Vec::new();
    for text in texts {
        let Step::Generate { prompt } = episode.next_step() else { break };
        prompts.push(prompt);
        episode.act(text, &corpus);
    }
    (episode, prompts)
}

#[test]
fn a_model_searches_twice_and_answers() {
    let texts = [
        "<think>Where is Ghent?</think><search>Ghent country</search> and more",
        "<think>Ghent: Belgium.</think>\n<search>last on the Moon",
        "<think>Belgium; Cernan.</think><answer>Belgium; Eugene Cernan</answer>",
    ];
    let (episode, prompts) = run(EpisodeOptions::default(), &texts);
    assert!(prompts[0].contains("which country is Ghent in?; Who was last on the moon?"));
    let second = prompts[1].strip_prefix(prompts[0].as_str()).unwrap();
    assert!(
        second.starts_with("<think>Where is Ghent?</think><search>Ghent country</search>\n\n<information>[HINT]You")
    );
    assert!(second.contains("You have 9 turns left.[/HINT]\n\nDoc 1(Title: Ghent) Ghent is a city"));
    // Of the first turn nothing is left; equal passages are indexed once.
    assert!(!prompts[2].contains("Where is Ghent?") && prompts[2].contains("<think>Ghent: Belgium.</think>"));
    assert_eq!(prompts[2].matches("Title: Moon").count(), 1);
    assert_eq!(episode.turns()[1].query.as_deref(), Some("last on the Moon"));
    assert_eq!(episode.next_step(), Step::End(End::Answered));
    assert_eq!(episode.scores(), SearchScores { reward: 2.0, em: 2.0, f1: 2.0, objectives: 2 });
}

#[test]
fn an_agent_without_memory_sees_every_turn() {
    let options = EpisodeOptions { history: History::All, ..EpisodeOptions::default() };
    let (episode, prompts) = run(options, &["<search>Ghent</search>", "<search>Moon</search>", "<search>x</search>"]);
    assert!(prompts[2].contains("<search>Ghent</search>") && prompts[2].contains("<search>Moon</search>"));
    assert!(episode.observation().ends_with("Nothing was found.</information>"));
}

#[test]
fn episodes_end_without_an_answer_too() {
    let options = EpisodeOptions { max_turns: 2, ..EpisodeOptions::default() };
    let (episode, prompts) = run(options, &["<search>Ghent</search>", "<search>Ghent</search>", "<answer>x</answer>"]);
    assert!(prompts[1].contains("You have 1 turn left."));
    assert_eq!((episode.end(), episode.turns().len()), (Some(End::TurnsSpent), 2));
    assert_eq!(episode.scores(), SearchScores { reward: 0.0, em: 0.0, f1: 0.0, objectives: 2 });
    let (episode, _) = run(EpisodeOptions::default(), &["I do not know."]);
    assert_eq!(episode.end(), Some(End::NoAction));
    let mut over = episode.clone();
    over.act("<answer>late</answer>", &corpus());
    assert_eq!(over, episode);
}

#[test]
fn the_two_scorers_disagree_where_upstream_does() {
    let gold = task().gold;
    let prompt = task().prompt();
    let score = |answer: &str| {
        let response = format!("<answer>{answer}</answer>");
        let (em, f1) = eval_scores(&response, &gold);
        (training_reward(&format!("{prompt}{response}"), &gold), em, f1)
    };
    assert_eq!(score("The Belgium; gene cernan."), (2.0, 1.0, 2.0 / 3.0 + 1.0));
    // Too few answers: the reward is positional, the evaluation gives nothing.
    assert_eq!(score("Belgium"), (1.0, 0.0, 0.0));
    assert_eq!(score("Belgium; x; y"), (1.0, 0.0, 0.0));
    assert_eq!(score("Gene Cernan; Belgium"), (0.0, 0.0, 0.0));
    // The reward needs a second answer, besides the one the prompt shows; the evaluation needs balanced tags.
    assert_eq!(training_reward("<answer>Belgium; Gene Cernan</answer>", &gold), 0.0);
    assert_eq!(training_reward("", &gold), 0.0);
    assert_eq!(eval_scores("<answer>a <answer>Belgium; Gene Cernan</answer>", &gold), (0.0, 0.0));
    assert_eq!(eval_scores("</answer><answer>", &gold), (0.0, 0.0));
}

#[test]
fn costs_are_counted_as_upstream_does() {
    let turn = |think: &str, action: &str, information: &str| Turn {
        think: think.to_owned(),
        action: action.to_owned(),
        query: None,
        information: information.to_owned(),
    };
    let turns = [turn("aaaa", "bb", "cccccc"), turn("dd", "ee", "")];
    let last = EpisodeCost::of(&turns, History::Last, str::len);
    // (0+2)·4 + (4+1)·2, then with 12 in the context (12+1)·2 + (14+1)·2.
    assert_eq!(last, EpisodeCost { peak_tokens: 16, dependency: 8 + 10 + 26 + 30, generated: 10 });
    let long = [turns[0].clone(), turns[0].clone(), turns[1].clone()];
    let peak = |history| EpisodeCost::of(&long, history, str::len).peak_tokens;
    assert_eq!((peak(History::Last), peak(History::All)), (18, 28));
}

fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
    (folder, file)
}

#[test]
fn rows_of_every_data_set_are_read() {
    let rows = r#"{"question": "q1", "answer": ["a", "b"]}
        {"question": "q2", "golden_answers": ["c"], "id": "x"}
        {"_id": "1", "question": "q3", "answer": "d", "context": [["T", ["One.", " Two."]]]}
        {"title": "U", "context": "Three.", "questions": [{"question": "q4", "answer": "e"}]}
        {"id": "0", "contents": "\"V\"\nFour."}"#;
    let (_folder, file) = write("mix.dev.jsonl", rows);
    let read = read_files(&[&file]).unwrap().remove(0);
    assert_eq!((read.source.as_str(), read.questions.len()), ("mix", 4));
    let passages: Vec<_> = read.passages.iter().map(|p| format!("{}: {}", p.title, p.text)).collect();
    assert_eq!(passages, ["T: One. Two.", "U: Three.", "V: Four."]);
    let made = tasks(&[read.clone(), read], 3).unwrap();
    let ids: Vec<_> = made.iter().map(|task| (task.id.as_str(), task.questions[0].as_str())).collect();
    assert_eq!(ids, [("mix_3x0", "q1?"), ("mix_3x0", "q1?")]);
}

#[test]
fn wrong_rows_are_named() {
    let error = |text: &str| {
        let (_folder, file) = write("x.jsonl", text);
        read_files(&[file]).unwrap_err().to_string()
    };
    assert!(error("{\"question\": \"q\"}").ends_with("x.jsonl, line 1, record 0, at `answer`: is missing"));
    assert!(error("{\"question\": \"q\", \"answer\": []}").contains("at `answer`: has no answer"));
    assert!(error("{\"id\": \"q\"}").contains("has neither a question nor a passage"));
    let squad = "{\"title\": \"t\", \"context\": \"c\",\n \"questions\": [{\"question\": \"\", \"answer\": \"a\"}]}";
    assert!(error(squad).contains("at `questions[0].question`: is empty"));
    let hotpot = "{\"question\": \"q\", \"answer\": \"a\", \"context\": [[\"T\", 3]]}";
    assert!(error(hotpot).contains("at `context[0][1]`: invalid type: integer `3`"));
    assert!(tasks(&[], 2).unwrap_err().to_string().contains("lower the number of objectives"));
}

/// The shared files are not part of the repository; their absence is said, not hidden.
#[test]
fn the_shared_files_make_tasks_and_a_corpus() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let files = ["nq_open_dev_3000.jsonl", "hotpot_dev_distractor_53.json", "squad_passages_1600.json"];
    let files = files.map(|name| folder.join(name));
    if files.iter().any(|file| !file.exists()) {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    }
    let read = read_files(&files).unwrap();
    let questions: Vec<_> = read.iter().map(|file| file.questions.len()).collect();
    assert_eq!(questions, [3000, 53, 8386]);
    assert_eq!(tasks(&read, 8).unwrap().len(), 375 + 6 + 1048);
    let corpus = Corpus::new(read.iter().flat_map(|file| file.passages.clone()).collect());
    assert!(corpus.passages().len() > 2000);
    // Questions of the passages mostly find their answer in the first three passages.
    let squad = &read[2];
    let (mut asked, mut found) = (0, 0);
    for question in squad.questions.iter().step_by(40) {
        let hits = corpus.search(&question.text, 3);
        asked += 1;
        found += usize::from(hits.iter().any(|hit| hit.text.contains(&question.answers[0])));
    }
    assert!(found * 10 > asked * 8, "{found} of {asked}");
}
