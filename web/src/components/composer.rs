//! Where the person types, and the buttons of the loop.

use leptos::html;
use leptos::prelude::*;

use crate::format;
use crate::log::Content;
use crate::page::Page;
use crate::protocol::{Action, Activity};

/// Questions offered once something was learned.
const SUGGESTIONS: usize = 3;

/// Sends a user turn.
pub(crate) fn say(page: Page, text: &str) {
    let text = text.trim();
    if !text.is_empty() && page.state.with_untracked(|s| s.can_speak()) {
        page.send(Action::Say { text: text.to_owned(), twin: page.twin.get_untracked() });
    }
}

/// Text field, send or stop, context meter, and the steps of the loop.
#[component]
pub(crate) fn Composer() -> impl IntoView {
    let page = Page::here();
    let draft = RwSignal::new(String::new());
    let field = NodeRef::<html::Textarea>::new();
    let busy = Memo::new(move |_| page.state.with(|s| s.busy()));
    let can_speak = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let submit = move || {
        if can_speak.get_untracked() {
            say(page, &draft.get_untracked());
            draft.set(String::new());
        }
    };
    // After an answer the next thing is to type again; the field kept its focus unless the person moved it.
    Effect::new(move |before: Option<bool>| {
        let now = can_speak.get();
        let nowhere = document().active_element().is_none_or(|element| element.tag_name() == "BODY");
        if now
            && before == Some(false)
            && nowhere
            && let Some(field) = field.get_untracked()
        {
            // Without focus the person clicks; nothing is lost.
            let _ = field.focus();
        }
        now
    });
    view! {
        <div class="composer">
            <div class="measure">
                <form
                    aria-label="Say something"
                    on:submit=move |event| {
                        event.prevent_default();
                        submit();
                    }
                >
                    <Suggestions />
                    <ContextMeter />
                    <div class="field">
                        <label class="visually-hidden" for="say">"Your message"</label>
                        <textarea
                            id="say"
                            rows="1"
                            autocomplete="off"
                            placeholder="Tell it something, or ask"
                            data-testid="say"
                            node_ref=field
                            prop:value=move || draft.get()
                            on:input=move |event| draft.set(event_target_value(&event))
                            on:keydown=move |event| {
                                if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
                                    event.prevent_default();
                                    submit();
                                }
                            }
                        ></textarea>
                        {move || {
                            if busy.get() {
                                view! {
                                    <button type="button" data-testid="stop" on:click=move |_| page.send(Action::Stop)>
                                        "Stop"
                                    </button>
                                }
                                    .into_any()
                            } else {
                                view! {
                                    <button
                                        class="primary"
                                        type="submit"
                                        data-testid="send"
                                        disabled=move || !can_speak.get() || draft.with(|d| d.trim().is_empty())
                                    >
                                        "Send"
                                    </button>
                                }
                                    .into_any()
                            }
                        }}
                    </div>
                    <Loop />
                </form>
            </div>
        </div>
    }
}

#[component]
fn Loop() -> impl IntoView {
    let page = Page::here();
    let idle = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let context = Memo::new(move |_| page.state.with(|s| s.status.as_ref().map_or(0, |status| status.context_tokens)));
    let unusable = move || !idle.get() || context.get() == 0;
    view! {
        <div class="row">
            <label class="check">
                <input type="checkbox" data-testid="twin-switch" bind:checked=page.twin />
                "Ask the frozen twin too"
            </label>
            <div class="row">
                <button type="button" data-testid="write" disabled=unusable on:click=move |_| page.send(Action::Write)>
                    "Write to memory"
                </button>
                <button
                    type="button"
                    data-testid="clear"
                    disabled=unusable
                    on:click=move |_| page.send(Action::ClearContext)
                >
                    "Clear context"
                </button>
            </div>
        </div>
    }
}

/// How full the context is, and what the agent is doing.
#[component]
fn ContextMeter() -> impl IntoView {
    let page = Page::here();
    let fill =
        Memo::new(move |_| page.state.with(|s| s.status.as_ref().map(|status| (status.context_tokens, status.budget))));
    let activity = Memo::new(move |_| page.state.with(|s| s.activity));
    let doing = move || {
        activity.get().map(|activity| match activity {
            Activity::Answering => "Answering",
            Activity::Writing => "Writing flashcards",
            Activity::Training => "Training the fast weights",
            Activity::Replaying => "Replaying the link",
            Activity::Working => "Working",
        })
    };
    view! {
        <div class="meter">
            {move || {
                fill.get().map(|(tokens, budget)| {
                    view! {
                        <meter
                            aria-label="Context in use"
                            min="0"
                            prop:max=budget as f64
                            prop:value=tokens.min(budget) as f64
                        ></meter>
                        <span data-testid="context">
                            {move || doing().map(|doing| format!("{doing} · "))}
                            {format!("{tokens} of {budget} tokens")}
                        </span>
                    }
                })
            }}
        </div>
    }
}

/// Once something was learned and the context is empty: questions to try, straight from the cards.
#[component]
fn Suggestions() -> impl IntoView {
    let page = Page::here();
    let questions = Memo::new(move |_| {
        page.state.with(|s| {
            let just_written = matches!(s.log.entries().last().map(|e| &e.content), Some(Content::Cleared));
            let status = s.status.as_ref().filter(|_| just_written && s.can_speak());
            let cards = status.map(|status| status.cards.as_slice()).unwrap_or_default();
            cards.iter().rev().take(SUGGESTIONS).map(|held| held.card.question.clone()).collect::<Vec<_>>()
        })
    });
    let chip = move |question: String| {
        let text = question.clone();
        view! {
            <button type="button" data-testid="suggestion" on:click=move |_| say(page, &question)>
                {text}
            </button>
        }
    };
    move || {
        let questions = questions.get();
        let label = format!("{} to try", format::count(questions.len(), "question"));
        (!questions.is_empty()).then(|| {
            view! {
                <div class="chips" role="group" aria-label=label>
                    {questions.into_iter().map(chip).collect_view()}
                </div>
            }
        })
    }
}
