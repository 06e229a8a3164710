//! What was said and learned, in order.

use leptos::html;
use leptos::prelude::*;
use tmem_core::fast::WriteOutcome;
use web_sys::{ScrollIntoViewOptions, ScrollLogicalPosition};

use super::answer::AnswerView;
use super::welcome::Welcome;
use crate::format;
use crate::log::{Content, Entry, WriteSummary};
use crate::page::Page;

/// The conversation, and the guided start while there is none.
#[component]
pub(crate) fn Conversation() -> impl IntoView {
    let page = Page::here();
    let ids = Memo::new(move |_| page.state.with(|s| s.log.entries().iter().map(|entry| entry.id).collect::<Vec<_>>()));
    let scroll = NodeRef::<html::Div>::new();
    follow(page, scroll);
    view! {
        <div
            class="scroll"
            role="region"
            aria-label="Conversation"
            tabindex="0"
            node_ref=scroll
            data-testid="conversation"
        >
            <div class="measure">
                <Welcome />
                <ol class="log">
                    <For each=move || ids.get() key=|id| *id let(id)>
                        <Line id />
                    </For>
                </ol>
            </div>
        </div>
    }
}

/// Keeps the newest line in view unless the reader has scrolled up.
fn follow(page: Page, scroll: NodeRef<html::Div>) {
    const NEAR: i32 = 120;
    let length = Memo::new(move |_| {
        page.state
            .with(|s| (s.log.entries().len(), s.last_turn().map(|(_, a, t)| (a.text.len(), t.map(|t| t.text.len())))))
    });
    Effect::new(move |before: Option<usize>| {
        let (lines, _) = length.get();
        let Some(element) = scroll.get() else { return lines };
        // On narrow screens the whole page scrolls, and where the reader is says nothing.
        let scrolls = element.scroll_height() > element.client_height();
        let distance = element.scroll_height() - element.scroll_top() - element.client_height();
        if before != Some(lines) || (scrolls && distance < NEAR) {
            request_animation_frame(move || {
                if let Ok(Some(line)) = element.query_selector(".log > li:last-child") {
                    let options = ScrollIntoViewOptions::new();
                    options.set_block(ScrollLogicalPosition::Nearest);
                    line.scroll_into_view_with_scroll_into_view_options(&options);
                }
            });
        }
        lines
    });
}

#[component]
fn Line(id: u64) -> impl IntoView {
    let page = Page::here();
    let entry = Memo::new(move |_| page.state.with(|s| s.log.get(id).cloned()));
    // What kind of line it is never changes; what it says does.
    let first = entry.get_untracked().map(|Entry { content, .. }| content);
    match first {
        Some(Content::Turn { .. }) => view! { <TurnLine entry /> }.into_any(),
        Some(Content::Write(_)) => {
            view! { <li>{move || entry.get().map(|e| written(e.content))}</li> }.into_any()
        }
        Some(Content::Cleared) => {
            view! { <li class="event" data-testid="cleared">"Context cleared. What was learned stays in the weights."</li> }
                .into_any()
        }
        Some(Content::Notice { text }) => view! { <li class="event">{text}</li> }.into_any(),
        None => ().into_any(),
    }
}

#[component]
fn TurnLine(entry: Memo<Option<Entry>>) -> impl IntoView {
    let turn = move |entry: Option<Entry>| match entry.map(|e| e.content) {
        Some(Content::Turn { question, answer, twin, .. }) => (question, answer, twin),
        _ => Default::default(),
    };
    let question = Memo::new(move |_| turn(entry.get()).0);
    let answer = Memo::new(move |_| Some(turn(entry.get()).1));
    let twin = Memo::new(move |_| turn(entry.get()).2);
    let two = Memo::new(move |_| twin.with(Option::is_some));
    view! {
        <li class="turn" data-testid="turn">
            <p class="question">
                <span class="visually-hidden">"You: "</span>
                {move || question.get()}
            </p>
            <div class="answers" class:two=move || two.get()>
                <AnswerView answer twin=false />
                {move || two.get().then(|| view! { <AnswerView answer=twin twin=true /> })}
            </div>
        </li>
    }
}

fn written(content: Content) -> AnyView {
    let Content::Write(summary) = content else { return ().into_any() };
    let (head, verdict) = (headline(&summary), verdict(&summary));
    let WriteSummary { cards, dropped, delta, .. } = *summary;
    let dropped = (dropped > 0).then(|| {
        let items = format::count(dropped, "item");
        format!(" Dropped from what it wrote: {items}, malformed, doubled, or not in what you said.")
    });
    let list = (!cards.is_empty()).then(|| {
        let items = cards.into_iter().map(|card| view! { <li>{card.question} " " <strong>{card.answer}</strong></li> });
        view! {
            <details>
                <summary>"What it wrote"</summary>
                <ul>{items.collect_view()}</ul>
            </details>
        }
    });
    view! {
        <div class="event" data-testid="written" data-delta=delta.hash>
            <p>
                <strong>{head}</strong>
                {verdict}
                {dropped}
            </p>
            {list}
        </div>
    }
    .into_any()
}

fn headline(summary: &WriteSummary) -> String {
    let cards = format::count(summary.count, "card");
    if summary.kept {
        return format!("Kept {cards} for looking up");
    }
    match (&summary.outcome, summary.retrained) {
        (None, true) => format!("Training anew from {cards}"),
        (None, false) => format!("Learning {cards}"),
        (Some(WriteOutcome::Completed | WriteOutcome::StoppedEarly), true) => format!("Trained anew from {cards}"),
        (Some(WriteOutcome::Completed | WriteOutcome::StoppedEarly), false) => format!("Learned {cards}"),
        (Some(WriteOutcome::Nothing), _) => "Nothing was found to remember".to_owned(),
        (Some(WriteOutcome::Aborted | WriteOutcome::RolledBack { .. }), _) => "Nothing was learned".to_owned(),
    }
}

fn verdict(summary: &WriteSummary) -> String {
    let steps = format::count(summary.losses.len(), "step");
    match &summary.outcome {
        None => " …".to_owned(),
        Some(WriteOutcome::Completed | WriteOutcome::StoppedEarly) => {
            match (summary.losses.first(), summary.losses.last()) {
                (Some(first), Some(last)) => {
                    format!(" in {}: {steps}, loss {first:.2} → {last:.2}.", format::duration(summary.seconds))
                }
                _ => ".".to_owned(),
            }
        }
        Some(WriteOutcome::Aborted) => format!(": stopped after {steps}, the weights are as before."),
        Some(WriteOutcome::RolledBack { reason }) => format!(": {reason}. The weights are as before."),
        Some(WriteOutcome::Nothing) => ".".to_owned(),
    }
}
