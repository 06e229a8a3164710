//! Sends reports to the page.

use wasm_bindgen::JsValue;
use web_sys::DedicatedWorkerGlobalScope;

use crate::protocol::{News, Report};

/// The way to the page. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(DedicatedWorkerGlobalScope);

impl Reporter {
    pub(crate) fn new(scope: DedicatedWorkerGlobalScope) -> Self {
        Self(scope)
    }

    /// Sends a report.
    pub(crate) fn send(&self, run: u64, news: News) {
        self.send_with(run, news, &JsValue::UNDEFINED);
    }

    /// Sends a report with an attachment.
    pub(crate) fn send_with(&self, run: u64, news: News, attachment: &JsValue) {
        match serde_json::to_string(&Report { run, news }) {
            Ok(text) => {
                let parts = js_sys::Array::of2(&JsValue::from(text), attachment);
                if let Err(error) = self.0.post_message(&parts) {
                    gloo::console::error!("a report could not be sent", error);
                }
            }
            Err(error) => gloo::console::error!("a report could not be written", error.to_string()),
        }
    }
}
