//! Many episodes over one model, in step: each runs until it needs the model, and what all of them need then is done
//! in as few batches as there are different Δ among them.
//!
//! Episodes are ordinary agents that do not know of each other. Each has a [`Member`] as its policy, which has a Δ of
//! its own; the model takes that Δ into use whenever it works for the member. Everything happens in the order of the
//! members, so that the same episodes give the same bits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::fast::peft::PeftAdapter;
use tmem_core::fast::{DeltaId, StepReport, WriteReport};
use tmem_core::message::Message;
use tmem_core::rollout::policy::{
    GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot, Weights,
};

use super::Sampler;

/// What an episode needs of the model.
enum Call {
    Generate(Vec<GenerateRequest>),
    Score(Vec<ScoreRequest>),
    Embed(Vec<String>),
    Learn { cards: Vec<Card>, replay: Vec<Card> },
    Damage(Vec<Vec<Message>>),
}

/// What it gets.
enum Reply {
    Generations(Vec<Generation>),
    Scores(Vec<Score>),
    Embeddings(Vec<Vec<f32>>),
    Learned(WriteReport),
    Damage(Vec<f32>),
}

/// An episode as the model's owner sees it.
struct Place {
    fast: Snapshot,
    call: Option<Call>,
    reply: Option<Reply>,
}

/// An episode under way.
pub(super) type Running<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One model that works for several episodes.
pub(super) struct Lockstep<'a, P> {
    /// Away while it works; no member runs then.
    model: RefCell<Option<&'a mut P>>,
    places: RefCell<Vec<Place>>,
    /// Every Δ that was learned, by its hash.
    learned: RefCell<BTreeMap<String, PeftAdapter>>,
    /// Δ = 0.
    zero: Snapshot,
    abort: &'a Abort,
}

impl<'a, P: Sampler> Lockstep<'a, P> {
    /// Sets Δ to zero and makes `members` places.
    pub(super) async fn new(model: &'a mut P, members: usize, abort: &'a Abort) -> Result<Self, PolicyError> {
        model.reset().await?;
        let zero = model.snapshot().await?;
        let place = |_| Place { fast: zero.clone(), call: None, reply: None };
        Ok(Self {
            places: RefCell::new((0..members).map(place).collect()),
            model: RefCell::new(Some(model)),
            learned: RefCell::default(),
            zero,
            abort,
        })
    }

    /// The policy of an episode.
    pub(super) fn member(&self, place: usize) -> Member<'_, 'a, P> {
        Member { shared: self, place }
    }

    /// Every Δ that was learned, by its hash.
    pub(super) fn into_learned(self) -> BTreeMap<String, PeftAdapter> {
        self.learned.into_inner()
    }

    /// Runs episodes to their ends; each may wait for nothing but its own member.
    pub(super) async fn run<T>(&self, episodes: Vec<Running<'_, T>>) -> Result<Vec<T>, PolicyError> {
        let mut episodes: Vec<_> = episodes.into_iter().map(Some).collect();
        let mut ended: Vec<Option<T>> = episodes.iter().map(|_| None).collect();
        loop {
            let mut context = Context::from_waker(Waker::noop());
            for (episode, ended) in episodes.iter_mut().zip(&mut ended) {
                let Some(future) = episode else { continue };
                if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                    (*episode, *ended) = (None, Some(outcome));
                }
            }
            if !self.serve().await? {
                return Ok(ended.into_iter().flatten().collect());
            }
        }
    }

    /// Does everything that is waited for; `false` where nothing is.
    async fn serve(&self) -> Result<bool, PolicyError> {
        let calls: Vec<(usize, Call)> = {
            let mut places = self.places.borrow_mut();
            places.iter_mut().enumerate().filter_map(|(at, place)| Some((at, place.call.take()?))).collect()
        };
        if calls.is_empty() {
            return Ok(false);
        }
        let Some(model) = self.model.borrow_mut().take() else { return Err(mixed_up()) };
        let outcome = self.work(model, calls).await;
        *self.model.borrow_mut() = Some(model);
        outcome.map(|()| true)
    }

    async fn work(&self, model: &mut P, calls: Vec<(usize, Call)>) -> Result<(), PolicyError> {
        let (mut generate, mut score, mut embed, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, call) in calls {
            match call {
                Call::Generate(requests) => generate.push((at, requests)),
                Call::Score(requests) => score.push((at, requests)),
                Call::Embed(texts) => embed.push((at, texts)),
                other => rest.push((at, other)),
            }
        }
        for (places, requests) in self.by_delta(generate) {
            self.take(model, places[0].0).await?;
            let done = model.generate(&requests, &mut |_, _| {}, self.abort).await?;
            self.hand_out(&places, done, Reply::Generations);
        }
        for (places, requests) in self.by_delta(score) {
            self.take(model, places[0].0).await?;
            let done = model.score(&requests).await?;
            self.hand_out(&places, done, Reply::Scores);
        }
        if !embed.is_empty() {
            let places: Vec<_> = embed.iter().map(|(at, texts)| (*at, texts.len())).collect();
            let texts: Vec<String> = embed.into_iter().flat_map(|(_, texts)| texts).collect();
            let done = model.embed(&texts).await?;
            self.hand_out(&places, done, Reply::Embeddings);
        }
        for (at, call) in rest {
            self.take(model, at).await?;
            let reply = match call {
                Call::Learn { cards, replay } => {
                    let report = model.learn(&cards, &replay, &mut |_| {}, self.abort).await?;
                    let fast = model.snapshot().await?;
                    let adapter = model.fast_weights().await?;
                    self.learned.borrow_mut().insert(fast.delta.hash.clone(), adapter);
                    self.places.borrow_mut()[at].fast = fast;
                    Reply::Learned(report)
                }
                Call::Damage(prompts) => Reply::Damage(model.kl_to_frozen(&prompts, Weights::Fast).await?),
                Call::Generate(_) | Call::Score(_) | Call::Embed(_) => continue,
            };
            self.places.borrow_mut()[at].reply = Some(reply);
        }
        Ok(())
    }

    /// Joins the requests of members with the same Δ: for each Δ who asks for how many, and all of them in order.
    #[allow(clippy::type_complexity, reason = "who asks for how many, and what")]
    fn by_delta<R>(&self, calls: Vec<(usize, Vec<R>)>) -> Vec<(Vec<(usize, usize)>, Vec<R>)> {
        let places = self.places.borrow();
        let mut joined: Vec<(&DeltaId, Vec<(usize, usize)>, Vec<R>)> = Vec::new();
        for (at, requests) in calls {
            let delta = &places[at].fast.delta;
            let group = match joined.iter().position(|(other, ..)| *other == delta) {
                Some(group) => group,
                None => {
                    joined.push((delta, Vec::new(), Vec::new()));
                    joined.len() - 1
                }
            };
            joined[group].1.push((at, requests.len()));
            joined[group].2.extend(requests);
        }
        joined.into_iter().map(|(_, places, requests)| (places, requests)).collect()
    }

    fn hand_out<R>(&self, places: &[(usize, usize)], done: Vec<R>, reply: impl Fn(Vec<R>) -> Reply) {
        let mut done = done.into_iter();
        for &(at, count) in places {
            self.places.borrow_mut()[at].reply = Some(reply(done.by_ref().take(count).collect()));
        }
    }

    /// Takes a member's Δ into use.
    async fn take(&self, model: &mut P, place: usize) -> Result<(), PolicyError> {
        let fast = {
            let fast = &self.places.borrow()[place].fast;
            (fast.delta != model.delta()).then(|| fast.clone())
        };
        match fast {
            Some(fast) => model.restore(&fast).await,
            None => Ok(()),
        }
    }
}

/// The policy of one episode among several.
pub(super) struct Member<'s, 'a, P> {
    shared: &'s Lockstep<'a, P>,
    place: usize,
}

impl<P: Sampler> Member<'_, '_, P> {
    /// Waits until the model has done something.
    async fn call(&self, call: Call) -> Reply {
        self.place(|place| place.call = Some(call));
        poll_fn(|_| match self.place(|place| place.reply.take()) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        })
        .await
    }

    /// KL(frozen ‖ current) of the first token of the answers to some prompts, in nats.
    pub(super) async fn damage(&self, prompts: &[Vec<Message>]) -> Result<Vec<f32>, PolicyError> {
        match self.call(Call::Damage(prompts.to_vec())).await {
            Reply::Damage(values) => Ok(values),
            _ => Err(mixed_up()),
        }
    }

    fn place<T>(&self, look: impl FnOnce(&mut Place) -> T) -> T {
        look(&mut self.shared.places.borrow_mut()[self.place])
    }

    fn model<T>(&self, look: impl FnOnce(&P) -> T) -> Result<T, PolicyError> {
        self.shared.model.borrow().as_deref().map(look).ok_or_else(mixed_up)
    }
}

impl<P: Sampler> Policy for Member<'_, '_, P> {
    fn context_length(&self) -> usize {
        self.model(P::context_length).unwrap_or(0)
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<usize, PolicyError> {
        self.model(|model| model.count_tokens(messages))?
    }

    async fn generate(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        _abort: &Abort,
    ) -> Result<Vec<Generation>, PolicyError> {
        let Reply::Generations(done) = self.call(Call::Generate(requests.to_vec())).await else {
            return Err(mixed_up());
        };
        done.iter().enumerate().for_each(|(at, generation)| observe(at, &generation.text));
        Ok(done)
    }

    async fn score(&mut self, requests: &[ScoreRequest]) -> Result<Vec<Score>, PolicyError> {
        match self.call(Call::Score(requests.to_vec())).await {
            Reply::Scores(scores) => Ok(scores),
            _ => Err(mixed_up()),
        }
    }

    async fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, PolicyError> {
        match self.call(Call::Embed(texts.to_vec())).await {
            Reply::Embeddings(embeddings) => Ok(embeddings),
            _ => Err(mixed_up()),
        }
    }

    async fn learn(
        &mut self,
        cards: &[Card],
        replay: &[Card],
        _observe: &mut dyn FnMut(&StepReport),
        _abort: &Abort,
    ) -> Result<WriteReport, PolicyError> {
        match self.call(Call::Learn { cards: cards.to_vec(), replay: replay.to_vec() }).await {
            Reply::Learned(report) => Ok(report),
            _ => Err(mixed_up()),
        }
    }

    fn delta(&self) -> DeltaId {
        self.place(|place| place.fast.delta.clone())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, PolicyError> {
        Ok(self.place(|place| place.fast.clone()))
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        self.place(|place| place.fast.clone_from(snapshot));
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.place(|place| place.fast.clone_from(&self.shared.zero));
        Ok(())
    }
}

fn mixed_up() -> PolicyError {
    PolicyError::Model("an episode was given the answer to something else: please report this".into())
}
