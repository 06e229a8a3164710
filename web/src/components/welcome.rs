//! The guided start: what this is, and what to click first.

use leptos::prelude::*;

use crate::log::Content;
use crate::page::Page;

/// Facts for a first try; short, and about things a model cannot know.
const EXAMPLES: [&str; 3] =
    ["My dog's name is Biscuit.", "I was born in the town of Kilrush.", "My sister Ada plays the cello."];

/// What this is, while nothing has been said.
#[component]
pub(crate) fn Welcome() -> impl IntoView {
    let page = Page::here();
    let fresh = Memo::new(move |_| {
        page.state.with(|s| !s.log.entries().iter().any(|e| matches!(e.content, Content::Turn { .. })))
    });
    move || fresh.get().then(|| view! { <Introduction /> })
}

#[component]
fn Introduction() -> impl IntoView {
    let page = Page::here();
    let ready = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let say = super::composer::say;
    view! {
        <section class="welcome" data-testid="welcome" aria-labelledby="welcome-title">
            <h2 id="welcome-title">"A small model that learns while you talk, on your own GPU"</h2>
            <ol>
                <li>"Tell it something about yourself."</li>
                <li>"Press " <strong>"Write to memory"</strong> ": it writes flashcards and trains its fast weights on them."</li>
                <li>"Press " <strong>"Clear context"</strong> " and ask. It answers from its weights; its frozen twin, the same model without them, does not know."</li>
            </ol>
            <div class="chips" role="group" aria-label="Examples to begin with">
                {EXAMPLES
                    .map(|text| {
                        view! {
                            <button data-testid="example" disabled=move || !ready.get() on:click=move |_| say(page, text)>
                                {text}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </section>
    }
}
