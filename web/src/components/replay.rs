//! A link that was opened, and how its replay ended.

use leptos::prelude::*;

use crate::format;
use crate::page::Page;
use crate::protocol::{Action, LINK_KEY, Replayed};

/// Replays the link in the address, asking first where a conversation would be lost.
#[component]
pub(crate) fn Replay() -> impl IntoView {
    let page = Page::here();
    let link = RwSignal::new(link_in_address());
    let can_speak = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let empty = Memo::new(move |_| page.state.with(|s| s.log.is_empty()));
    let replayed = Memo::new(move |_| page.state.with(|s| s.replayed.clone()));
    let start = move || {
        if let Some(link) = link.get_untracked() {
            page.send(Action::Replay { link });
        }
        forget_link(link);
    };
    Effect::new(move |_| {
        if can_speak.get() && link.with(Option::is_some) && empty.get_untracked() {
            start();
        }
    });
    // A link pasted into the address of an open page does not load it anew.
    let changed = window_event_listener(leptos::ev::hashchange, move |_| link.set(link_in_address()));
    on_cleanup(move || changed.remove());
    let question = move || {
        (can_speak.get() && link.with(Option::is_some) && !empty.get()).then(|| {
            view! {
                <div class="notice" data-testid="replay-question">
                    <p>"This link replays a conversation. It would take the place of yours."</p>
                    <div class="row">
                        <button class="primary" data-testid="replay" on:click=move |_| start()>"Replay it"</button>
                        <button on:click=move |_| forget_link(link)>"Keep mine"</button>
                    </div>
                </div>
            }
        })
    };
    view! {
        {question}
        <div role="status">{move || replayed.get().map(|replayed| view! { <Outcome replayed /> })}</div>
    }
}

#[component]
fn Outcome(replayed: Replayed) -> impl IntoView {
    let page = Page::here();
    let (kind, words) = match (replayed.matches(), replayed.distance) {
        (true, _) => ("match", "Replayed: the fast weights match the link's bit for bit.".to_owned()),
        (false, Some(distance)) => (
            "distance",
            format!(
                "Replayed on another GPU or browser: the fast weights differ from the link's by about {} of their size.",
                format::percent(distance)
            ),
        ),
        (false, None) => ("other", "Replayed, but the fast weights have another shape than the link's.".to_owned()),
    };
    let skipped = (replayed.skipped > 0)
        .then(|| format!(" {} could not be done here.", format::count(replayed.skipped, "action")));
    let memory = replayed.memory.map(|same| match same {
        true => " What is remembered beside them is the same.",
        false => " What is remembered beside them differs.",
    });
    let hashes = format!(
        "expected {}, reached {}",
        format::short_hash(&replayed.expected),
        format::short_hash(&replayed.reached)
    );
    view! {
        <div class="notice" data-testid="replayed" data-outcome=kind>
            <p>{words} {memory} {skipped} " " <span class="hint">{hashes}</span></p>
            <button class="quiet" on:click=move |_| page.state.update(|s| s.replayed = None)>"Dismiss"</button>
        </div>
    }
}

fn link_in_address() -> Option<String> {
    let hash = window().location().hash().ok()?;
    hash.strip_prefix('#').filter(|fragment| fragment.starts_with(LINK_KEY)).map(str::to_owned)
}

/// Takes the link out of the address, so that a reload does not replay it again.
fn forget_link(link: RwSignal<Option<String>>) {
    link.set(None);
    let location = window().location();
    let clean = format!("{}{}", location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
    if let Ok(history) = window().history() {
        // Refused only for another origin's address.
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&clean));
    }
}
