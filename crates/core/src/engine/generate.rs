//! Generation of a batch of requests.

use super::prepare::{Prepared, Prompt};
use super::runner::Active;
use super::{Engine, EngineError};
use tmem_gpu::ops::Drawn;

use crate::abort::Abort;
use crate::model::tokenizer::{TokenStream, Tokenizer};
use crate::rollout::policy::{Finish, GenerateRequest, Generation, Sampling};

/// One request on its way.
struct Job<'a> {
    request: &'a GenerateRequest,
    stream: TokenStream,
    text: String,
    /// Bytes of `text` already observed.
    told: usize,
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    prompt_tokens: usize,
    finish: Option<Finish>,
}

impl Engine {
    /// Generates all requests under the Δ in force, in batches as large as the cache allows.
    pub(super) async fn generate_all(
        &mut self,
        requests: &[GenerateRequest],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, EngineError> {
        let slots = self.in_force(requests.len());
        self.generate_in(&requests.iter().collect::<Vec<_>>(), &slots, observe, abort).await
    }

    /// Generates all requests, each under the Δ in its slot.
    pub(super) async fn generate_in(
        &mut self,
        requests: &[&GenerateRequest],
        slots: &[u32],
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, EngineError> {
        let mut prompts = Vec::with_capacity(requests.len());
        for (request, &slot) in requests.iter().zip(slots) {
            let tokens = self.encode_prompt(&request.messages, &request.assistant_prefix)?;
            let (needed, limit) = (tokens.len() + 1, self.context_limit());
            if needed > limit {
                return Err(EngineError::PromptTooLong { tokens: needed, limit });
            }
            prompts.push(Prompt { tokens, weights: request.weights, slot });
        }
        let mut generations = Vec::with_capacity(requests.len());
        while generations.len() < requests.len() {
            let first = generations.len();
            let rest = &prompts[first..];
            let more = self.room(&requests[first..], rest);
            let size = self.batch_size(rest, more, self.largest_batch());
            let batch = &requests[first..first + size];
            let more = self.room(batch, &rest[..size]);
            let prepared = self.prepare(&rest[..size], more).await?;
            let mut told = |i: usize, text: &str| observe(first + i, text);
            let done = self.decode(batch, &prepared, &mut told, abort).await;
            self.release(prepared);
            generations.extend(done?);
        }
        Ok(generations)
    }

    /// Cache slots that every sequence of a batch needs beyond its prompt: its own tokens, and those of steps that
    /// were already on their way when it ended.
    fn room(&self, requests: &[&GenerateRequest], prompts: &[Prompt]) -> usize {
        let longest = prompts.iter().map(|p| p.tokens.len()).max().unwrap_or(0);
        let wanted = requests.iter().map(|r| r.max_tokens).max().unwrap_or(0);
        wanted.min(self.context_limit().saturating_sub(longest)) + super::decoder::STEPS_IN_FLIGHT + 1
    }

    async fn decode(
        &mut self,
        requests: &[&GenerateRequest],
        prepared: &Prepared,
        observe: &mut dyn FnMut(usize, &str),
        abort: &Abort,
    ) -> Result<Vec<Generation>, EngineError> {
        let limit = self.context_limit();
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(requests.len());
        for (&request, active) in requests.iter().zip(&prepared.active) {
            jobs.push(Job {
                request,
                stream: TokenStream::new(),
                text: String::new(),
                told: 0,
                tokens: Vec::new(),
                log_probabilities: Vec::new(),
                prompt_tokens: active.tokens.len(),
                finish: (request.max_tokens == 0).then_some(Finish::Length),
            });
        }
        self.statistics.tokens_read += jobs.iter().map(|j| j.prompt_tokens as u64).sum::<u64>();
        let sequences: Vec<_> = prepared.active.iter().map(Active::sequence).collect();
        let tokenizer = &self.model.tokenizer;
        loop {
            // The rows still at work. When half of them have ended, the rest moves together and goes on.
            let at_work: Vec<usize> = (0..jobs.len()).filter(|&i| jobs[i].finish.is_none()).collect();
            if at_work.is_empty() {
                break;
            }
            let (mut rows, mut sampling, mut seen) = (Vec::new(), Vec::<Sampling>::new(), Vec::new());
            for &i in &at_work {
                let mut active = prepared.active[i].clone();
                active.tokens.extend(&jobs[i].tokens);
                let last = active.tokens.len() - 1;
                rows.extend(active.rows(i, last..last + 1));
                sampling.push(requests[i].sampling.clone());
                seen.push(active.tokens);
            }
            let seen: Vec<&[u32]> = seen.iter().map(Vec::as_slice).collect();
            let (adapter, runner) = (self.adapter.as_ref(), &self.runner);
            let decoder = self.decoders.for_batch(rows.len(), &self.gpu, &self.model, runner, adapter)?;
            decoder.begin(&rows, &sequences, &sampling, &seen);
            loop {
                let going = at_work.iter().filter(|&&i| jobs[i].finish.is_none()).count();
                let go_on = going * 2 > at_work.len();
                while go_on && !decoder.is_full() {
                    decoder.submit(rows.len())?;
                }
                let Some(step) = decoder.next(rows.len()).await? else { break };
                for (&i, drawn) in at_work.iter().zip(step) {
                    if jobs[i].finish.is_none() {
                        jobs[i].push(drawn, tokenizer, limit)?;
                        jobs[i].tell(i, observe);
                        self.statistics.tokens_generated += 1;
                    }
                }
                if abort.is_aborted() {
                    for job in &mut jobs {
                        job.finish.get_or_insert(Finish::Aborted);
                    }
                }
            }
        }
        let delta = self.delta.clone();
        Ok(jobs
            .into_iter()
            .zip(&prepared.gates)
            .enumerate()
            .map(|(i, (mut job, gate))| {
                job.end(i, observe);
                Generation {
                    text: job.text,
                    tokens: job.tokens,
                    log_probabilities: job.log_probabilities,
                    prompt_tokens: job.prompt_tokens,
                    finish: job.finish.unwrap_or(Finish::Stop),
                    gate: gate.clone(),
                    delta: delta.clone(),
                }
            })
            .collect())
    }
}

impl Job<'_> {
    fn push(&mut self, drawn: Drawn, tokenizer: &Tokenizer, limit: usize) -> Result<(), EngineError> {
        if drawn.token == Drawn::NO_TOKEN || !drawn.log_probability.is_finite() {
            return Err(EngineError::NotFinite);
        }
        self.tokens.push(drawn.token);
        self.log_probabilities.push(drawn.log_probability);
        if tokenizer.end_tokens().contains(&drawn.token) {
            self.finish = Some(Finish::Stop);
            return Ok(());
        }
        self.text.push_str(&self.stream.push(tokenizer, drawn.token));
        let stop = self.request.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| self.text.find(s.as_str())).min();
        if let Some(at) = stop {
            self.text.truncate(at);
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() >= self.request.max_tokens || self.prompt_tokens + self.tokens.len() >= limit {
            self.finish = Some(Finish::Length);
        }
        Ok(())
    }

    /// Observes what can no longer become part of a stop text.
    fn tell(&mut self, index: usize, observe: &mut dyn FnMut(usize, &str)) {
        let held = if self.finish.is_some() { 0 } else { longest_stop_prefix(&self.text, &self.request.stop) };
        let end = self.text.len() - held;
        if end > self.told {
            observe(index, &self.text[self.told..end]);
            self.told = end;
        }
    }

    /// Bytes of a character that was never completed.
    fn end(&mut self, index: usize, observe: &mut dyn FnMut(usize, &str)) {
        if self.finish != Some(Finish::Stop) {
            let rest = std::mem::take(&mut self.stream).finish();
            self.text.push_str(&rest);
        }
        self.tell(index, observe);
    }
}

/// Length of the longest end of `text` that begins one of the stop texts.
fn longest_stop_prefix(text: &str, stops: &[String]) -> usize {
    stops
        .iter()
        .flat_map(|stop| (1..stop.len()).filter(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n])))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_may_become_a_stop_is_held_back() {
        let stops = ["\n\n".to_owned(), "END".to_owned()];
        assert_eq!(longest_stop_prefix("some text\n", &stops), 1);
        assert_eq!(longest_stop_prefix("some EN", &stops), 2);
        assert_eq!(longest_stop_prefix("some text", &stops), 0);
    }
}
