//! How fast the page is: a visit to it in headless Chromium, timed as a person with a stopwatch would. Prints one JSON
//! object. The page is the one in web/dist, with the model and the adapter that it ships with.
//!
//! ```sh
//! cargo xtask web && cargo run --release --package tmem-tests --bin page_speed -- --prompt 512 --generate 64
//! ```

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tmem_core::settings::Settings;
use tmem_tests::page::Page;

/// For one thing at a time on an emulated GPU.
const LIMIT: Duration = Duration::from_secs(1800);

/// Told one after the other, a card each.
const FACTS: [&str; 5] = [
    "My dog's name is Biscuit.",
    "I was born in the town of Kilrush.",
    "My sister Ada plays the cello.",
    "My favourite colour is teal.",
    "I work as a bookbinder.",
];

/// What the page says of its latest answer, in `window.tmem.state.timing`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timing {
    prompt_tokens: usize,
    first_after: f64,
    tokens: usize,
    seconds: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Speed {
    /// The adapter, as the browser names it.
    device: String,
    /// From the address to a page that answers, the first time and with the model in the browser's store.
    load_seconds: f64,
    load_again_seconds: f64,
    /// What the second one consisted of, and the seconds of each.
    loading: Vec<(String, f64)>,
    prompt_tokens: usize,
    /// Reading that prompt, tokens a second; the first token of the answer is part of it.
    prompt_rate: f64,
    generated_tokens: usize,
    /// The rest of an answer, tokens a second.
    generate_rate: f64,
    /// A write, from the request to weights that know the cards: the preset of the page as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<Write>,
}

#[derive(Debug, Serialize)]
struct Write {
    cards: usize,
    steps: usize,
    seconds: f64,
    /// What the page went on preparing after the last fact, before the write was asked for.
    prepared_after_seconds: f64,
    /// Of the write until the first step is over, and from there to the last one; what is left is for the gate.
    first_step_seconds: f64,
    other_steps_seconds: f64,
    /// Asked once the context is cleared: how many of the facts come back.
    recalled: usize,
    /// Milliseconds from one frame of the page to the next while it learns: half of them, and nearly all, are shorter.
    frame_median: f64,
    frame_p99: f64,
}

struct Arguments {
    model: Option<PathBuf>,
    prompt: usize,
    generate: usize,
    write: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut arguments = Self { model: None, prompt: 512, generate: 64, write: true };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut value = || given.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--model" => arguments.model = Some(value()?.into()),
                "--prompt" => arguments.prompt = value()?.parse()?,
                "--generate" => arguments.generate = value()?.parse()?,
                "--no-write" => arguments.write = false,
                other => bail!("no option `{other}`: --model FILE, --prompt TOKENS, --generate TOKENS, --no-write"),
            }
        }
        Ok(arguments)
    }
}

fn main() -> Result<()> {
    let Arguments { model, prompt, generate, write } = Arguments::parse()?;
    let model = tmem_fetch::ensure_model(model.as_deref())?;
    let began = Instant::now();
    let mut page = Page::open(model, None)?;
    page.wait_until_ready(LIMIT)?;
    let load_seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    page.browser.reload()?;
    page.browser.wait_for("the page to draw itself", "document.querySelector('main')", LIMIT)?;
    let loading = watch_loading(&mut page)?;
    page.wait_until_ready(LIMIT)?;
    let load_again_seconds = began.elapsed().as_secs_f64();
    let device: String = page.browser.evaluate("window.tmem.state.device")?;

    // First the write, with everything as it comes.
    let written = if write { Some(learn(&mut page)?) } else { None };
    if let Some(written) = &written {
        eprintln!("{written:?}");
        // Answers under what was learned are short ones.
        page.click("reset")?;
        page.click("reset")?;
        page.wait_until_ready(LIMIT)?;
    }

    page.click("twin-switch")?;
    // No gate: a prompt that one decides on is read in two parts. No write in between, and answers as long as asked for.
    let settings = [("budget", 4096.0), ("gate", 0.0), ("answer-tokens", generate as f64)];
    page.set(&settings, LIMIT)?;
    let story = say(&mut page, "Tell me a long story about the sea.")?;
    eprintln!("{story:?}");
    ensure!(story.tokens * 2 > generate, "the answer ended after {} of {generate} tokens", story.tokens);
    page.click("clear")?;
    page.wait_until_ready(LIMIT)?;
    page.set(&[("answer-tokens", 2.0)], LIMIT)?;
    let words = "The harbour lay quiet under a grey sky, and the boats came home one after the other. ".repeat(prompt);
    let counted = say(&mut page, &words[..2000.min(words.len())])?;
    eprintln!("{counted:?}");
    page.click("clear")?;
    page.wait_until_ready(LIMIT)?;
    // As many letters a token as just counted.
    let letters = (2000.0 * prompt as f64 / counted.prompt_tokens as f64) as usize;
    let read = say(&mut page, &format!("Go on. {}", &words[..letters.min(words.len())]))?;

    let speed = Speed {
        device,
        load_seconds,
        load_again_seconds,
        loading,
        prompt_tokens: read.prompt_tokens,
        prompt_rate: read.prompt_tokens as f64 / read.first_after,
        generated_tokens: story.tokens,
        generate_rate: (story.tokens - 1) as f64 / (story.seconds - story.first_after),
        write: written,
    };
    println!("{}", serde_json::to_string_pretty(&speed)?);
    Ok(())
}

/// The phases of loading with their seconds, as long as the page shows one.
fn watch_loading(page: &mut Page) -> Result<Vec<(String, f64)>> {
    let mut phases: Vec<(String, f64)> = Vec::new();
    let mut since = Instant::now();
    loop {
        let phase = "document.querySelector('[data-testid=loading]')?.dataset.phase ?? ''";
        let phase: String = page.browser.evaluate(phase)?;
        if phases.last().is_none_or(|(last, _)| *last != phase) {
            if let Some((_, seconds)) = phases.last_mut() {
                *seconds = since.elapsed().as_secs_f64();
            }
            if phase.is_empty() && !phases.is_empty() {
                return Ok(phases);
            }
            since = Instant::now();
            phases.push((phase, 0.0));
        }
        ensure!(since.elapsed() < LIMIT, "the page does not get beyond {phases:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn say(page: &mut Page, text: &str) -> Result<Timing> {
    page.tell(text, LIMIT)?;
    page.browser.evaluate("window.tmem.state.timing")
}

fn learn(page: &mut Page) -> Result<Write> {
    for fact in FACTS {
        let took = say(page, fact)?;
        eprintln!("{took:?}");
    }
    // People pause; what the gate is measured against is computed meanwhile.
    let began = Instant::now();
    page.browser.wait_for("what the write needs", "window.tmem.state.prepared", LIMIT)?;
    let prepared_after_seconds = began.elapsed().as_secs_f64();
    page.browser.execute(
        "window.frames_seen = []; (function next(last) { \
         requestAnimationFrame(now => { if (last) window.frames_seen.push(now - last); next(now); }); })(0)",
    )?;
    page.click("write")?;
    let began = Instant::now();
    page.browser.wait_for("the first step", "window.tmem.state.steps > 0", LIMIT)?;
    let first_step_seconds = began.elapsed().as_secs_f64();
    let steps = Settings::quick().fast.steps;
    page.browser.wait_for("the last step", &format!("window.tmem.state.steps >= {steps}"), LIMIT)?;
    let other_steps_seconds = began.elapsed().as_secs_f64() - first_step_seconds;
    page.wait_for_text("written", "Learned", LIMIT)?;
    let mut frames: Vec<f64> = page.browser.evaluate("window.frames_seen")?;
    frames.sort_by(f64::total_cmp);
    let frame = |share: usize| frames.get(frames.len() * share / 100).copied().unwrap_or(f64::NAN);
    page.wait_until_ready(LIMIT)?;
    let (cards, seconds): (usize, f64) = page.browser.evaluate("window.tmem.state.written")?;
    page.click("clear")?;
    page.wait_until_ready(LIMIT)?;
    let mut recalled = 0;
    let asked = [
        ("What is my dog's name?", "Biscuit"),
        ("Where was I born?", "Kilrush"),
        ("What does my sister play?", "cello"),
        ("What is my favourite colour?", "teal"),
        ("What do I do for a living?", "bookbinder"),
    ];
    for (question, answer) in asked {
        let (with, _) = page.say(question, LIMIT)?;
        recalled += usize::from(with.contains(answer));
    }
    let (frame_median, frame_p99) = (frame(50), frame(99));
    Ok(Write {
        cards,
        steps,
        seconds,
        prepared_after_seconds,
        first_step_seconds,
        other_steps_seconds,
        recalled,
        frame_median,
        frame_p99,
    })
}
