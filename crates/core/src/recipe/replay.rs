//! Doing a recipe again.

use serde::{Deserialize, Serialize};

use super::{Recipe, memory_hash};
use crate::abort::Abort;
use crate::fast::DeltaId;
use crate::rollout::policy::{Policy, PolicyError};
use crate::rollout::{Action, Agent, AgentError, AskOptions, Event, Warning};

/// How the Δ of a replay compares with the recipe's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplayOutcome {
    /// The same bits.
    Match,
    /// Other bits, as another adapter gives: estimated ‖B − B'‖ relative to the larger norm.
    Distance {
        /// 0 is equal; about 1.4 for two unrelated states of the same size.
        relative: f32,
    },
    /// Another number of values: the fast weights have other sites or another rank.
    OtherShape,
}

/// A finished replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// How Δ compares.
    pub outcome: ReplayOutcome,
    /// The Δ reached.
    pub delta: DeltaId,
    /// Hash of the Δ the recipe was made with.
    pub expected_hash: String,
    /// Whether what is remembered outside of Δ (a summary, notes, cards that are not trained) is the same; `None` where
    /// the recipe does not say.
    pub memory: Option<bool>,
    /// Actions that could not be done here: on another adapter the writer may have written other cards.
    pub skipped: usize,
}

/// Why a recipe could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Made with another model.
    #[error(
        "the recipe was made with {name} (sha256 {expected}), the model loaded here has sha256 {found}: load that model"
    )]
    OtherModel {
        /// Name of the recipe's model.
        name: String,
        /// Sha-256 of the recipe's model.
        expected: String,
        /// Sha-256 of the model loaded.
        found: String,
    },
    /// The agent was not made with the recipe's settings.
    #[error("the agent must be set up with the recipe's settings before it is replayed")]
    OtherSettings,
    /// Stopped from outside.
    #[error("the replay was stopped")]
    Aborted,
    /// The agent failed.
    #[error("action {index} of the recipe failed: {source}")]
    Agent {
        /// Place of the action in the script.
        index: usize,
        /// What happened.
        source: AgentError,
    },
    /// The policy failed before or after the script.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Resets the agent and does everything the recipe says. `model_sha256` is that of the model loaded. An action that is
/// impossible here because the writer wrote other cards is skipped and told of; any other failure ends the replay.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay<P: Policy>(
    recipe: &Recipe,
    model_sha256: &str,
    agent: &mut Agent<P>,
    observe: &mut dyn FnMut(Event),
    abort: &Abort,
) -> Result<ReplayReport, ReplayError> {
    if !recipe.model.sha256.eq_ignore_ascii_case(model_sha256) {
        return Err(ReplayError::OtherModel {
            name: recipe.model.name.clone(),
            expected: recipe.model.sha256.clone(),
            found: model_sha256.to_owned(),
        });
    }
    if *agent.settings() != recipe.settings {
        return Err(ReplayError::OtherSettings);
    }
    agent.reset(observe).await.map_err(|source| ReplayError::Agent { index: 0, source })?;
    let mut skipped = 0;
    for (index, action) in recipe.script.iter().enumerate() {
        match perform(agent, action, observe, abort).await {
            _ if abort.is_aborted() => return Err(ReplayError::Aborted),
            Ok(()) => {}
            Err(error @ (AgentError::UnknownCard(_) | AgentError::NotLearned { .. })) => {
                skipped += 1;
                observe(Event::Warning(Warning::ActionSkipped { index, reason: error.to_string() }));
            }
            Err(source) => return Err(ReplayError::Agent { index, source }),
        }
    }
    let fast = agent.policy_mut().snapshot().await?;
    Ok(ReplayReport {
        outcome: recipe.expected.compare(&fast.delta, &fast.b),
        delta: fast.delta,
        expected_hash: recipe.expected.hash.clone(),
        memory: recipe.expected.memory.as_ref().map(|hash| memory_hash(agent).as_ref() == Some(hash)),
        skipped,
    })
}

async fn perform<P: Policy>(
    agent: &mut Agent<P>,
    action: &Action,
    observe: &mut dyn FnMut(Event),
    abort: &Abort,
) -> Result<(), AgentError> {
    match action {
        Action::Turn { text } => agent.turn(text, observe, abort).await.map(drop),
        Action::Feed { text, answer } => agent.feed(text, answer, observe, abort).await,
        Action::Ask { text, context } => {
            let options = AskOptions { context: *context, twin: false };
            agent.ask(text, options, observe, abort).await.map(drop)
        }
        Action::Purpose { question } => {
            agent.set_question(question.as_deref());
            Ok(())
        }
        Action::Write {} => agent.write_now(observe, abort).await.map(drop),
        Action::Clear {} => {
            agent.clear_context(observe);
            Ok(())
        }
        Action::Learn { cards } => agent.learn(cards, observe, abort).await.map(drop),
        Action::Forget { id } => agent.forget(*id, observe, abort).await,
        Action::Edit { card } => agent.edit(card.clone(), observe, abort).await,
    }
}
