//! Conversations in LongMemEval's schema.

use std::io::Write;

use serde::{Deserialize, Serialize};
use tmem_core::message::Role;

use super::calendar;
use super::error::SyntheticError;
use super::plan::Plan;
use super::question::{Question, QuestionType};
use super::session::Session;

/// One question with its whole history, as LongMemEval's files hold them. Files are written without ever making one of
/// these; it serves readers of small files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Ends in `_abs` where the question cannot be answered.
    pub question_id: String,
    /// The type.
    pub question_type: QuestionType,
    /// The question.
    pub question: String,
    /// The answer, or the rubric of a preference.
    pub answer: String,
    /// When it is asked: `2023/05/30 (Tue) 23:40`.
    pub question_date: String,
    /// One id per session.
    pub haystack_session_ids: Vec<String>,
    /// One date per session, ascending.
    pub haystack_dates: Vec<String>,
    /// The sessions.
    pub haystack_sessions: Vec<Vec<InstanceTurn>>,
    /// The sessions that are needed for the answer.
    pub answer_session_ids: Vec<String>,
}

/// A message of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceTurn {
    /// `user` or `assistant`.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Whether the turn tells what is asked for; only in sessions that are needed for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_answer: Option<bool>,
}

/// Which wording of a question goes into the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wording {
    /// The question as a card would have it.
    Canonical,
    /// A wording that no training material contains, where the question has one.
    #[default]
    HeldOut,
    /// Every question in both, so that one reading answers both; ids of the canonical ones begin with [`CANONICAL`].
    Both,
}

/// The beginning of a question's id where the file has the question in both wordings and this is the canonical one.
pub const CANONICAL: &str = "canonical.";

impl Wording {
    /// Id and text of question number `index`, once or twice.
    pub(super) fn of(self, question: &Question, index: usize) -> Vec<(String, &str)> {
        let id = &question.question_id;
        let canonical = question.question.as_str();
        let held_out = question.held_out.get(index % question.held_out.len().max(1)).map(String::as_str);
        match (self, held_out) {
            (Self::Canonical, _) | (_, None) => vec![(id.clone(), canonical)],
            (Self::HeldOut, Some(held_out)) => vec![(id.clone(), held_out)],
            (Self::Both, Some(held_out)) => vec![(id.clone(), held_out), (format!("{CANONICAL}{id}"), canonical)],
        }
    }
}

/// Writes a file instance by instance, session by session.
#[derive(Debug)]
pub struct LongMemEvalWriter<W> {
    output: W,
    instances: usize,
}

impl<W: Write> LongMemEvalWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`SyntheticError::Write`].
    pub fn new(mut output: W) -> Result<Self, SyntheticError> {
        output.write_all(b"[")?;
        Ok(Self { output, instances: 0 })
    }

    /// Writes one instance per question and wording, all with the plan's history, which is generated anew for each: memory does not
    /// grow with its length.
    ///
    /// # Errors
    /// [`SyntheticError`].
    pub fn write(&mut self, plan: &Plan<'_>, questions: &[Question], wording: Wording) -> Result<(), SyntheticError> {
        questions.iter().enumerate().try_for_each(|(index, question)| {
            wording.of(question, index).iter().try_for_each(|(id, text)| self.instance(plan, question, id, text))
        })
    }

    fn instance(&mut self, plan: &Plan<'_>, question: &Question, id: &str, text: &str) -> Result<(), SyntheticError> {
        let out = &mut self.output;
        out.write_all(if self.instances == 0 { b"\n{" } else { b",\n{" })?;
        self.instances += 1;
        let sessions = 0..plan.dates.len();
        field(out, "question_id", &id)?;
        field(out, "question_type", &question.question_type)?;
        field(out, "question", &text)?;
        field(out, "answer", &question.answer)?;
        field(out, "question_date", &calendar::stamp(plan.asked))?;
        field(out, "haystack_session_ids", &sessions.clone().map(|at| plan.session_id(at)).collect::<Vec<_>>())?;
        field(out, "haystack_dates", &sessions.map(|at| plan.session_date(at)).collect::<Vec<_>>())?;
        let mut needed: Vec<usize> =
            question.evidence.iter().filter_map(|&fact| Some(plan.facts.get(fact)?.session)).collect();
        needed.sort_unstable();
        needed.dedup();
        out.write_all(b"\"haystack_sessions\":[")?;
        for (at, session) in plan.sessions().enumerate() {
            out.write_all(if at == 0 { b"\n " } else { b",\n " })?;
            let evidence = needed.contains(&at).then_some(&question.evidence[..]);
            serde_json::to_writer(&mut *out, &turns(session?, evidence))?;
        }
        out.write_all(b"],\n")?;
        let ids: Vec<String> = needed.iter().map(|&at| plan.session_id(at)).collect();
        out.write_all(b"\"answer_session_ids\":")?;
        serde_json::to_writer(&mut *out, &ids)?;
        out.write_all(b"}")?;
        Ok(())
    }

    /// Ends the file and hands the output back.
    ///
    /// # Errors
    /// [`SyntheticError::Write`].
    pub fn finish(mut self) -> Result<W, SyntheticError> {
        self.output.write_all(b"\n]\n")?;
        self.output.flush()?;
        Ok(self.output)
    }
}

fn field(out: &mut impl Write, name: &str, value: &impl Serialize) -> Result<(), SyntheticError> {
    write!(out, "\"{name}\":")?;
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b",\n")?)
}

/// The turns of a session; marked where it is needed for the answer.
fn turns(session: Session, evidence: Option<&[usize]>) -> Vec<InstanceTurn> {
    let tells = |fact: Option<usize>| evidence.map(|facts| fact.is_some_and(|fact| facts.contains(&fact)));
    let turns = session.turns.into_iter();
    turns.map(|turn| InstanceTurn { role: turn.role, has_answer: tells(turn.tells), content: turn.content }).collect()
}
