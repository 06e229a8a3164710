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
