//! What was said and learned, in order.

use leptos::html;
use leptos::prelude::*;

use super::answer::AnswerView;
use super::welcome::Welcome;
use crate::format;
use crate::page::Page;
use crate::protocol::{Content, Entry, WriteSummary};
use tmem_core::fast::WriteOutcome;

/// The conversation, and the guided start while there is none.
#[component]
pub(crate) fn Conversation() -> impl IntoView {
    let page = Page::here();
    let ids = Memo::new(move |_| page.state.with(|s| s.log.iter().map(|entry| entry.id).collect::<Vec<_>>()));
    let scroll = NodeRef::<html::Div>::new();
    follow(page, scroll);
    view! {
        <div class="scroll" node_ref=scroll tabindex="-1" data-testid="conversation">
            <div class="measure">
                <Welcome />
                <ol class="log" aria-label="Conversation">
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
        page.state.with(|s| (s.log.len(), s.last_turn().map(|(_, a, t)| (a.text.len(), t.map(|t| t.text.len())))))
    });
    Effect::new(move |before: Option<usize>| {
        let (lines, _) = length.get();
        let Some(element) = scroll.get() else { return lines };
        let distance = element.scroll_height() - element.scroll_top() - element.client_height();
        if distance < NEAR || before != Some(lines) {
            request_animation_frame(move || element.set_scroll_top(element.scroll_height()));
        }
        lines
    });
}

#[component]
fn Line(id: u64) -> impl IntoView {
    let page = Page::here();
    let entry = Memo::new(move |_| {
        page.state.with(|s| s.log.binary_search_by_key(&id, |e| e.id).ok().map(|at| s.log[at].clone()))
    });
    // What kind of line it is never changes; what it says does.
    let first = entry.get_untracked().map(|Entry { content, .. }| content);
    match first {
        Some(Content::Turn { .. }) => view! { <TurnLine entry /> }.into_any(),
        Some(Content::Write(_) | Content::Retrained(_)) => {
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
    let (summary, retrained) = match content {
        Content::Write(summary) => (summary, false),
        Content::Retrained(summary) => (summary, true),
        _ => return ().into_any(),
    };
    let WriteSummary { cards, dropped, outcome, losses, delta, seconds } = *summary;
    let verdict = match &outcome {
        WriteOutcome::Completed | WriteOutcome::StoppedEarly => match (losses.first(), losses.last()) {
            (Some(first), Some(last)) => {
                format!(
                    "{}, loss {first:.2} → {last:.2}, {}.",
                    format::count(losses.len(), "training step"),
                    format::duration(seconds)
                )
            }
            _ => String::new(),
        },
        WriteOutcome::Aborted => format!("Stopped after {}.", format::count(losses.len(), "training step")),
        WriteOutcome::RolledBack { reason } => format!("Training was undone: {reason}."),
        WriteOutcome::Nothing => "There was nothing to learn.".to_owned(),
    };
    let head = match (retrained, cards.len()) {
        (true, 0) => "Fast weights back at zero: no cards are left".to_owned(),
        (true, n) => format!("Retrained from {}", format::count(n, "card")),
        (false, 0) => "No cards were found in this context".to_owned(),
        (false, n) => format!("{} written into the fast weights", format::count(n, "card")),
    };
    let dropped = (dropped > 0).then(|| {
        format!(
            " {} of the writer's output dropped: malformed, doubled, or not in what you said.",
            format::count(dropped, "item")
        )
    });
    let list = (!retrained && !cards.is_empty()).then(|| {
        let items = cards.into_iter().map(|card| view! { <li>{card.question}" — "<strong>{card.answer}</strong></li> });
        view! {
            <details>
                <summary>"What it wrote"</summary>
                <ul>{items.collect_view()}</ul>
            </details>
        }
    });
    view! {
        <div class="event" data-testid="written" data-delta=delta.hash>
            <p><strong>{head}</strong>". "{verdict}{dropped}</p>
            {list}
        </div>
    }
    .into_any()
}
