//! The environment's side of a search episode.

use serde::{Deserialize, Serialize};

use super::corpus::SearchTool;
use super::score::{SearchScores, eval_scores, training_reward};
use super::task::SearchTask;

/// What a prompt shows of earlier turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// The last turn alone (MEM1): what the model thought and did, and what was found.
    #[default]
    Last,
    /// Every turn: an agent without memory.
    All,
}

/// How an episode goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeOptions {
    /// Most turns, the answer's included.
    pub max_turns: usize,
    /// Passages that a search shows.
    pub top_k: usize,
    /// Most bytes of a passage that are shown; the rest is cut.
    pub passage_bytes: usize,
    /// What a prompt shows of earlier turns.
    pub history: History,
}

impl Default for EpisodeOptions {
    fn default() -> Self {
        Self { max_turns: 10, top_k: 3, passage_bytes: 2000, history: History::Last }
    }
}

/// One turn as it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `<think>…</think>`; empty where there was none.
    pub think: String,
    /// What followed it: `<search>…</search>` or `<answer>…</answer>`, or whatever the model wrote instead.
    pub action: String,
    /// What was searched for.
    pub query: Option<String>,
    /// The environment's reply: `<information>…</information>`.
    pub information: String,
}

/// How an episode ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With an answer.
    Answered,
    /// The model neither searched nor answered.
    NoAction,
    /// The last turn was spent on a search.
    TurnsSpent,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The model writes, given this prompt; [`SearchEpisode::STOP`] ends its text. Then comes [`SearchEpisode::act`].
    Generate {
        /// The prompt as one text.
        prompt: String,
    },
    /// It is over.
    End(End),
}

/// A search episode, from the environment's side. It holds text only, so it can be saved and resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchEpisode {
    task: SearchTask,
    options: EpisodeOptions,
    turns: Vec<Turn>,
    end: Option<End>,
}

impl SearchEpisode {
    /// Texts at which the model's turn ends. Whether the generator hands the stop text over does not matter: a tag that
    /// is open at the end is closed.
    pub const STOP: [&'static str; 2] = ["</search>", "</answer>"];

    /// An episode at its beginning.
    pub fn new(task: SearchTask, options: EpisodeOptions) -> Self {
        let end = (options.max_turns == 0).then_some(End::TurnsSpent);
        Self { task, options, turns: Vec::new(), end }
    }

    /// The task.
    pub fn task(&self) -> &SearchTask {
        &self.task
    }

    /// The turns so far.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// How it ended, if it did.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// What comes next.
    pub fn next_step(&self) -> Step {
        match self.end {
            Some(end) => Step::End(end),
            None => Step::Generate { prompt: self.prompt() },
        }
    }

    /// Task and earlier turns as far as they are shown.
    fn prompt(&self) -> String {
        let shown = match self.options.history {
            History::Last => self.turns.len().saturating_sub(1),
            History::All => 0,
        };
        let mut prompt = self.task.prompt();
        for turn in self.turns.iter().skip(shown) {
            prompt.push_str(&turn.think);
            prompt.push_str(&turn.action);
            prompt.push_str(&turn.information);
        }
        prompt
    }

    /// What an agent that keeps its own context reads next: the task at first, then what the last search found.
    pub fn observation(&self) -> String {
        self.turns.last().map_or_else(|| self.task.prompt(), |turn| turn.information.trim().to_owned())
    }

    /// Takes the model's text of one turn, and searches where it asks for that. The first action of the text counts;
    /// what follows it is dropped. Nothing happens after the end.
    pub fn act(&mut self, text: &str, tool: &dyn SearchTool) {
        if self.end.is_some() {
            return;
        }
        let (think, rest) = split_think(text);
        let mut turn = Turn { think: think.to_owned(), ..Turn::default() };
        match first_action(rest) {
            Some(Action { tag: Tag::Answer, before, content }) => {
                turn.action = format!("{before}<answer>{content}</answer>");
                self.end = Some(End::Answered);
            }
            Some(Action { tag: Tag::Search, before, content }) => {
                turn.action = format!("{before}<search>{content}</search>");
                let query = content.trim().to_owned();
                let left = self.options.max_turns.saturating_sub(self.turns.len() + 1);
                if left == 0 {
                    self.end = Some(End::TurnsSpent);
                } else {
                    turn.information = self.information(&query, left, tool);
                }
                turn.query = Some(query);
            }
            None => {
                turn.action = rest.to_owned();
                self.end = Some(End::NoAction);
            }
        }
        self.turns.push(turn);
    }

    fn information(&self, query: &str, left: usize, tool: &dyn SearchTool) -> String {
        let hint = match left {
            1 => "[HINT]You have 1 turn left. Answer the questions in it.[/HINT]".to_owned(),
            _ => format!("[HINT]You have {left} turns left.[/HINT]"),
        };
        let mut found = String::new();
        for (passage, number) in tool.search(query, self.options.top_k).into_iter().zip(1..) {
            let text = &passage.text[..passage.text.floor_char_boundary(self.options.passage_bytes)];
            found.push_str(&format!("Doc {number}(Title: {}) {text}\n", passage.title));
        }
        if found.is_empty() {
            found.push_str("Nothing was found.\n");
        }
        format!("\n\n<information>{hint}\n\n{}</information>\n\n", found.trim_end())
    }

    /// Everything that was written and found, without the prompt: what MEM1's evaluation scores.
    pub fn transcript(&self) -> String {
        self.turns.iter().flat_map(|turn| [&turn.think, &turn.action, &turn.information]).map(String::as_str).collect()
    }

    /// Both of MEM1's scores.
    pub fn scores(&self) -> SearchScores {
        let transcript = self.transcript();
        let (em, f1) = eval_scores(&transcript, &self.task.gold);
        let reward = training_reward(&format!("{}{transcript}", self.task.prompt()), &self.task.gold);
        SearchScores { reward, em, f1, objectives: self.task.gold.len() }
    }
}

/// Everything up to the first `</think>`, and the rest.
fn split_think(text: &str) -> (&str, &str) {
    const CLOSE: &str = "</think>";
    text.find(CLOSE).map_or(("", text), |at| text.split_at(at + CLOSE.len()))
}

enum Tag {
    Search,
    Answer,
}

struct Action<'a> {
    tag: Tag,
    before: &'a str,
    content: &'a str,
}

/// The first search or answer in a text. Its end is its closing tag, or the end of the text.
fn first_action(text: &str) -> Option<Action<'_>> {
    let open = |tag: &str| text.find(&format!("<{tag}>"));
    let (tag, name, at) = match (open("search"), open("answer")) {
        (Some(search), Some(answer)) if answer < search => (Tag::Answer, "answer", answer),
        (Some(search), _) => (Tag::Search, "search", search),
        (None, Some(answer)) => (Tag::Answer, "answer", answer),
        (None, None) => return None,
    };
    let (before, rest) = text.split_at(at);
    let rest = &rest[name.len() + 2..];
    let content = rest.find(&format!("</{name}>")).map_or(rest, |end| &rest[..end]);
    Some(Action { tag, before, content })
}
