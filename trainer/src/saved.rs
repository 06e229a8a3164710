//! A chat in a file: what /save writes and /load reads.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tmem_core::rollout::AgentSnapshot;
use tmem_core::settings::Settings;

use crate::session::Session;

/// The version of the format that this program writes and reads.
const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// A chat with its fast weights and settings.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedChat {
    tmem_chat: u32,
    model_sha256: String,
    pub(crate) settings: Settings,
    snapshot: AgentSnapshot,
}

impl SavedChat {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let bytes = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
        ensure!(bytes <= MAX_BYTES, "{name} has {bytes} bytes, a saved chat is far smaller: is it the right file?");
        let saved: Self = serde_json::from_reader(BufReader::new(file))
            .with_context(|| format!("{name} is not a chat saved by this version of trainer"))?;
        ensure!(
            saved.tmem_chat == VERSION,
            "{name} was saved in format {} and this trainer reads format {VERSION}: use the trainer that saved it",
            saved.tmem_chat
        );
        Ok(saved)
    }

    /// [Which model](tmem_core::model::Model::identity) it was held with.
    pub(crate) fn identity(&self) -> &str {
        &self.model_sha256
    }

    /// The state of a session.
    pub(crate) async fn of(session: &mut Session) -> Result<Self> {
        Ok(Self {
            tmem_chat: VERSION,
            model_sha256: session.agent.policy().model().identity(),
            settings: session.agent.settings().clone(),
            snapshot: session.agent.snapshot().await?,
        })
    }

    /// Writes a file; one that is there is replaced only once the new one is complete.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let write = || -> Result<()> {
            let part = path.with_extension("part");
            let mut writer = BufWriter::new(File::create(&part)?);
            serde_json::to_writer(&mut writer, self)?;
            writer.flush()?;
            std::fs::rename(&part, path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot save to {}", path.display()))
    }

    /// Puts the state into a session, settings included.
    pub(crate) async fn restore(&self, session: &mut Session) -> Result<()> {
        let identity = session.agent.policy().model().identity();
        if identity != self.model_sha256 {
            bail!(
                "this chat was saved with another model (sha256 {}…) than the one loaded ({}…): give its file with --model, and its slow adapter with --slow-adapter",
                self.model_sha256.chars().take(12).collect::<String>(),
                identity.chars().take(12).collect::<String>()
            );
        }
        if *session.agent.settings() != self.settings {
            session.agent.policy_mut().set_settings(&self.settings).await?;
            session.agent.set_settings(self.settings.clone());
        }
        Ok(session.agent.restore(&self.snapshot).await?)
    }
}
