//! Fast weights and cards as files.

use tmem_core::engine::Engine;
use tmem_core::fast::peft::{PeftAdapter, PeftFiles};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Blob;

use super::conversation::Conversation;
use super::service::no_norms;
use crate::archive;
use crate::protocol::{Cause, Failure, News};
use crate::store::read_blob;

impl Conversation<Engine> {
    pub(super) async fn export(&mut self, run: u64) -> Result<(), Failure> {
        let cards = self.agent.cards().to_vec();
        let engine = self.agent.policy_mut();
        let adapter = engine.export_peft().await?;
        let name = engine.model().name.clone();
        let files = adapter.export(&engine.model().config, &name).map_err(not_an_adapter)?;
        let bytes = archive::pack(&files, &cards)?;
        let content = js_sys::Uint8Array::from(bytes.as_slice());
        let file_name = "tmem-fast-weights.zip".to_owned();
        self.reporter.send_with(run, News::Archive { file_name }, &content);
        Ok(())
    }

    pub(super) async fn import(&mut self, run: u64, attachment: JsValue) -> Result<(), Failure> {
        let Ok(blob) = attachment.dyn_into::<Blob>() else {
            return Err(Failure::new(Cause::Archive, "No file came with the command: choose it again."));
        };
        let bytes = read_blob(&blob).await.map_err(|error| Failure::new(Cause::Archive, error.to_string()))?;
        let (files, cards): (PeftFiles, _) = archive::unpack(&bytes)?;
        let adapter = PeftAdapter::import(&self.agent.policy().model().config, &files).map_err(not_an_adapter)?;
        self.forget_everything(run, no_norms(self.agent.policy())).await?;
        self.agent.policy_mut().import_peft(&adapter, &cards).await?;
        self.agent.adopt(&cards);
        self.note(run, "Imported fast weights and their cards.".to_owned());
        let norms = self.agent.policy().site_norms().await?;
        self.set_norms(norms);
        self.settle(run, Ok(())).await
    }
}

fn not_an_adapter(error: impl std::fmt::Display) -> Failure {
    Failure::new(Cause::Archive, error.to_string())
}
