//! Gets the model's bytes, piece by piece: from the page's own server, from the browser's store, from a dropped file.

use gloo::net::http::Request;
use js_sys::{Reflect, Uint8Array};
use serde::Deserialize;
use tmem_core::abort::Abort;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, ReadableStreamDefaultReader};

use super::adapter_file;
use crate::protocol::{Cause, Failure};
use crate::store::{Store, Writer, message_of, read_blob};

/// Pieces in which files are read: large enough to be quick, small enough that there is never a second copy.
const PIECE: u64 = 4 << 20;

/// Names of the store's files. The model counts as kept only once the note beside it says so.
const KEPT_MODEL: &str = "model.gguf";
const KEPT_NOTE: &str = "model.json";

/// What the server offers: `models/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(crate) struct Manifest {
    /// File beside the manifest.
    pub(crate) file: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its sha-256, hexadecimal.
    pub(crate) sha256: String,
    /// A slow adapter that was trained for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slow_adapter: Option<adapter_file::Offer>,
}

/// Takes the pieces in order.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Failure> + 'a;

fn unreachable_model(reason: impl std::fmt::Display) -> Failure {
    let message = format!(
        "The model could not be fetched ({reason}). Check that the server still runs and try again, or drop a GGUF file \
         on the page."
    );
    Failure::new(Cause::Model, message)
}

/// Asks the server what it offers.
///
/// # Errors
/// A server that is gone or offers no model.
pub(crate) async fn offered() -> Result<Manifest, Failure> {
    let response = Request::get("models/manifest.json").send().await.map_err(unreachable_model)?;
    if !response.ok() {
        return Err(unreachable_model(format_args!("the server answered {}", response.status())));
    }
    let manifest: Manifest = response.json().await.map_err(unreachable_model)?;
    if manifest.file.is_empty() || manifest.file.contains(['/', '\\', '?', '#', '%']) {
        return Err(unreachable_model("its manifest names a file outside its folder"));
    }
    Ok(manifest)
}

/// The model kept from an earlier visit; `None` where there is none, or only part of one.
pub(crate) async fn kept(store: &Store) -> Option<(Manifest, File)> {
    let note: Manifest = serde_json::from_slice(&store.read(KEPT_NOTE).await?).ok()?;
    let file = store.file(KEPT_MODEL).await?;
    (file.size() as u64 == note.size).then_some((note, file))
}

/// Drops the kept model.
pub(crate) async fn discard(store: &Store) {
    store.remove(KEPT_NOTE).await;
    store.remove(KEPT_MODEL).await;
}

/// A download being kept for the next visit. Until [`commit`](Self::commit) it does not count.
pub(crate) struct Keeper<'a> {
    store: &'a Store,
    writer: Writer,
}

impl<'a> Keeper<'a> {
    /// Starts keeping; `None` where the browser has no room or no store: the model is then downloaded on each visit.
    pub(crate) async fn start(store: &'a Store) -> Option<Self> {
        discard(store).await;
        let writer = store.create(KEPT_MODEL).await.ok()?;
        Some(Self { store, writer })
    }

    /// Keeps a piece; `false` where the browser has no room left.
    pub(crate) fn push(&self, piece: &[u8]) -> bool {
        self.writer.push(piece).is_ok()
    }

    /// Makes it count.
    pub(crate) async fn commit(self, manifest: &Manifest) {
        let Ok(note) = serde_json::to_vec(manifest) else { return };
        if self.writer.finish().is_ok() {
            // Without the note the model is fetched again next time: slower, not wrong.
            let _ = self.store.write(KEPT_NOTE, &note).await;
        }
    }
}

/// Streams the offered model from the server into `sink`.
///
/// # Errors
/// A broken connection, a server that sends another length, stopping, or whatever `sink` refuses.
pub(crate) async fn download(manifest: &Manifest, abort: &Abort, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let path = format!("models/{}", manifest.file);
    let response = Request::get(&path).send().await.map_err(unreachable_model)?;
    if !response.ok() {
        return Err(unreachable_model(format_args!("the server answered {}", response.status())));
    }
    let body = response.body().ok_or_else(|| unreachable_model("the server sent nothing"))?;
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut received = 0;
    loop {
        let result = JsFuture::from(reader.read()).await.map_err(|e| unreachable_model(message_of(&e)))?;
        let field = |name: &str| Reflect::get(&result, &JsValue::from(name)).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            break;
        }
        let piece = Uint8Array::new(&field("value")).to_vec();
        received += piece.len() as u64;
        let refused = if received > manifest.size { Err(wrong_length(manifest.size, received)) } else { sink(&piece) };
        let stopped = if abort.is_aborted() { Err(stopped()) } else { Ok(()) };
        if let Err(failure) = refused.and(stopped) {
            // Nobody waits for the rest.
            let _ = reader.cancel();
            return Err(failure);
        }
    }
    if received < manifest.size {
        return Err(wrong_length(manifest.size, received));
    }
    Ok(())
}

/// Streams a file into `sink`.
///
/// # Errors
/// A file that changed or vanished meanwhile, stopping, or whatever `sink` refuses.
pub(crate) async fn read(file: &File, abort: &Abort, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let size = file.size() as u64;
    let mut start = 0;
    while start < size {
        let end = (start + PIECE).min(size);
        let unreadable = |reason: String| {
            Failure::new(Cause::Model, format!("The file could not be read ({reason}). Choose it again."))
        };
        let blob = file.slice_with_f64_and_f64(start as f64, end as f64).map_err(|e| unreadable(message_of(&e)))?;
        let piece = read_blob(&blob).await.map_err(|e| unreadable(e.to_string()))?;
        sink(&piece)?;
        if abort.is_aborted() {
            return Err(stopped());
        }
        start = end;
    }
    Ok(())
}

fn wrong_length(expected: u64, received: u64) -> Failure {
    unreachable_model(format_args!("{received} bytes came instead of {expected}"))
}

fn stopped() -> Failure {
    Failure::new(Cause::Model, "Loading was stopped.")
}
