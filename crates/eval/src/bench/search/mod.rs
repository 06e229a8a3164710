//! Multi-objective search (MEM1, arXiv 2506.15841): k questions at once, a search tool, a limited number of turns.
//!
//! An interactive task has no history to read; it has an environment. [`SearchTask`] is the task, [`SearchEpisode`] the
//! environment's side of the dialogue as a state machine: it is given what a model wrote and says what the model reads
//! next, or that the episode has ended. Any text generator can drive it:
//!
//! ```
//! use tmem_eval::bench::search::{Corpus, EpisodeOptions, Passage, SearchEpisode, SearchTask, Step};
//!
//! let corpus = Corpus::new(vec![Passage { title: "Ghent".into(), text: "Ghent lies in Belgium.".into() }]);
//! let task = SearchTask::new("t", "nq", vec!["where is ghent".into()], vec![vec!["Belgium".into()]])?;
//! let mut episode = SearchEpisode::new(task, EpisodeOptions::default());
//! let mut model = ["<search>Ghent", "<answer>Belgium"].into_iter();
//! while let Step::Generate { prompt } = episode.next_step() {
//!     assert!(prompt.contains("where is ghent?"));
//!     episode.act(model.next().unwrap_or_default(), &corpus);
//! }
//! assert_eq!(episode.scores().em, 1.0);
//! # Ok::<(), tmem_eval::bench::BenchError>(())
//! ```

mod corpus;
mod cost;
mod episode;
mod rows;
mod score;
mod task;
#[cfg(test)]
mod tests;

pub use corpus::{Corpus, Passage, SearchTool};
pub use cost::EpisodeCost;
pub use episode::{End, EpisodeOptions, History, SearchEpisode, Step, Turn};
pub use rows::{Question, QuestionFile, read_files};
pub use score::{SearchScores, eval_scores, training_reward};
pub use task::{SearchTask, tasks};
