//! Gets the slow adapter's two files: from the browser's store, else from the page's own server.

use gloo::net::http::Request;
use serde::{Deserialize, Serialize};
use tmem_core::fast::peft::PeftFiles;

use crate::store::Store;

/// Names of the store's files. The configuration is written last: with it the adapter counts as kept.
const KEPT_WEIGHTS: &str = "adapter.safetensors";
const KEPT_CONFIG: &str = "adapter.json";

/// The slow adapter that the server offers with its model: a part of `models/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// Folder below `adapters/` with PEFT's two files.
    folder: String,
    /// Sha-256 of its weights, hexadecimal.
    pub(crate) sha256: String,
}

/// The adapter's files.
///
/// # Errors
/// In words, where they cannot be had or are not the ones offered.
pub(crate) async fn get(offer: &Offer, store: Option<&Store>) -> Result<PeftFiles, String> {
    if let Some(store) = store
        && let Some(files) = kept(store).await
        && files.sha256() == offer.sha256
    {
        return Ok(files);
    }
    let config = fetch(offer, "adapter_config.json").await?;
    let config = String::from_utf8(config).map_err(|_| "its configuration is no text".to_owned())?;
    let files = PeftFiles { config, weights: fetch(offer, "adapter_model.safetensors").await? };
    if files.sha256() != offer.sha256 {
        return Err("it did not arrive as it should".to_owned());
    }
    if let Some(store) = store {
        keep(store, &files).await;
    }
    Ok(files)
}

async fn kept(store: &Store) -> Option<PeftFiles> {
    let config = String::from_utf8(store.read(KEPT_CONFIG).await?).ok()?;
    Some(PeftFiles { config, weights: store.read(KEPT_WEIGHTS).await? })
}

/// Keeps the files for the next visit. Without them they are fetched again: slower, not wrong.
async fn keep(store: &Store, files: &PeftFiles) {
    store.remove(KEPT_CONFIG).await;
    if store.write(KEPT_WEIGHTS, &files.weights).await.is_ok() {
        let _ = store.write(KEPT_CONFIG, files.config.as_bytes()).await;
    }
}

async fn fetch(offer: &Offer, file: &str) -> Result<Vec<u8>, String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if offer.folder.is_empty() || offer.folder.starts_with('.') || !offer.folder.chars().all(safe) {
        return Err("the server names a folder outside of its own".to_owned());
    }
    let path = format!("adapters/{}/{file}", offer.folder);
    let response = Request::get(&path).send().await.map_err(|error| error.to_string())?;
    if !response.ok() {
        return Err(format!("the server answered {}", response.status()));
    }
    response.binary().await.map_err(|error| error.to_string())
}
