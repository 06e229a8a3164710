//! Episodes in step, whatever Δ they carry, against the same episodes with every request run by itself under its own Δ.

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::{Engine, UnderDelta};
use tmem_core::fast::peft::PeftAdapter;
use tmem_core::fast::{DeltaId, StepReport, WriteReport};
use tmem_core::message::Message;
use tmem_core::rollout::policy::{
    GenerateRequest, Generation, Policy, PolicyError, Sampling, Score, ScoreRequest, Snapshot, Weights,
};
use tmem_core::settings::{Settings, WriterKind};
use tmem_eval::probe::{Subject, Usage};
use tmem_learner::rl::{Codes, RewardSettings, Rollouts, Sampled, Sampler, Tasks, rollouts};

use crate::support::{engine, fixture};

/// The engine, but for requests under several Δ: it puts each Δ in force and runs its request alone.
struct OneByOne(Engine);

impl OneByOne {
    async fn each<R, T>(
        &mut self,
        requests: &[UnderDelta<'_, R>],
        mut run: impl AsyncFnMut(&mut Engine, &R) -> Result<Vec<T>, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        let in_force = self.0.snapshot().await?;
        let mut all = Vec::new();
        for asked in requests {
            self.0.restore(asked.delta).await?;
            all.extend(run(&mut self.0, asked.request).await?);
        }
        self.0.restore(&in_force).await?;
        Ok(all)
    }
}

impl Sampler for OneByOne {
    async fn fast_weights(&mut self) -> Result<PeftAdapter, PolicyError> {
        self.0.fast_weights().await
    }

    async fn generate_under(
        &mut self,
        requests: &[UnderDelta<'_, GenerateRequest>],
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        let run = async |engine: &mut Engine, request: &GenerateRequest| {
            engine.generate(std::slice::from_ref(request), &mut |_, _| {}, abort).await
        };
        self.each(requests, run).await
    }

    async fn score_under(&mut self, requests: &[UnderDelta<'_, ScoreRequest>]) -> Result<Vec<Score>, PolicyError> {
        let run = async |engine: &mut Engine, request: &ScoreRequest| engine.score(std::slice::from_ref(request)).await;
        self.each(requests, run).await
    }

    async fn damage_under(&mut self, prompts: &[UnderDelta<'_, Vec<Message>>]) -> Result<Vec<f32>, PolicyError> {
        let run = async |engine: &mut Engine, prompt: &Vec<Message>| {
            Ok(engine.kl_to_frozen(std::slice::from_ref(prompt), Weights::Fast).await?)
        };
        self.each(prompts, run).await
    }

    fn slow_adapter(&self) -> Option<&str> {
        None
    }
}

impl Subject for OneByOne {
    async fn kl_to_frozen(&mut self, prompts: &[Vec<Message>], weights: Weights) -> Result<Vec<f32>, PolicyError> {
        Subject::kl_to_frozen(&mut self.0, prompts, weights).await
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    async fn configure(&mut self, settings: &Settings) -> Result<(), PolicyError> {
        self.0.configure(settings).await
    }
}

impl Policy for OneByOne {
    fn context_length(&self) -> usize {
        self.0.context_length()
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        self.0.count_tokens(messages)
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        self.0.generate(requests, observe, abort).await
    }

    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        self.0.score(requests).await
    }

    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        self.0.embed(texts).await
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        observe: &mut dyn FnMut(&StepReport),
        abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        self.0.learn(cards, replay, observe, abort).await
    }

    fn delta(&self) -> DeltaId {
        self.0.delta()
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        self.0.snapshot().await
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        self.0.restore(snapshot).await
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.0.reset().await
    }
}

/// Settings of `configs/rl-toy.toml`.
fn settings() -> Settings {
    let mut settings = Settings::small();
    (settings.rollout.writer, settings.rollout.max_cards, settings.rollout.answer_tokens) = (WriterKind::Json, 8, 4);
    settings.rollout.writer_tokens = 96;
    (settings.fast.layers, settings.fast.learning_rate, settings.fast.steps, settings.fast.batch) = (2, 4e-2, 6, 4);
    (settings.fast.gate, settings.fast.kl_weight, settings.fast.kl_prompts) = (false, 0.0, 0);
    settings.fast.trust_region = 0.0;
    settings.sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    settings
}

async fn live<P: Sampler>(model: &mut P) -> Rollouts {
    let settings = settings();
    model.configure(&settings).await.unwrap();
    let codes = Codes { told: 2, unknown: 1, ..Codes::default() };
    let tasks: Vec<_> = (0..2).map(|number| (number, codes.task(number).unwrap())).collect();
    let reward = RewardSettings { damage: 0.1, ..RewardSettings::default() };
    let sampled = Sampled { settings: &settings, reward: &reward, generations: 4, seed: 5 };
    rollouts(model, &tasks, sampled, &Abort::default()).await.unwrap()
}

#[test]
fn episodes_in_one_batch_have_the_bits_of_each_request_alone() {
    pollster::block_on(async {
        let model = || engine(fixture("toy_writer.q8_0.gguf"), 2);
        let (together, apart) = (live(&mut model()).await, live(&mut OneByOne(model())).await);
        assert_eq!(together.groups, apart.groups);
        let different = together.fast.len();
        assert!(different > 2, "{different} different Δ test little");
        assert_eq!(together.fast.keys().collect::<Vec<_>>(), apart.fast.keys().collect::<Vec<_>>());
        let bits = |rollouts: &Rollouts| -> Vec<u32> {
            let segments = rollouts.groups.iter().flatten().flat_map(|episode| &episode.segments);
            segments.flat_map(|segment| segment.log_probabilities.iter().map(|value| value.to_bits())).collect()
        };
        assert_eq!(bits(&together), bits(&apart));
    });
}
