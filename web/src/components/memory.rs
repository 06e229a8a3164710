//! The memory panel: every card, where it comes from, whether it is known; forgetting and editing. Beside the cards the
//! explicit memory, where the strategy has one.

use leptos::html;
use leptos::prelude::*;
use tmem_core::card::Card;
use tmem_core::rollout::Passage;
use tmem_core::settings::MemoryKind;

use crate::format;
use crate::page::Page;
use crate::protocol::{Action, CardState};

/// Every card, and what is remembered as text.
#[component]
pub(crate) fn Memory() -> impl IntoView {
    let page = Page::here();
    let cards =
        Memo::new(move |_| page.state.with(|s| s.status.as_ref().map(|st| st.cards.clone()).unwrap_or_default()));
    let passages =
        Memo::new(move |_| page.state.with(|s| s.status.as_ref().map(|st| st.passages.clone()).unwrap_or_default()));
    let kind = Memo::new(move |_| page.state.with(|s| s.status.as_ref().map(|st| st.settings.rollout.memory)));
    let editing = RwSignal::new(None::<u64>);
    let count = move || format::count(cards.with(Vec::len), "card");
    view! {
        <section aria-labelledby="memory-title" data-testid="memory">
            <div class="head">
                <h2 id="memory-title">"Memory"</h2>
                <span class="hint" data-testid="card-count">{count}</span>
            </div>
            {move || {
                (cards.with(Vec::is_empty) && passages.with(Vec::is_empty))
                    .then(|| view! { <p class="hint">{empty_hint(kind.get())}</p> })
            }}
            <ul class="cards">
                <For each=move || cards.get() key=|held| (held.card.clone(), held.percent) let(held)>
                    <CardLine held editing />
                </For>
            </ul>
            {move || {
                (!passages.with(Vec::is_empty)).then(|| {
                    let lines = passages.get().into_iter().map(|passage| view! { <PassageLine passage /> }).collect_view();
                    view! {
                        <h3>"Remembered as text"</h3>
                        <ul class="cards" data-testid="passages">{lines}</ul>
                    }
                })
            }}
        </section>
    }
}

/// What will stand here.
fn empty_hint(kind: Option<MemoryKind>) -> &'static str {
    match kind {
        Some(MemoryKind::None) => "No memory: what no longer fits the context is lost. The settings have others.",
        Some(MemoryKind::Summary) => "The summary appears here when memory is written.",
        Some(MemoryKind::Retrieval) => "Earlier turns appear here when memory is written.",
        Some(MemoryKind::Cards) => "Flashcards appear here when memory is written. They are looked up, not learned.",
        Some(MemoryKind::Tmem | MemoryKind::TmemText) | None => {
            "Flashcards appear here when memory is written. They are what the fast weights learn."
        }
    }
}

#[component]
fn PassageLine(passage: Passage) -> impl IntoView {
    let source = passage.turn.map_or_else(|| "summary".to_owned(), |turn| format!("turn {}", turn + 1));
    let keywords = (!passage.keywords.is_empty()).then(|| passage.keywords.join(", "));
    view! {
        <li class="card" data-testid="passage">
            <p class="kept">{passage.text}</p>
            <p class="foot">
                <span>{source}</span>
                <span>{keywords}</span>
            </p>
        </li>
    }
}

#[component]
fn CardLine(held: CardState, editing: RwSignal<Option<u64>>) -> impl IntoView {
    let id = held.card.id;
    let open = Memo::new(move |_| editing.get() == Some(id));
    let held = StoredValue::new(held);
    view! {
        <li class="card" data-testid="card" data-card=id>
            {move || {
                if open.get() {
                    view! { <CardForm card=held.with_value(|h| h.card.clone()) editing /> }.into_any()
                } else {
                    view! { <CardText held=held.get_value() editing /> }.into_any()
                }
            }}
        </li>
    }
}

#[component]
fn CardText(held: CardState, editing: RwSignal<Option<u64>>) -> impl IntoView {
    let page = Page::here();
    let idle = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let (learned, percent) = (held.learned(), held.percent);
    let percent = percent.map(|percent| format!(" {percent} %"));
    let card = held.card;
    let id = card.id;
    let (mark, class) = match learned {
        Some(true) => ("learned", "mark yes"),
        Some(false) => ("not yet", "mark no"),
        None => ("not tried", "mark"),
    };
    let source = match card.source_turn {
        Some(turn) => format!("turn {}", turn + 1),
        None => "imported".to_owned(),
    };
    let wordings = (!card.wordings.is_empty()).then(|| format::count(card.wordings.len() + 1, "wording"));
    let named = format!(": {}", card.question);
    view! {
        <p class="asked">{card.question}</p>
        <p class="known">{card.answer}</p>
        <p class="foot">
            <span class=class data-testid="learned" title="Mean probability of the answer's words">{mark} {percent}</span>
            <span title=wordings>{source}</span>
            <span class="spring"></span>
            <button
                class="quiet"
                data-testid="edit"
                disabled=move || !idle.get()
                on:click=move |_| editing.set(Some(id))
            >
                "Edit"<span class="visually-hidden">{named.clone()}</span>
            </button>
            <button
                class="quiet"
                data-testid="forget"
                disabled=move || !idle.get()
                on:click=move |_| page.send(Action::Forget { card: id })
            >
                "Forget"<span class="visually-hidden">{named}</span>
            </button>
        </p>
    }
}

#[component]
fn CardForm(card: Card, editing: RwSignal<Option<u64>>) -> impl IntoView {
    let page = Page::here();
    let question = RwSignal::new(card.question.clone());
    let answer = RwSignal::new(card.answer.clone());
    let first = NodeRef::<html::Input>::new();
    Effect::new(move |_| {
        if let Some(input) = first.get() {
            let _ = input.focus();
        }
    });
    let save = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        let (new_question, new_answer) = (question.get_untracked(), answer.get_untracked());
        let (new_question, new_answer) = (new_question.trim(), new_answer.trim());
        if new_question.is_empty() || new_answer.is_empty() || !page.state.with_untracked(|s| s.can_speak()) {
            return;
        }
        let mut new = card.clone();
        // Other wordings of another question would train the old one.
        if new.question != new_question {
            new.wordings.clear();
        }
        new.question = new_question.to_owned();
        new.answer = new_answer.to_owned();
        editing.set(None);
        if new != card {
            page.send(Action::Edit { card: new });
        }
    };
    view! {
        <form
            on:submit=save
            on:keydown=move |event| {
                if event.key() == "Escape" {
                    editing.set(None);
                }
            }
        >
            <label class="text">
                "Question"
                <input type="text" required node_ref=first data-testid="edit-question" bind:value=question />
            </label>
            <label class="text">
                "Answer" <input type="text" required data-testid="edit-answer" bind:value=answer />
            </label>
            <div class="row">
                <button class="primary" type="submit" data-testid="edit-save">"Save and retrain"</button>
                <button type="button" on:click=move |_| editing.set(None)>"Cancel"</button>
            </div>
        </form>
    }
}
