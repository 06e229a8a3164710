//! Files of this origin in the browser (the origin-private file system).

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, DedicatedWorkerGlobalScope, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetFileOptions,
    FileSystemSyncAccessHandle,
};

/// What the browser said when a file could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the browser's file store refused: {0}")]
pub(crate) struct StoreError(String);

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<JsValue> for StoreError {
    fn from(value: JsValue) -> Self {
        Self(message_of(&value))
    }
}

/// The words of whatever JavaScript threw.
pub(crate) fn message_of(value: &JsValue) -> String {
    if let Some(error) = value.dyn_ref::<js_sys::Error>() {
        return String::from(error.message());
    }
    if let Some(exception) = value.dyn_ref::<web_sys::DomException>() {
        return exception.message();
    }
    value.as_string().unwrap_or_else(|| format!("{value:?}"))
}

/// This origin's folder. Usable in workers only: the page's thread has no synchronous access.
#[derive(Debug, Clone)]
pub(crate) struct Store(FileSystemDirectoryHandle);

impl Store {
    /// Opens the folder.
    ///
    /// # Errors
    /// A browser that keeps no files for this page (private windows of some browsers).
    pub(crate) async fn open() -> Result<Self, StoreError> {
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        let root = JsFuture::from(scope.navigator().storage().get_directory()).await?;
        Ok(Self(root.dyn_into()?))
    }

    /// A file for reading; `None` where there is none.
    pub(crate) async fn file(&self, name: &str) -> Option<File> {
        let handle = JsFuture::from(self.0.get_file_handle(name)).await.ok()?;
        let handle: FileSystemFileHandle = handle.dyn_into().ok()?;
        JsFuture::from(handle.get_file()).await.ok()?.dyn_into().ok()
    }

    /// A whole small file; `None` where there is none.
    pub(crate) async fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.file(name).await?;
        read_blob(&file).await.ok()
    }

    /// Starts a file from nothing. It is locked until the writer is dropped.
    ///
    /// # Errors
    /// No room, or the file is open elsewhere (another tab).
    pub(crate) async fn create(&self, name: &str) -> Result<Writer, StoreError> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let handle = JsFuture::from(self.0.get_file_handle_with_options(name, &options)).await?;
        let handle: FileSystemFileHandle = handle.dyn_into()?;
        let access = JsFuture::from(handle.create_sync_access_handle()).await?;
        let access: FileSystemSyncAccessHandle = access.dyn_into()?;
        let writer = Writer(access);
        writer.0.truncate_with_f64(0.0)?;
        Ok(writer)
    }

    /// Writes a whole small file.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`Writer::push`].
    pub(crate) async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let writer = self.create(name).await?;
        writer.push(bytes)?;
        writer.finish()
    }

    /// Removes a file if it is there.
    pub(crate) async fn remove(&self, name: &str) {
        // A file that is not there is what was wanted; one that is locked by another tab is that tab's.
        let _ = JsFuture::from(self.0.remove_entry(name)).await;
    }
}

/// A file being written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Writer(FileSystemSyncAccessHandle);

impl Writer {
    /// Appends.
    ///
    /// # Errors
    /// No room.
    pub(crate) fn push(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.0.write_with_u8_array(bytes)?;
        if written as usize != bytes.len() {
            return Err(StoreError("there is no room left".to_owned()));
        }
        Ok(())
    }

    /// Makes sure that all of it is kept.
    ///
    /// # Errors
    /// The browser could not write it.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        Ok(self.0.flush()?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// All bytes of a blob.
///
/// # Errors
/// The file behind it changed or is gone.
pub(crate) async fn read_blob(blob: &Blob) -> Result<Vec<u8>, StoreError> {
    let buffer = JsFuture::from(blob.array_buffer()).await?;
    Ok(Uint8Array::new(&buffer).to_vec())
}
