//! Scores of an answer that need no judge.

pub mod abstention;
pub mod locomo;
pub mod porter;
pub mod ranking;
pub mod recall;
pub mod squad;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::Probe;
use crate::score::{contains_key, normalise, token_f1};
pub(crate) use squad::Overlap;

/// Scores of one answer by name, each between 0 and 1.
///
/// Every probe with a gold answer has `f1` and `exact_match` (lower case, no punctuation, single spaces) and
/// `contains` (one of the probe's keys, or without keys a gold answer, stands in the answer as whole words); the rest depends on the benchmark.
pub type Scores = BTreeMap<&'static str, f64>;

/// How a benchmark scores an answer itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scoring {
    /// LoCoMo's score by category: `locomo`, and `locomo_audited` where an audit of the answer key was given and the
    /// question can be answered at all.
    Locomo {
        /// 1 to 5, see [`locomo::category`].
        category: u8,
        /// The two choices of a category 5 question, in the order shown.
        #[serde(default)]
        options: Option<[String; 2]>,
        /// What the audit says of the gold answer.
        #[serde(default)]
        audit: Audit,
    },
    /// SQuAD's scores: `squad_em`, `squad_f1`.
    Squad,
    /// Whether a gold answer stands in the answer: `substring_em`; besides SQuAD's scores.
    Substring,
    /// Share of the gold answers among the first `k` lines of the answer: `recall`.
    Recall {
        /// Lines that count.
        k: usize,
    },
    /// A label out of many: `label`.
    Label,
    /// All or nothing of a list of requirements (CL-bench): `requirements` where they can be checked without a judge.
    Requirements {
        /// What a judge checks.
        requirements: Vec<String>,
        /// For each requirement words that a response must contain, in this order, to satisfy it; empty where only a
        /// judge can tell.
        keys: Vec<Vec<String>>,
    },
    /// Only a judge can tell; see [`crate::judge::question`].
    Judged {
        /// What the judge is asked.
        rubric: JudgedBy,
    },
}

/// What an audit says of a gold answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audit {
    /// There was none.
    #[default]
    Unaudited,
    /// It is right.
    Confirmed,
    /// It is wrong: this is right.
    Corrected(String),
    /// The conversation does not settle the question.
    Contested,
}

/// What a judge is asked about an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedBy {
    /// Does it contain the right answer?
    Correct,
    /// As [`Correct`](Self::Correct), and a count of days, weeks or months may be off by one.
    OffByOne,
    /// As [`Correct`](Self::Correct), and an outdated answer beside the right one does no harm.
    Updated,
    /// Does it use what is known of the person, as the rubric (the gold answer) describes?
    Preference,
    /// Does it see that the question cannot be answered? Without a judge: `abstained`, by its wording.
    Abstention,
    /// Is all that is asked for there, and in agreement with these messages? (ConvoMem)
    Evidence(Vec<String>),
    /// As [`Correct`](Self::Correct), with equivalent expressions of time but no off-by-one. (ConvoMem)
    Temporal,
    /// Does it satisfy every point of the rubric (the gold answer)? (ConvoMem)
    Satisfies,
}

impl Probe {
    /// The score that a table shows where there is one number per benchmark. A judged probe has the closest thing that
    /// needs no judge: whether a key stands in the answer, whether it abstains, else F1.
    pub fn headline(&self) -> &'static str {
        match &self.scoring {
            Scoring::Locomo { .. } => "locomo",
            Scoring::Squad => "squad_f1",
            Scoring::Substring => "substring_em",
            Scoring::Recall { .. } => "recall",
            Scoring::Label => "label",
            Scoring::Requirements { .. } => "requirements",
            Scoring::Judged { rubric: JudgedBy::Abstention } => "abstained",
            Scoring::Judged { .. } if self.keys.is_empty() => "f1",
            Scoring::Judged { .. } => "contains",
        }
    }
}

/// Every score of an answer that needs no judge. Empty where there is neither a gold answer nor a rule.
pub fn scores(probe: &Probe, answer: &str) -> Scores {
    let gold = probe.gold.as_slice();
    let mut scores = Scores::new();
    if !gold.is_empty() {
        scores.insert("f1", squad::best(gold, |gold| token_f1(answer, gold)));
        scores.insert("exact_match", squad::best(gold, |gold| f64::from(normalise(answer) == normalise(gold))));
        let keys = if probe.keys.is_empty() { gold } else { &probe.keys };
        scores.insert("contains", f64::from(contains_key(answer, keys)));
    }
    match &probe.scoring {
        Scoring::Locomo { category, options, audit } => {
            let said = options.as_ref().map_or(answer, |options| locomo::chosen_option(answer, options));
            let official = squad::best(gold, |gold| locomo::score(*category, said, gold));
            scores.insert("locomo", official);
            match audit {
                Audit::Confirmed => scores.insert("locomo_audited", official),
                Audit::Corrected(gold) => scores.insert("locomo_audited", locomo::score(*category, said, gold)),
                Audit::Unaudited | Audit::Contested => None,
            };
        }
        Scoring::Squad | Scoring::Substring => {
            scores.insert("squad_em", squad::best(gold, |gold| f64::from(squad::exact_match(answer, gold))));
            scores.insert("squad_f1", squad::best(gold, |gold| squad::f1(answer, gold)));
            scores.insert("substring_em", squad::best(gold, |gold| f64::from(squad::substring_match(answer, gold))));
        }
        Scoring::Recall { k } => {
            scores.insert("recall", recall::at(*k, answer, gold));
        }
        Scoring::Label => {
            scores.insert("label", squad::best(gold, |gold| f64::from(recall::is_label(answer, gold))));
        }
        Scoring::Requirements { keys, .. } => {
            if !keys.is_empty() {
                let met = keys.iter().all(|keys| recall::contains_in_order(answer, keys));
                scores.insert("requirements", f64::from(met));
            }
        }
        Scoring::Judged { rubric: JudgedBy::Abstention } => {
            scores.insert("abstained", f64::from(abstention::abstains(answer)));
        }
        Scoring::Judged { .. } => {}
    }
    scores
}
