//! Works off the commands.

use tmem_core::abort::Abort;
use tmem_core::engine::{self, Engine};
use tmem_core::fast::SiteNorm;
use tmem_core::recipe::{ModelIdentity, Recipe, ReplayOutcome, replay};
use tmem_core::rollout::Agent;
use tmem_core::rollout::policy::Policy as _;
use tmem_core::settings::{MemoryKind, Settings};
use tmem_gpu::{AdapterKind, Gpu};
use wasm_bindgen::JsValue;

use super::conversation::{Conversation, observed};
use super::load::{Loaded, Loading};
use super::reporter::Reporter;
use super::session::SessionFiles;
use crate::protocol::{Action, Activity, Base, Cause, Failure, ModelInfo, ModelSource, News, Phase, Replayed};
use crate::saved::Saved;
use crate::store::Store;

/// What was measured of this GPU's kernels.
const TUNING: &str = "tuning";
/// The decompositions of the adapted weights.
const SPECTRA: &str = "spectra";

/// What the worker holds between commands.
pub(super) struct Service {
    reporter: Reporter,
    abort: Abort,
    gpu: Option<Gpu>,
    session: Option<SessionFiles>,
    conversation: Option<Conversation<Engine>>,
    /// The base that the model can be loaded with instead, and its identity.
    other_base: Option<(Base, String)>,
    /// Whether the page was told that nothing is left to prepare.
    prepared: bool,
}

impl Service {
    pub(super) fn new(reporter: Reporter, abort: Abort) -> Self {
        Self { reporter, abort, gpu: None, session: None, conversation: None, other_base: None, prepared: false }
    }

    /// The device's failure, if one happened while nobody asked for anything.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        let failure = self.gpu.as_ref()?.check().err()?;
        let failure = Failure::from(failure);
        if failure.cause == Cause::DeviceLost {
            // Told once; what was on the device is gone.
            self.gpu = None;
            self.conversation = None;
        }
        Some(failure)
    }

    /// Computes a piece of what the first write needs, while nobody asks for anything. Says whether more is left.
    pub(super) async fn prepare(&mut self) -> bool {
        let Some(conversation) = &mut self.conversation else { return false };
        let learns = matches!(conversation.agent.settings().rollout.memory, MemoryKind::Tmem | MemoryKind::TmemText);
        // A failure is not lost: the write that needs it meets it again, and a lost device is watched for.
        let more = learns && conversation.agent.policy_mut().prepare_gate().await.unwrap_or(false);
        if !more && !self.prepared {
            self.prepared = true;
            self.reporter.send(0, News::Prepared);
        }
        more
    }

    /// Works off one command.
    pub(super) async fn handle(&mut self, run: u64, action: Action, attachment: JsValue) -> Result<(), Failure> {
        match action {
            Action::Stop => return Ok(()),
            Action::Load { source, base } => return self.load(run, source, base, attachment).await,
            Action::Replay { ref link } => self.take_base_of(run, link).await?,
            _ => {}
        }
        let Some(conversation) = &mut self.conversation else {
            return Err(Failure::new(Cause::Other, "The model is not loaded yet."));
        };
        let result = match action {
            Action::Say { text, twin } => conversation.say(run, &text, twin).await,
            Action::Write => conversation.write(run).await,
            Action::ClearContext => conversation.clear_context(run).await,
            Action::Forget { card } => conversation.forget(run, card).await,
            Action::Edit { card } => conversation.edit(run, card).await,
            Action::Reset => conversation.reset(run).await,
            Action::Configure { settings } => conversation.configure(run, *settings).await,
            Action::Share => return conversation.share(run).await,
            Action::Export => return conversation.export(run).await,
            Action::Import => conversation.import(run, attachment).await,
            Action::Replay { link } => conversation.replay(run, &link).await,
            Action::Stop | Action::Load { .. } => Ok(()),
        };
        // Also after a failure: what was said before it is worth keeping.
        let saved = self.save().await;
        result.and(saved)
    }

    /// Loads the model with its other base where a link was made with that one.
    async fn take_base_of(&mut self, run: u64, link: &str) -> Result<(), Failure> {
        let wanted = Recipe::from_link(link)?.model.sha256;
        match &self.other_base {
            Some((base, identity)) if self.conversation.is_some() && *identity == wanted => {
                let base = *base;
                self.load(run, ModelSource::Server, base, JsValue::UNDEFINED).await
            }
            _ => Ok(()),
        }
    }

    async fn load(&mut self, run: u64, source: ModelSource, base: Base, file: JsValue) -> Result<(), Failure> {
        self.conversation = None;
        self.other_base = None;
        self.prepared = false;
        let store = Store::open().await.ok();
        let (session, saved) = match &store {
            Some(store) => {
                let (session, saved) = SessionFiles::open(store.clone()).await;
                (Some(session), saved)
            }
            None => {
                let text = "This browser keeps no files for this page: the conversation ends with the tab.".to_owned();
                self.reporter.send(run, News::Notice { text });
                (None, None)
            }
        };
        self.session = session;
        if let Some(saved) = &saved {
            self.reporter.send(run, News::Restored { log: saved.log.clone() });
        }
        let settings = saved.as_ref().map_or_else(Settings::default, |saved| saved.settings.clone());
        let (reporter, abort, store) = (&self.reporter, &self.abort, store.as_ref());
        let mut loading = Loading { run, reporter, abort, store, settings, base };
        let gpu = loading.device().await?;
        self.gpu = Some(gpu.clone());
        if saved.is_none() && gpu.kind() == AdapterKind::Cpu {
            loading.settings = Settings::quick();
            let text = "No GPU was found, so an emulated one has to do: a card takes it many times as long to learn. The \
                        settings begin with the preset for that, a tenth of the work.";
            self.reporter.send(run, News::Notice { text: text.to_owned() });
        }
        let settings = loading.settings.clone();
        let Some(Loaded { model, name, base }) = loading.model(&gpu, source, file).await? else { return Ok(()) };
        loading.progress(Phase::Prepare, 0, 0);
        let (settings, saved) = self.conversation_of(run, &model.identity(), settings, saved).await;
        let remembered = match store {
            Some(store) => store.read(TUNING).await,
            None => None,
        };
        let measured = engine::tune(&gpu, &model, remembered.as_deref()).await?;
        if let (Some(store), Some(bytes)) = (store, measured) {
            // Without room for it the kernels are measured again next time.
            let _ = store.write(TUNING, &bytes).await;
        }
        let remembered = match store {
            Some(store) => store.read(SPECTRA).await,
            None => None,
        };
        let engine = Engine::with_spectra(&gpu, model, &settings, remembered.as_deref()).await?;
        if let Some(store) = store
            && remembered.as_deref() != Some(engine.spectra())
        {
            // Without room for them they are searched for again next time.
            let _ = store.write(SPECTRA, engine.spectra()).await;
        }
        let info = ModelInfo {
            name,
            sha256: engine.model().sha256.clone(),
            layers: engine.model().config.layers,
            context_length: engine.context_length(),
            sites: engine.sites().len(),
            base: base.as_ref().map(|(base, _)| *base),
        };
        self.other_base = base.map(|(base, other)| (base.other(), other));
        let norms = no_norms(&engine);
        let agent = Agent::new(engine, settings);
        let mut conversation = Conversation::new(agent, norms, gpu, self.reporter.clone(), self.abort.clone());
        if let Some(saved) = saved {
            loading.progress(Phase::Resume, 0, 0);
            if conversation.resume(saved).await.is_err() {
                let text = "The last conversation could not be taken up again, so a new one begins.".to_owned();
                self.reporter.send(run, News::Notice { text });
            }
        }
        self.reporter.send(run, News::Ready(Box::new(info)));
        conversation.show(run).await?;
        self.conversation = Some(conversation);
        Ok(())
    }

    /// The saved conversation where it was held with this model. Where it was another one, that one is put aside, and
    /// this model's own taken up or a new one begun.
    async fn conversation_of(
        &self,
        run: u64,
        sha256: &str,
        settings: Settings,
        saved: Option<Saved>,
    ) -> (Settings, Option<Saved>) {
        let (Some(session), Some(before)) = (&self.session, &saved) else { return (settings, saved) };
        if before.model_sha256 == sha256 {
            return (settings, saved);
        }
        let (text, saved) = match session.change_model(before, sha256).await {
            Ok(saved) => {
                let text = "The last conversation was held with another model: it comes back with that model.";
                (text.to_owned(), saved)
            }
            Err(error) => {
                (format!("The last conversation, held with another model, could not be kept: {error}."), None)
            }
        };
        self.reporter.send(run, News::Notice { text });
        let settings = saved.as_ref().map_or(settings, |saved| saved.settings.clone());
        (settings, saved)
    }

    async fn save(&mut self) -> Result<(), Failure> {
        let (Some(session), Some(conversation)) = (&mut self.session, &mut self.conversation) else { return Ok(()) };
        let sha256 = conversation.agent.policy().model().identity();
        let saved = conversation.save(&sha256).await?;
        session.write(&saved).await.map_err(|error| {
            Failure::new(Cause::Other, format!("The conversation could not be saved for a reload: {error}."))
        })
    }
}

/// Every site with Δ = 0.
pub(super) fn no_norms(engine: &Engine) -> Vec<SiteNorm> {
    let site = |site: &tmem_core::engine::SiteInfo| SiteNorm {
        layer: site.layer,
        projection: site.projection.name().to_owned(),
        relative: 0.0,
    };
    engine.sites().iter().map(site).collect()
}

/// What only the real model can do.
impl Conversation<Engine> {
    async fn reset(&mut self, run: u64) -> Result<(), Failure> {
        let norms = no_norms(self.agent.policy());
        self.forget_everything(run, norms).await
    }

    /// Takes new settings into use. Where they mean other fast weights, or a memory that learns its cards where the last
    /// one did not, Δ is trained anew from the cards; under a memory that trains nothing it becomes 0.
    async fn configure(&mut self, run: u64, settings: Settings) -> Result<(), Failure> {
        settings.validate().map_err(|error| Failure::new(Cause::Other, error.to_string()))?;
        let before = self.agent.policy().delta();
        self.agent.policy_mut().set_settings(&settings).await?;
        self.agent.set_settings(settings);
        let relearn = self.agent.needs_relearning();
        if relearn || self.agent.policy().delta() != before {
            let norms = no_norms(self.agent.policy());
            self.set_norms(norms);
        }
        if relearn { self.relearn(run).await } else { self.settle(run, Ok(())).await }
    }

    async fn share(&mut self, run: u64) -> Result<(), Failure> {
        let model = self.agent.policy().model();
        let identity = ModelIdentity { name: model.name.clone(), sha256: model.identity() };
        let recipe = Recipe::of(&mut self.agent, identity, None).await?;
        self.reporter.send(run, News::Link { fragment: recipe.to_fragment()? });
        Ok(())
    }

    async fn replay(&mut self, run: u64, link: &str) -> Result<(), Failure> {
        let recipe = Recipe::from_link(link)?;
        let sha256 = self.agent.policy().model().identity();
        // Asked before anything is given up for it.
        if recipe.model.sha256 != sha256 {
            return Err(Failure::new(Cause::Link, other_model(&recipe.model.name)));
        }
        self.reporter.send(run, News::Doing { activity: Activity::Replaying });
        self.forget_everything(run, no_norms(self.agent.policy())).await?;
        self.agent.policy_mut().set_settings(&recipe.settings).await?;
        self.agent.set_settings(recipe.settings.clone());
        self.set_norms(no_norms(self.agent.policy()));
        let result =
            observed!(self, run, |agent, observe, abort| replay(&recipe, &sha256, agent, observe, abort).await);
        self.settle(run, Ok(())).await?;
        let report = result?;
        let distance = match report.outcome {
            ReplayOutcome::Match => Some(0.0),
            ReplayOutcome::Distance { relative } => Some(relative),
            ReplayOutcome::OtherShape => None,
        };
        self.reporter.send(
            run,
            News::Replayed(Replayed {
                expected: report.expected_hash,
                reached: report.delta.hash,
                distance,
                skipped: report.skipped,
                memory: report.memory,
            }),
        );
        Ok(())
    }
}

fn other_model(name: &str) -> String {
    format!("It was made with another model, `{name}`: load that model and open the link again.")
}
