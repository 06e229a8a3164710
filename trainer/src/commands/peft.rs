//! `trainer export` and `trainer import`: the fast weights as a PEFT adapter, with the cards beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tmem_core::card::Card;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles};

use crate::cli::{Common, ExportArguments, ImportArguments};
use crate::saved::SavedChat;
use crate::session::Session;
use crate::slow_adapter::Unless;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Not part of PEFT: the gate and forgetting need the cards.
const CARDS: &str = "cards.json";
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Runs `trainer export`.
pub(crate) async fn export(common: &Common, arguments: &ExportArguments) -> Result<()> {
    let saved = SavedChat::read(&arguments.saved)?;
    let mut session =
        Session::with_settings(common, saved.settings.clone(), Unless::Identity(saved.identity())).await?;
    saved.restore(&mut session).await?;
    write(&mut session, &arguments.folder).await
}

/// Runs `trainer import`.
pub(crate) async fn import(common: &Common, arguments: &ImportArguments) -> Result<()> {
    let mut session = Session::open(common, Unless::Shipped).await?;
    read(&mut session, &arguments.folder).await?;
    SavedChat::of(&mut session).await?.write(&arguments.saved)?;
    eprintln!("saved to {0}; go on with `trainer chat --load {0}`", arguments.saved.display());
    Ok(())
}

/// Writes the fast weights and the cards of a session into a folder.
pub(crate) async fn write(session: &mut Session, folder: &Path) -> Result<()> {
    let engine = session.agent.policy_mut();
    let adapter = engine.export_peft().await?;
    let files = adapter.export(&engine.model().config, &engine.model().name)?;
    let cards = serde_json::to_string_pretty(session.agent.cards())?;
    put(folder, &files)?;
    fs::write(folder.join(CARDS), cards).with_context(|| format!("cannot write {CARDS} to {}", folder.display()))?;
    eprintln!("wrote {CONFIG}, {WEIGHTS} and {CARDS} to {}", folder.display());
    Ok(())
}

/// Writes the two files of an adapter into a folder, which is made where it is missing.
pub(crate) fn put(folder: &Path, files: &PeftFiles) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, bytes) in [(CONFIG, files.config.as_bytes()), (WEIGHTS, files.weights.as_slice())] {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name} to {}", folder.display()))?;
    }
    Ok(())
}

/// The two files of an adapter.
pub(crate) fn files(folder: &Path) -> Result<PeftFiles> {
    Ok(PeftFiles { config: text(&folder.join(CONFIG))?, weights: bytes(&folder.join(WEIGHTS))? })
}

/// Takes the fast weights and, where the folder has them, the cards; what was learned before is gone.
pub(crate) async fn read(session: &mut Session, folder: &Path) -> Result<()> {
    let files = files(folder)?;
    let cards_file = folder.join(CARDS);
    let cards: Vec<Card> = if cards_file.exists() {
        serde_json::from_str(&text(&cards_file)?)
            .with_context(|| format!("{} is not a list of cards", cards_file.display()))?
    } else {
        eprintln!("no {CARDS} beside the adapter: the gate has nothing to compare with, so it is best switched off");
        Vec::new()
    };
    let agent = &mut session.agent;
    let adapter = PeftAdapter::import(&agent.policy().model().config, &files)?;
    agent.reset(&mut |_| {}).await?;
    // A fresh agent counts from 0: these are the numbers that it will give them.
    let cards: Vec<Card> = (0..).zip(cards).map(|(id, card)| Card { id, ..card }).collect();
    agent.policy_mut().import_peft(&adapter, &cards).await?;
    agent.adopt(&cards);
    eprintln!("took the fast weights and {} card(s) from {}", cards.len(), folder.display());
    Ok(())
}

fn bytes(file: &Path) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let size = fs::metadata(file)?.len();
        ensure!(size <= MAX_BYTES, "it has {size} bytes; at most {MAX_BYTES} are read");
        Ok(fs::read(file)?)
    };
    read().with_context(|| format!("cannot read {}", file.display()))
}

fn text(file: &Path) -> Result<String> {
    String::from_utf8(bytes(file)?).with_context(|| format!("{} is no text", file.display()))
}
