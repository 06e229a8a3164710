//! `trainer chat`: a conversation on the terminal.

mod input;

use std::path::Path;

use anyhow::{Context, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tmem_core::card::Card;
use tmem_core::rollout::AskOptions;
use tmem_core::rollout::policy::Policy;
use tmem_core::settings::MemoryKind;

use super::peft;
use crate::cli::{ChatArguments, Common};
use crate::events::{Display, card_line, passage_line};
use crate::saved::SavedChat;
use crate::session::Session;
use crate::slow_adapter::Unless;
use input::{HELP, Input};

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &ChatArguments) -> Result<()> {
    let saved = arguments.load.as_deref().map(SavedChat::read).transpose()?;
    // The settings of a saved chat go with it: opened with them, the fast weights are made only once.
    let mut session = match &saved {
        Some(saved) => {
            Session::with_settings(common, saved.settings.clone(), Unless::Identity(saved.identity())).await?
        }
        None => Session::open(common, Unless::Shipped).await?,
    };
    if let Some(saved) = saved {
        saved.restore(&mut session).await?;
    }
    let mut chat = Chat { session, twin: false, display: Display::chat() };
    chat.set_twin(arguments.twin);
    let model = chat.session.agent.policy().model();
    let trained = if model.slow_adapter.is_some() { " with a slow adapter" } else { "" };
    eprintln!("{}{trained} is listening; /help lists what it takes besides talk.", model.name);
    let mut editor = DefaultEditor::new().context("cannot use this terminal")?;
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                eprintln!("/quit or Ctrl-D to leave");
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read from the terminal"),
        };
        let input = Input::parse(&line);
        if input == Input::Quit {
            return Ok(());
        }
        if !matches!(input, Input::Nothing) {
            // Only what was typed by hand is worth recalling; a history that cannot be kept is no reason to stop.
            let _ = editor.add_history_entry(line.trim());
        }
        chat.session.abort.clear();
        if let Err(error) = chat.handle(input, &mut editor).await {
            eprintln!("{error:#}");
        }
    }
}

struct Chat {
    session: Session,
    twin: bool,
    display: Display,
}

impl Chat {
    async fn handle(&mut self, input: Input, editor: &mut DefaultEditor) -> Result<()> {
        let Self { session: Session { agent, abort, .. }, display, twin } = self;
        let observe = &mut |event| display.show(&event);
        match input {
            Input::Nothing | Input::Quit => {}
            Input::Say(text) => drop(agent.turn(&text, observe, abort).await?),
            Input::Ask(question) => {
                drop(agent.ask(&question, AskOptions { context: false, twin: *twin }, observe, abort).await?);
            }
            Input::Write => drop(agent.write_now(observe, abort).await?),
            Input::Clear => agent.clear_context(observe),
            Input::Forget(id) => agent.forget(id, observe, abort).await?,
            Input::Edit(id) => {
                let card = agent.cards().iter().find(|card| card.id == id).cloned();
                let card = card.with_context(|| format!("there is no card {id}; /cards lists them"))?;
                if let Some(card) = edited(card, editor)? {
                    agent.edit(card, observe, abort).await?;
                }
            }
            Input::Reset => agent.reset(observe).await?,
            Input::Cards if agent.cards().is_empty() => println!("no cards yet; /write makes them from what was said"),
            Input::Cards => agent.cards().iter().for_each(|card| println!("{}", card_line(card))),
            Input::Memory => self.memory(),
            Input::Twin => self.set_twin(!self.twin),
            Input::Status => self.status()?,
            Input::Share => println!("{}", super::replay::share(&mut self.session).await?),
            Input::Save(file) => {
                SavedChat::of(&mut self.session).await?.write(&file)?;
                eprintln!("saved to {}", file.display());
            }
            Input::Load(file) => self.load(&file).await?,
            Input::Export(folder) => peft::write(&mut self.session, &folder).await?,
            Input::Import(folder) => peft::read(&mut self.session, &folder).await?,
            Input::Help => println!("{HELP}"),
            Input::Unclear(reason) => eprintln!("{reason}"),
        }
        Ok(())
    }

    fn set_twin(&mut self, twin: bool) {
        self.twin = twin;
        self.session.agent.set_twin(twin);
        if twin {
            eprintln!("the frozen twin answers too: the same model without what was learned");
        }
    }

    fn memory(&self) {
        let passages = self.session.agent.passages();
        if passages.is_empty() {
            println!("nothing is remembered as text; --set memory=summary, retrieval or tmem_text does that");
        }
        passages.iter().for_each(|passage| println!("{}", passage_line(passage)));
    }

    fn status(&self) -> Result<()> {
        let agent = &self.session.agent;
        let delta = agent.policy().delta();
        let hash: String = delta.hash.chars().take(12).collect();
        println!("memory:  {}", memory_line(agent.settings().rollout.memory, agent.passages().len()));
        println!("context: {} of {} tokens", agent.context_tokens()?, agent.budget());
        println!("cards:   {}", agent.cards().len());
        println!("writes:  {} (fast weights {hash})", delta.version);
        Ok(())
    }

    async fn load(&mut self, file: &Path) -> Result<()> {
        SavedChat::read(file)?.restore(&mut self.session).await?;
        eprintln!("going on from {}", file.display());
        self.status()
    }
}

/// Which memory there is, and how much text it holds.
fn memory_line(kind: MemoryKind, passages: usize) -> String {
    let what = match kind {
        MemoryKind::None => "none: the oldest turns fall out of the context",
        MemoryKind::Summary => "a running summary",
        MemoryKind::Retrieval => "earlier turns, brought back where they fit",
        MemoryKind::Tmem => "fast weights",
        MemoryKind::TmemText => "fast weights and text",
        MemoryKind::Cards => "cards looked up without the model",
    };
    if passages == 0 { what.to_owned() } else { format!("{what} ({passages} passage(s), /memory shows them)") }
}

/// The card as the person changes it; `None` where they leave it.
fn edited(card: Card, editor: &mut DefaultEditor) -> Result<Option<Card>> {
    let mut line = |prompt: &str, old: &str| match editor.readline_with_initial(prompt, (old, "")) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(None),
        Err(error) => Err(error).context("cannot read from the terminal"),
    };
    let Some(question) = line("question: ", &card.question)? else { return Ok(None) };
    let Some(answer) = line("answer: ", &card.answer)? else { return Ok(None) };
    // Wordings of another question would teach the wrong thing.
    let wordings = if question == card.question { card.wordings.clone() } else { Vec::new() };
    let new = Card { question, answer, wordings, ..card.clone() };
    Ok((new != card).then_some(new))
}
