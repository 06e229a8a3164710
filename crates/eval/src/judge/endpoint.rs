//! A judging model behind an OpenAI-compatible interface that the user names.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::cache::{Cache, Entry};
use super::{Judge, JudgeError, Verdict, question};
use crate::bench::Probe;

/// The environment variable that holds the key, unless another one is named.
pub const API_KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// Most bytes of a reply that are read.
const MAX_REPLY_BYTES: u64 = 4 << 20;

/// Where and how a model is asked.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Base address as in `https://api.example.org/v1`; `/chat/completions` is added where it is missing.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// The environment variable with the key; without a key in it, none is sent (local servers).
    pub key_variable: String,
    /// Sampling temperature; `None` leaves it out (some models take none).
    pub temperature: Option<f32>,
    /// How often a question is asked before it counts as failed, whether for want of a reply or of a verdict.
    pub attempts: usize,
    /// Waiting time before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// Longest wait for a reply.
    pub timeout: Duration,
    /// Where replies are kept; `None` keeps none.
    pub cache: Option<PathBuf>,
}

impl EndpointOptions {
    /// A model at an address; deterministic sampling, four attempts, one minute a reply, no cache.
    pub fn new(url: &str, model: &str) -> Self {
        Self {
            url: url.to_owned(),
            model: model.to_owned(),
            key_variable: API_KEY_VARIABLE.to_owned(),
            temperature: Some(0.0),
            attempts: 4,
            backoff: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            cache: None,
        }
    }
}

/// A judging model. Nothing is sent before a probe is judged.
pub struct Endpoint {
    options: EndpointOptions,
    url: String,
    key: Option<String>,
    cache: Option<Cache>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("Endpoint").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why an attempt failed.
struct Failure {
    reason: String,
    /// Whether another attempt can help.
    transient: bool,
    /// What the server said to wait.
    wait: Option<Duration>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

impl Endpoint {
    /// A judge. The key is read from the environment now and never shown.
    pub fn new(options: EndpointOptions) -> Self {
        let key = std::env::var(&options.key_variable).ok();
        Self::with_key(options, key)
    }

    /// As [`new`](Self::new), with the key from elsewhere.
    pub fn with_key(options: EndpointOptions, key: Option<String>) -> Self {
        let base = options.url.trim_end_matches('/');
        let url =
            if base.ends_with("/chat/completions") { base.to_owned() } else { format!("{base}/chat/completions") };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(options.timeout))
            // A status is an answer here, with a body that says what is wrong.
            .http_status_as_error(false)
            .build();
        Self {
            url,
            key: key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()),
            cache: options.cache.as_deref().map(Cache::new),
            agent: config.new_agent(),
            options,
        }
    }

    fn request(&self, question: &question::JudgeQuestion) -> serde_json::Value {
        let mut request = json!({
            "model": self.options.model,
            "messages": [{"role": "user", "content": question.prompt}],
        });
        if let Some(temperature) = self.options.temperature {
            request["temperature"] = json!(temperature);
        }
        if let Some(tokens) = question.max_tokens {
            request["max_tokens"] = json!(tokens);
        }
        request
    }

    /// Asks once.
    fn ask(&self, request: &serde_json::Value) -> Result<String, Failure> {
        let transport = |e: ureq::Error| Failure { reason: e.to_string(), transient: true, wait: None };
        let mut post = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            post = post.header("Authorization", &format!("Bearer {key}"));
        }
        let mut response = post.send(request.to_string()).map_err(transport)?;
        let status = response.status().as_u16();
        let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_string().map_err(transport)?;
        if !(200..300).contains(&status) {
            let hint = match status {
                401 | 403 => format!(" (is {} set to a valid key?)", self.options.key_variable),
                404 => format!(" (is there a model {}?)", self.options.model),
                _ => String::new(),
            };
            return Err(Failure {
                reason: format!("status {status}{hint}: {}", beginning(&body)),
                transient: status == 408 || status == 429 || status >= 500,
                wait: seconds.map(Duration::from_secs),
            });
        }
        let no_text = |why: &str| Failure {
            reason: format!("{why} in the reply `{}`", beginning(&body)),
            transient: true,
            wait: None,
        };
        let completion: Completion = serde_json::from_str(&body).map_err(|_| no_text("no completion"))?;
        let choice = completion.choices.into_iter().next().ok_or_else(|| no_text("no choice"))?;
        choice.message.content.ok_or_else(|| no_text("no content"))
    }

    /// Waits before the attempt after `failed` ones: longer each time, at least what the server said, at most a minute.
    fn wait(&self, failed: usize, said: Option<Duration>) {
        let doubled = self.options.backoff.saturating_mul(1 << failed.saturating_sub(1).min(10));
        std::thread::sleep(doubled.max(said.unwrap_or_default()).min(Duration::from_secs(60)));
    }
}

impl Judge for Endpoint {
    fn name(&self) -> &str {
        &self.options.model
    }

    fn judge(&self, probe: &Probe, answer: &str) -> Result<Verdict, JudgeError> {
        let question = question::about(probe, answer);
        let request = self.request(&question);
        let verdict = |score: f64, reply: Option<String>, cached: bool| Verdict {
            judge: self.options.model.clone(),
            score,
            prompt: Some(question.prompt.clone()),
            reply,
            cached,
        };
        if answer.trim().is_empty() {
            // Nothing said is nothing right: every benchmark's own judge scores it 0, most without being asked.
            return Ok(verdict(0.0, None, false));
        }
        let cached = self.cache.as_ref().and_then(|cache| cache.get(&self.url, &request));
        if let Some(reply) = cached
            && let Ok(score) = question.verdict.score(&reply)
        {
            return Ok(verdict(score, Some(reply), true));
        }
        let attempts = self.options.attempts.max(1);
        let mut last = None;
        for attempt in 1..=attempts {
            let said = match self.ask(&request) {
                Ok(reply) => match question.verdict.score(&reply) {
                    Ok(score) => {
                        self.keep(&request, &reply)?;
                        return Ok(verdict(score, Some(reply), false));
                    }
                    Err(_) => {
                        let reply = beginning(&reply);
                        let model = self.options.model.clone();
                        last = Some(JudgeError::NoVerdict { model, attempts: attempt, reply });
                        None
                    }
                },
                Err(Failure { reason, transient, wait }) => {
                    let error = JudgeError::Endpoint { url: self.url.clone(), attempts: attempt, reason };
                    if !transient {
                        return Err(error);
                    }
                    last = Some(error);
                    wait
                }
            };
            if attempt < attempts {
                self.wait(attempt, said);
            }
        }
        let none = JudgeError::Endpoint { url: self.url.clone(), attempts, reason: "not asked".to_owned() };
        Err(last.unwrap_or(none))
    }
}

impl Endpoint {
    /// Keeps a reply that is a verdict; others are asked for again next time.
    fn keep(&self, request: &serde_json::Value, reply: &str) -> Result<(), JudgeError> {
        let Some(cache) = &self.cache else { return Ok(()) };
        let entry = Entry {
            url: self.url.clone(),
            model: self.options.model.clone(),
            request: request.clone(),
            reply: reply.to_owned(),
        };
        cache.put(&entry).map_err(|(file, source)| JudgeError::Cache { file, source })
    }
}

fn beginning(text: &str) -> String {
    text.trim().chars().take(200).collect()
}
