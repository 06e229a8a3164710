//! Until the model is there: what is being done, and how far it is.

use leptos::prelude::*;

use crate::format;
use crate::page::Page;
use crate::protocol::{ModelSource, Phase, Progress};
use crate::state::Stage;

/// The stage before the conversation can begin.
#[component]
pub(crate) fn Loading() -> impl IntoView {
    let page = Page::here();
    let stage = Memo::new(move |_| page.state.with(|state| state.stage.clone()));
    let progress = Memo::new(move |_| match stage.get() {
        Stage::Loading(progress) => Some(progress),
        Stage::Starting => Some(Progress { phase: Phase::Device, done: 0, total: 0 }),
        _ => None,
    });
    let phase = Memo::new(move |_| progress.get().map(|progress| progress.phase));
    let choice = move || match stage.get() {
        Stage::Choosing { name, bytes } => Some(view! { <Choice name bytes /> }),
        _ => None,
    };
    view! {
        {choice}
        {move || phase.get().map(|phase| view! { <Bar phase progress /> })}
    }
}

#[component]
fn Choice(name: String, bytes: u64) -> impl IntoView {
    let page = Page::here();
    view! {
        <section class="loading" aria-label="Load the model">
            <p>
                "The model " <strong>{name}</strong> " is downloaded once, kept in this browser, and runs on your GPU. "
                "Nothing you say leaves this device."
            </p>
            <button
                class="primary"
                data-testid="download"
                on:click=move |_| page.send(page.load_from(ModelSource::Server))
            >
                {format!("Download {}", format::bytes(bytes))}
            </button>
            <p class="hint">"Or drop a GGUF file of a Llama-family model anywhere on this page."</p>
        </section>
    }
}

#[component]
fn Bar(phase: Phase, progress: Memo<Option<Progress>>) -> impl IntoView {
    let label = match phase {
        Phase::Device => "Opening the GPU",
        Phase::SelfTest => "Checking every kernel on this GPU",
        Phase::Download => "Downloading the model",
        Phase::Store => "Reading the model from this browser",
        Phase::File => "Reading the file",
        Phase::Prepare => "Preparing the fast weights",
        Phase::Resume => "Putting your conversation back",
    };
    let started = js_sys::Date::now();
    let share = move || {
        let Progress { done, total, .. } = progress.get()?;
        (total > 0).then(|| done as f64 / total as f64)
    };
    // Without a value the bar shows that something goes on; the property would not take "none", the attribute does.
    let figures = move || {
        let Progress { done, total, .. } = progress.get()?;
        let elapsed = (js_sys::Date::now() - started) / 1000.0;
        let left = format::seconds_left(done, total, elapsed)
            .map(|seconds| format!(", {} left", format::duration(seconds)))
            .unwrap_or_default();
        (total > 0).then(|| format!("{} of {}{left}", format::bytes(done), format::bytes(total)))
    };
    view! {
        <section class="loading" aria-label="Loading" data-testid="loading" data-phase=format!("{phase:?}")>
            <p id="loading-label">{label}</p>
            <progress aria-labelledby="loading-label" max="1" value=share></progress>
            <p class="hint" data-testid="progress">{figures}</p>
        </section>
    }
}
