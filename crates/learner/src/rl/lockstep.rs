//! Many episodes over one model, in step: each runs until it needs the model, and what all of them need then is one
//! batch, whatever Δ they carry. Only writes are done one after the other.
//!
//! Episodes are ordinary agents that do not know of each other. Each has a [`Member`] as its policy, which has a Δ of
//! its own; whatever the model does for the member it does under that Δ. Everything happens in the order of the members,
//! so that the same episodes give the same bits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::UnderDelta;
use tmem_core::fast::peft::PeftAdapter;
use tmem_core::fast::{DeltaId, StepReport, WriteReport};
use tmem_core::message::Message;
use tmem_core::rollout::policy::{GenerateRequest, Generation, Policy, PolicyError, Score, ScoreRequest, Snapshot};

use super::Sampler;

/// What an episode needs of the model.
enum Call {
    Generate(Vec<GenerateRequest>),
    Score(Vec<ScoreRequest>),
    Embed(Vec<String>),
    Damage(Vec<Vec<Message>>),
    Learn { cards: Vec<Card>, replay: Vec<Card> },
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
    fast: Rc<Snapshot>,
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
    zero: Rc<Snapshot>,
    abort: &'a Abort,
}

impl<'a, P: Sampler> Lockstep<'a, P> {
    /// Sets Δ to zero and makes `members` places.
    pub(super) async fn new(model: &'a mut P, members: usize, abort: &'a Abort) -> Result<Self, PolicyError> {
        model.reset().await?;
        let zero = Rc::new(model.snapshot().await?);
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

    /// Does what is waited for; `false` where nothing is. Writes come first: who has written then goes on together with those
    /// who had nothing to write.
    async fn serve(&self) -> Result<bool, PolicyError> {
        let calls: Vec<(usize, Call)> = {
            let mut places = self.places.borrow_mut();
            let is_write = |place: &Place| matches!(place.call, Some(Call::Learn { .. }));
            let writes = places.iter().any(is_write);
            let due = places.iter_mut().enumerate().filter(|(_, place)| !writes || is_write(place));
            due.filter_map(|(at, place)| Some((at, place.call.take()?))).collect()
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
        let (mut generate, mut score, mut embed) = (Joined::default(), Joined::default(), Joined::default());
        let (mut damage, mut writes) = (Joined::default(), Vec::new());
        for (at, call) in calls {
            let fast = Rc::clone(&self.places.borrow()[at].fast);
            match call {
                Call::Generate(requests) => generate.push(at, fast, requests),
                Call::Score(requests) => score.push(at, fast, requests),
                Call::Embed(texts) => embed.push(at, fast, texts),
                Call::Damage(prompts) => damage.push(at, fast, prompts),
                Call::Learn { cards, replay } => writes.push((at, cards, replay)),
            }
        }
        if !generate.is_empty() {
            let done = model.generate_under(&generate.under(), self.abort).await?;
            self.hand_out(&generate.places, done, Reply::Generations);
        }
        if !score.is_empty() {
            let done = model.score_under(&score.under()).await?;
            self.hand_out(&score.places, done, Reply::Scores);
        }
        if !embed.is_empty() {
            let done = model.embed(&embed.requests).await?;
            self.hand_out(&embed.places, done, Reply::Embeddings);
        }
        if !damage.is_empty() {
            let done = model.damage_under(&damage.under()).await?;
            self.hand_out(&damage.places, done, Reply::Damage);
        }
        for (at, cards, replay) in writes {
            self.take(model, at).await?;
            let report = model.learn(&cards, &replay, &mut |_| {}, self.abort).await?;
            let fast = model.snapshot().await?;
            let adapter = model.fast_weights().await?;
            self.learned.borrow_mut().insert(fast.delta.hash.clone(), adapter);
            let place = &mut self.places.borrow_mut()[at];
            (place.fast, place.reply) = (Rc::new(fast), Some(Reply::Learned(report)));
        }
        Ok(())
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
            (fast.delta != model.delta()).then(|| Rc::clone(fast))
        };
        match fast {
            Some(fast) => model.restore(&fast).await,
            None => Ok(()),
        }
    }
}

/// What several members ask for, in their order.
struct Joined<R> {
    /// Who asks for how many.
    places: Vec<(usize, usize)>,
    requests: Vec<R>,
    /// The Δ that each request runs under.
    fast: Vec<Rc<Snapshot>>,
}

impl<R> Default for Joined<R> {
    fn default() -> Self {
        Self { places: Vec::new(), requests: Vec::new(), fast: Vec::new() }
    }
}

impl<R> Joined<R> {
    fn push(&mut self, place: usize, fast: Rc<Snapshot>, requests: Vec<R>) {
        self.places.push((place, requests.len()));
        self.fast.extend(std::iter::repeat_n(fast, requests.len()));
        self.requests.extend(requests);
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn under(&self) -> Vec<UnderDelta<'_, R>> {
        self.fast.iter().zip(&self.requests).map(|(delta, request)| UnderDelta { delta, request }).collect()
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
        Ok(self.place(|place| Snapshot::clone(&place.fast)))
    }

    async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), PolicyError> {
        self.place(|place| place.fast = Rc::new(snapshot.clone()));
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), PolicyError> {
        self.place(|place| place.fast = Rc::clone(&self.shared.zero));
        Ok(())
    }
}

fn mixed_up() -> PolicyError {
    PolicyError::Model("an episode was given the answer to something else: please report this".into())
}
