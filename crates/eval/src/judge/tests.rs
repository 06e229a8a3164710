//! Judges on known answers, and the endpoint against a server made for the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::metrics::{JudgedBy, Scoring};

fn probe(gold: &[&str], scoring: Scoring) -> Probe {
    Probe {
        id: "q1".to_owned(),
        prompt: "How many days?".to_owned(),
        question: "How many days?".to_owned(),
        gold: gold.iter().map(|&gold| gold.to_owned()).collect(),
        keys: Vec::new(),
        category: "c".to_owned(),
        evidence: Vec::new(),
        evidence_sessions: Vec::new(),
        date: None,
        max_tokens: None,
        scoring,
    }
}

fn requirement(text: &str) -> Scoring {
    Scoring::Requirements { requirements: vec![text.to_owned()], keys: Vec::new() }
}

fn judged(rubric: JudgedBy) -> Scoring {
    Scoring::Judged { rubric }
}

#[test]
fn local_judges_compare_texts() {
    let probe = probe(&["18 days"], Scoring::Squad);
    let score = |judge: LocalJudge, answer: &str| judge.judge(&probe, answer).unwrap().score;
    assert_eq!(score(LocalJudge::Exact, "18 Days."), 1.0);
    assert_eq!(score(LocalJudge::Exact, "It was 18 days."), 0.0);
    assert_eq!(score(LocalJudge::Contains, "It was 18 days."), 1.0);
    assert_eq!(score(LocalJudge::F1, "18 weeks"), 0.5);
    assert_eq!(score(LocalJudge::Official, "the 18 days"), 1.0);
}

#[test]
fn without_a_gold_answer_a_model_is_needed() {
    let probe = probe(&[], requirement("r"));
    let error = LocalJudge::Exact.judge(&probe, "x").unwrap_err();
    assert!(error.to_string().contains("q1, which has no gold answer: use an endpoint"));
}

#[test]
fn questions_differ_by_what_is_judged() {
    let prompt = |by: JudgedBy| question::about(&probe(&["18"], judged(by)), "19").prompt;
    assert!(prompt(JudgedBy::OffByOne).contains("off by one: 19 days"));
    assert!(!prompt(JudgedBy::Correct).contains("off by one"));
    assert!(prompt(JudgedBy::Evidence(vec!["I ran 18 days".to_owned()])).contains("- I ran 18 days"));
    let rubric = question::about(&probe(&[], requirement("be brief")), "19");
    assert!(rubric.prompt.contains("1. be brief") && rubric.prompt.contains("Student's response:\n19"));
    assert_eq!(rubric.verdict, verdict::VerdictKind::Requirements { count: 1 });
}

/// Serves the replies (status, body) one after another, the last one for ever, and keeps what it was asked.
fn serve(replies: Vec<(u16, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
            let (status, reply) = &replies[number.min(replies.len() - 1)];
            let length = reply.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all((head + reply).as_bytes()).unwrap();
        }
    });
    (url, asked)
}

fn says(content: &str) -> (u16, String) {
    (200, serde_json::json!({"choices": [{"message": {"role": "assistant", "content": content}}]}).to_string())
}

fn endpoint(url: &str, cache: Option<&std::path::Path>) -> Endpoint {
    let options = EndpointOptions {
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(10),
        attempts: 3,
        cache: cache.map(Into::into),
        ..EndpointOptions::new(url, "judge-1")
    };
    Endpoint::with_key(options, Some("secret".to_owned()))
}

#[test]
fn a_model_is_asked_once_and_then_remembered() {
    let (url, asked) = serve(vec![says("Yes.")]);
    let folder = tempfile::tempdir().unwrap();
    let probe = probe(&["18"], judged(JudgedBy::OffByOne));
    for cached in [false, true] {
        let verdict = endpoint(&url, Some(folder.path())).judge(&probe, "19").unwrap();
        assert_eq!((verdict.score, verdict.cached, verdict.judge.as_str()), (1.0, cached, "judge-1"));
        assert_eq!(verdict.reply.as_deref(), Some("Yes."));
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("POST /v1/chat/completions"));
    assert!(asked[0].to_lowercase().contains("authorization: bearer secret"));
    assert!(asked[0].contains("\"model\":\"judge-1\"") && asked[0].contains("\"max_tokens\":10"));
    let kept = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(kept.contains("Reply with yes or no") && kept.contains("judge-1") && !kept.contains("secret"));
}

#[test]
fn failures_that_may_pass_are_retried() {
    let (url, asked) = serve(vec![(429, "slow down".to_owned()), (200, "{}".to_owned()), says("no")]);
    let verdict = endpoint(&url, None).judge(&probe(&["18"], Scoring::Squad), "20").unwrap();
    assert_eq!((verdict.score, asked.lock().unwrap().len()), (0.0, 3));
}

#[test]
fn failures_that_will_not_pass_are_told_at_once() {
    let (url, asked) = serve(vec![(401, "no such key".to_owned())]);
    let error = endpoint(&url, None).judge(&probe(&["18"], Scoring::Squad), "20").unwrap_err().to_string();
    assert!(error.contains("status 401 (is OPENAI_API_KEY set to a valid key?): no such key"), "{error}");
    assert!(!error.contains("secret"));
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn a_reply_that_is_no_verdict_is_asked_for_again_and_not_kept() {
    let (url, asked) = serve(vec![says("Hm.")]);
    let folder = tempfile::tempdir().unwrap();
    let error = endpoint(&url, Some(folder.path())).judge(&probe(&["18"], Scoring::Squad), "20").unwrap_err();
    assert!(matches!(error, JudgeError::NoVerdict { attempts: 3, .. }), "{error}");
    assert_eq!((asked.lock().unwrap().len(), std::fs::read_dir(folder.path()).unwrap().count()), (3, 0));
}

#[test]
fn an_empty_answer_is_wrong_without_asking() {
    let judge = endpoint("http://127.0.0.1:9/v1", None);
    assert_eq!(judge.judge(&probe(&["18"], Scoring::Squad), " ").unwrap().score, 0.0);
    assert!(!format!("{judge:?}").contains("secret"));
}
