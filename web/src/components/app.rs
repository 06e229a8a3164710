//! The whole page.

use leptos::prelude::*;
use web_sys::DragEvent;

use super::announcer::Announcer;
use super::composer::Composer;
use super::conversation::Conversation;
use super::files::Files;
use super::loading::Loading;
use super::memory::Memory;
use super::notices::Notices;
use super::replay::Replay;
use super::settings::SettingsDrawer;
use super::training::Training;
use crate::format;
use crate::page::Page;
use crate::protocol::{Base, ModelSource};
use crate::state::PageState;

/// The whole page.
#[component]
pub(crate) fn App() -> impl IntoView {
    let page = Page::new();
    provide_context(page);
    page.send(page.load_from(first_source()));
    accept_drops(page);
    let place = Memo::new(move |_| page.state.with(place));
    let details = Memo::new(move |_| page.state.with(details));
    view! {
        <header class="top">
            <h1 class="wordmark">"tmem"</h1>
            <p class="where" data-testid="where" title=move || details.get()>{move || place.get()}</p>
            <SettingsDrawer />
        </header>
        <div class="frame">
            <main class="talk">
                <div class="notices">
                    <Notices />
                    <Replay />
                    <div class="measure">
                        <Loading />
                    </div>
                </div>
                <Conversation />
                <Composer />
            </main>
            <aside class="side" aria-label="Memory and training">
                <Memory />
                <Training />
                <Files />
            </aside>
        </div>
        <Announcer />
    }
}

/// Which model runs where, and whether its kernels were found right.
fn place(state: &PageState) -> String {
    let model = state.model.as_ref().map(|model| match model.base {
        Some(Base::Trained) => format!("{}, trained to learn,", model.name),
        Some(Base::Published) | None => model.name.clone(),
    });
    let device = state.device.as_ref().map(|device| match device.software {
        true => format!("{} (software, slow)", device.name),
        false => device.name.clone(),
    });
    let place = [model, device].into_iter().flatten().collect::<Vec<_>>().join(" on ");
    match (state.checks.len(), state.wrong_kernels().len()) {
        (0, _) => place,
        (all, 0) => format!("{place} · {all} kernels checked"),
        (all, wrong) => format!("{place} · {wrong} of {all} kernels wrong"),
    }
}

/// The same for the curious.
fn details(state: &PageState) -> String {
    let Some(model) = &state.model else { return String::new() };
    let memory = state.status.as_ref().map_or(0, |status| status.gpu_bytes);
    format!(
        "{} layers, {} adapted sites, context of {} tokens, {} of GPU memory, SHA-256 {}",
        model.layers,
        model.sites,
        model.context_length,
        format::bytes(memory),
        model.sha256
    )
}

/// On a visitor's own machine the model is taken without asking; elsewhere only what is kept already.
fn first_source() -> ModelSource {
    let host = window().location().hostname().unwrap_or_default();
    if matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") { ModelSource::Server } else { ModelSource::Store }
}

/// A GGUF file dropped anywhere on the page is loaded.
fn accept_drops(page: Page) {
    let mark = |on: bool| {
        if let Some(body) = document().body() {
            // It fails only for a malformed class name.
            let _ = body.class_list().toggle_with_force("dropping", on);
        }
    };
    let over = window_event_listener(leptos::ev::dragover, move |event: DragEvent| {
        event.prevent_default();
        mark(true);
    });
    let leave = window_event_listener(leptos::ev::dragleave, move |event: DragEvent| {
        if event.related_target().is_none() {
            mark(false);
        }
    });
    let drop = window_event_listener(leptos::ev::drop, move |event: DragEvent| {
        event.prevent_default();
        mark(false);
        let file = event.data_transfer().and_then(|data| data.files()).and_then(|files| files.get(0));
        if let Some(file) = file {
            page.load_file(&file);
        }
    });
    on_cleanup(move || {
        over.remove();
        leave.remove();
        drop.remove();
    });
}
