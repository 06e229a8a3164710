//! What a model is asked about an answer. The wordings are ours; they ask what the benchmarks' own judges ask.

use super::verdict::VerdictKind;
use crate::bench::Probe;
use crate::metrics::{JudgedBy, Scoring};

/// A question to a judging model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeQuestion {
    /// The prompt, one user message.
    pub prompt: String,
    /// How its reply is read.
    pub verdict: VerdictKind,
    /// Most tokens of the reply; `None` leaves it to the model.
    pub max_tokens: Option<usize>,
}

/// LongMemEval's limit for a yes or no.
const SHORT_REPLY: usize = 10;

/// The question about an answer to a probe. Probes of benchmarks without a judge get the general one.
pub fn about(probe: &Probe, answer: &str) -> JudgeQuestion {
    let by = match &probe.scoring {
        Scoring::Requirements { requirements, .. } => return rubric(requirements, answer),
        Scoring::Judged { rubric } => rubric,
        _ => &JudgedBy::Correct,
    };
    let gold = probe.gold.join("\" or \"");
    let asked = Asked { question: &probe.question, gold: &gold, answer };
    match by {
        JudgedBy::Correct => asked.yes_no(CORRECT, "Correct answer", RIGHT),
        JudgedBy::OffByOne => asked.yes_no(&format!("{CORRECT} {OFF_BY_ONE}"), "Correct answer", RIGHT),
        JudgedBy::Updated => asked.yes_no(UPDATED, "Correct answer", RIGHT),
        JudgedBy::Preference => asked.yes_no(PREFERENCE, "What a good response looks like", "Is the response good?"),
        JudgedBy::Abstention => asked.yes_no(
            ABSTENTION,
            "Why it cannot be answered",
            "Does the response recognise that the question cannot be answered?",
        ),
        JudgedBy::Temporal => asked.yes_no(TEMPORAL, "Correct answer", RIGHT),
        JudgedBy::Satisfies => {
            asked.yes_no(SATISFIES, "What the response must do", "Does the response satisfy all of it?")
        }
        JudgedBy::Evidence(messages) => {
            let messages: String = messages.iter().map(|text| format!("- {text}\n")).collect();
            asked.yes_no(&format!("{EVIDENCE}\n\nMessages:\n{}", messages.trim_end()), "Correct answer", RIGHT)
        }
    }
}

struct Asked<'a> {
    question: &'a str,
    gold: &'a str,
    answer: &'a str,
}

impl Asked<'_> {
    fn yes_no(&self, task: &str, gold_is: &str, closing: &str) -> JudgeQuestion {
        let Self { question, gold, answer } = self;
        let gold = if gold.is_empty() { "(none)" } else { gold };
        JudgeQuestion {
            prompt: format!(
                "{task}\n\nQuestion: {question}\n\n{gold_is}: {gold}\n\nResponse: {answer}\n\n{closing} Reply with yes \
                 or no and nothing else."
            ),
            verdict: VerdictKind::YesNo,
            max_tokens: Some(SHORT_REPLY),
        }
    }
}

const RIGHT: &str = "Is the response correct?";

const CORRECT: &str = "Below are a question, its correct answer and the response of a model. Decide whether the response \
                       gives the correct answer. A response that says the same in other words, or that has every step \
                       needed to reach the answer, is correct. A response that gives only a part of what the answer \
                       holds is not.";

const OFF_BY_ONE: &str = "Counts of days, weeks, months and the like may be off by one: 19 days is correct where the \
                          answer is 18.";

const UPDATED: &str = "Below are a question, its correct answer and the response of a model. Decide whether the response \
                       gives the correct answer. The fact asked for has changed over time: a response that also mentions \
                       how it used to be is correct as long as it gives the answer below as the present one.";

const PREFERENCE: &str = "Below are a request, a description of the response that would suit this person, and the response \
                          of a model. Decide whether the response suits the person: it must recall what is known about \
                          them and use it rightly. It need not cover every point of the description.";

const ABSTENTION: &str = "Below are a question that cannot be answered from the conversation, the reason for that, and the \
                          response of a model. Decide whether the response recognises this: by saying that it does not \
                          know, that the information is incomplete or was never given, or that something else was \
                          mentioned instead. A response that gives an answer all the same does not.";

const TEMPORAL: &str = "Below are a question about time, its correct answer and the response of a model. Decide whether \
                        the response is correct. Equivalent expressions are (3 months, 90 days, 12 weeks); a number of \
                        days that is off by one is not.";

const SATISFIES: &str = "Below are a request, the points that a response must satisfy, and the response of a model. Decide \
                         whether the response satisfies every point and understands the situation. One point missed is \
                         enough for a no.";

const EVIDENCE: &str = "Below are messages from earlier conversations, a question about them, its correct answer and the \
                        response of a model. Decide whether the response gives the essential information of the correct \
                        answer, in whatever words, and does not contradict the messages. Accurate additions do no harm.";

fn rubric(requirements: &[String], answer: &str) -> JudgeQuestion {
    let listed: String =
        requirements.iter().zip(1..).map(|(requirement, number)| format!("{number}. {requirement}\n")).collect();
    let count = requirements.len();
    JudgeQuestion {
        prompt: format!(
            "You grade a student's response against a list of {count} requirements. Grading is strict and \
             all-or-nothing: the score is 1 only if every requirement is met in full, and 0 if a single one is not.\n\n\
             First make clear to yourself what each requirement asks for, spoken or implied (content, format, quantity, \
             order, style). Then check them one by one against the response. Last, check your own grading: nothing left \
             out, nothing relaxed, nothing guessed, and the score follows from the list.\n\n\
             Requirements:\n{listed}\nStudent's response:\n{answer}\n\n\
             Reply with this JSON object and nothing else, with {count} entries in the list:\n\
             {{\"Grading Rationale\": \"why\", \"List of Requirement Satisfaction Status\": [\"yes\", \"no\", …], \
             \"Overall Score\": 0 or 1}}"
        ),
        verdict: VerdictKind::Requirements { count },
        max_tokens: None,
    }
}
