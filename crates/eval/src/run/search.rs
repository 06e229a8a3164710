//! Multi-objective search with each memory. One line a task; the unit is saved after every turn.
//!
//! | strategy | what the model reads in a turn |
//! |---|---|
//! | `summary` | MEM1's own prompt: the task, its last thoughts and what the last search found. Its running summary is what it thinks. |
//! | `cards` | nothing: each question is searched for as it stands, what is found is fed, and the cards are looked up |
//! | the others | the task and what the last search found, behind the agent's context and with what memory brings back |
//!
//! For the others every turn (what was found, what the model wrote then) is fed to the agent, and the trigger writes
//! memory and clears the context as in a conversation. The task is part of each prompt, so that clearing does not lose it.

use serde::{Deserialize, Serialize};
use tmem_core::rollout::Question;
use tmem_core::settings::MemoryKind;

use super::error::RunError;
use super::record::{Mode, ProbeLine};
use super::referee::prompt_hash;
use super::tally::Tally;
use super::unit::{Desk, Unit};
use crate::bench::search::{Corpus, SearchEpisode, SearchTask, Step};
use crate::probe::Subject;

/// Where in its unit an episode is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    episode: SearchEpisode,
    /// Turns fed.
    fed: usize,
    /// Tokens of the turns' prompts.
    read: u64,
    /// Tokens that the model wrote in its turns.
    generated: u64,
}

/// Runs a unit to its end.
pub(super) async fn run<S: Subject>(
    desk: &mut Desk<'_, S>,
    unit: &mut Unit,
    task: &SearchTask,
    corpus: &Corpus,
) -> Result<(), RunError> {
    let mut tally = Tally::default();
    let episode = SearchEpisode::new(task.clone(), desk.run.record.search.episode.clone());
    let mut place = Place { episode, fed: 0, read: 0, generated: 0 };
    if let Some(saved) = desk.resume(unit).await? {
        (tally, place) = saved;
    } else {
        let questions = task.questions.join("; ");
        let told = Some(questions.as_str()).filter(|_| desk.run.record.mode == Mode::Aware);
        desk.begin_episode(told, &mut tally).await?;
    }
    desk.folder.keep(unit.first_line)?;
    while let Step::Generate { prompt } = place.episode.next_step() {
        match unit.memory {
            MemoryKind::Cards => look_up(desk, &mut place, corpus, &mut tally).await?,
            MemoryKind::Summary => {
                let text = act(desk, prompt, &mut place, &mut tally).await?;
                place.episode.act(&text, corpus);
            }
            MemoryKind::None | MemoryKind::Retrieval | MemoryKind::Tmem | MemoryKind::TmemText => {
                let found = place.episode.turns().last().map(|turn| turn.information.clone()).unwrap_or_default();
                let text = act(desk, format!("{}{found}", task.prompt()), &mut place, &mut tally).await?;
                let observed = match found.trim() {
                    "" => questions_of(task),
                    found => found.to_owned(),
                };
                place.episode.act(&text, corpus);
                if place.episode.end().is_none() {
                    feed(desk, &observed, text.trim(), &mut place, &mut tally).await?;
                }
            }
        }
        desk.save(unit, &tally, &place).await?;
    }
    desk.mark(place.fed, &mut tally).await?;
    desk.end_episode(place.fed, &mut tally);
    let line = line(desk, unit, &place);
    desk.folder.append(&[line])?;
    desk.finish(unit, &mut tally)
}

/// The model's text of one turn, the tag that it was stopped at closed by the episode.
async fn act<S: Subject>(
    desk: &mut Desk<'_, S>,
    text: String,
    place: &mut Place,
    tally: &mut Tally,
) -> Result<String, RunError> {
    let question = Question {
        text,
        searched: Some(place.episode.task().questions.join(" ")),
        max_tokens: Some(desk.run.record.search.action_tokens),
        stop: SearchEpisode::STOP.map(str::to_owned).to_vec(),
    };
    let answer = desk.ask(&[question], tally).await?.pop();
    let Some(answer) = answer else { return Ok(String::new()) };
    place.read += answer.prompt_tokens as u64;
    place.generated += answer.tokens as u64;
    Ok(answer.text)
}

/// A turn without a model: the next question is searched for and what is found is fed; after the last one, or in the last
/// turn, the cards answer all of them.
async fn look_up<S: Subject>(
    desk: &mut Desk<'_, S>,
    place: &mut Place,
    corpus: &Corpus,
    tally: &mut Tally,
) -> Result<(), RunError> {
    let task = place.episode.task().clone();
    let turn = place.episode.turns().len();
    let last = turn + 1 >= desk.run.record.search.episode.max_turns;
    if let Some(question) = task.questions.get(turn).filter(|_| !last) {
        let action = format!("<search>{question}</search>");
        place.episode.act(&action, corpus);
        let found = place.episode.observation();
        return feed(desk, &found, "", place, tally).await;
    }
    desk.end_reading(tally).await?;
    let questions: Vec<Question> = task.questions.iter().map(|question| question.as_str().into()).collect();
    let answers = desk.ask(&questions, tally).await?;
    let answers: Vec<String> = answers.into_iter().map(|answer| answer.text.replace(';', ",")).collect();
    place.episode.act(&format!("<answer>{}</answer>", answers.join("; ")), corpus);
    Ok(())
}

async fn feed<S: Subject>(
    desk: &mut Desk<'_, S>,
    observed: &str,
    written: &str,
    place: &mut Place,
    tally: &mut Tally,
) -> Result<(), RunError> {
    let wrote = desk.feed(observed, written, tally).await?;
    place.fed += 1;
    if wrote {
        desk.mark(place.fed, tally).await?;
    }
    Ok(())
}

fn questions_of(task: &SearchTask) -> String {
    format!("The questions: {}", task.questions.join("; "))
}

fn line<S: Subject>(desk: &Desk<'_, S>, unit: &Unit, place: &Place) -> ProbeLine {
    let (task, scores) = (place.episode.task(), place.episode.scores());
    let named = [
        ("em", scores.em),
        ("f1", scores.f1),
        ("reward", scores.reward),
        ("objectives", scores.objectives as f64),
        ("turns", place.episode.turns().len() as f64),
    ];
    ProbeLine {
        seed: unit.seed,
        memory: unit.memory,
        sample: unit.sample.clone(),
        probe: task.id.clone(),
        category: task.source.clone(),
        age: None,
        prompt_sha256: prompt_hash(&task.prompt()),
        question: task.questions.join("; "),
        answer: place.episode.transcript(),
        gold: task.gold.iter().map(|answers| answers.join(" | ")).collect(),
        scores: named.map(|(name, score)| (name.to_owned(), score)).into(),
        headline: desk.run.referee.search_headline().to_owned(),
        cards: Vec::new(),
        gate: None,
        tokens_read: place.read,
        tokens_generated: place.generated,
    }
}
