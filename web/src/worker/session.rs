//! Keeps the conversation in the browser's store.

use crate::saved::{self, Saved};
use crate::store::{Store, StoreError};

/// Written in turn, so that one is whole even if the tab closes while the other is being written.
const FILES: [&str; 2] = ["conversation-0.json", "conversation-1.json"];

/// The two files of the conversation.
#[derive(Debug)]
pub(super) struct SessionFiles {
    store: Store,
    sequence: u64,
}

impl SessionFiles {
    /// Reads what was kept, if anything readable was.
    pub(super) async fn open(store: Store) -> (Self, Option<Saved>) {
        let mut files = Vec::new();
        for name in FILES {
            files.extend(store.read(name).await);
        }
        match saved::newest(files.iter().map(Vec::as_slice)) {
            Some((sequence, saved)) => (Self { store, sequence }, Some(saved)),
            None => (Self { store, sequence: 0 }, None),
        }
    }

    /// Another model is loaded: the conversation of the one before is put aside, and what was put aside of this one,
    /// if anything, taken up again.
    ///
    /// # Errors
    /// As [`write`](Self::write); what is being kept then stays as it is.
    pub(super) async fn change_model(&self, before: &Saved, sha256: &str) -> Result<Option<Saved>, StoreError> {
        let bytes = saved::encode(self.sequence, before).map_err(StoreError::from)?;
        self.store.write(&aside(&before.model_sha256), &bytes).await?;
        let kept = self.store.read(&aside(sha256)).await;
        Ok(kept.and_then(|bytes| saved::newest([bytes.as_slice()])).map(|(_, saved)| saved))
    }

    /// Keeps a conversation in place of the older of the two.
    ///
    /// # Errors
    /// No room, or another tab is writing at this moment.
    pub(super) async fn write(&mut self, saved: &Saved) -> Result<(), StoreError> {
        self.sequence += 1;
        let bytes = saved::encode(self.sequence, saved).map_err(StoreError::from)?;
        let name = FILES[(self.sequence % FILES.len() as u64) as usize];
        self.store.write(name, &bytes).await
    }
}

/// Where the conversation with a model waits while another one is in use.
fn aside(sha256: &str) -> String {
    let digits: String = sha256.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    format!("conversation-of-{digits}.json")
}
