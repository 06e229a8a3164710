//! What went wrong or is worth telling, with the way out beside it.

use leptos::prelude::*;
use web_sys::UrlSearchParams;

use crate::page::Page;
use crate::protocol::{Cause, Failure};

/// The last failure and the last notice.
#[component]
pub(crate) fn Notices() -> impl IntoView {
    let page = Page::here();
    let failure = Memo::new(move |_| page.state.with(|state| state.failure.clone()));
    let notice = Memo::new(move |_| page.state.with(|state| state.notice.clone()));
    let down = Memo::new(move |_| page.state.with(|state| state.stage == crate::state::Stage::Down));
    view! {
        <div role="alert">
            {move || failure.get().map(|failure| view! { <FailureNotice failure down=down.get() /> })}
        </div>
        <div role="status">
            {move || {
                notice.get().map(|text| {
                    view! {
                        <div class="notice" data-testid="notice">
                            <p>{text}</p>
                            <button class="quiet" on:click=move |_| page.state.update(|s| s.notice = None)>
                                "Dismiss"
                            </button>
                        </div>
                    }
                })
            }}
        </div>
    }
}

#[component]
fn FailureNotice(failure: Failure, down: bool) -> impl IntoView {
    let page = Page::here();
    let title = match failure.cause {
        Cause::NoWebGpu => "This browser has no WebGPU here",
        Cause::DeviceLost => "The GPU was lost",
        Cause::Memory => "Memory is short",
        Cause::WrongKernel => "This GPU computes wrongly",
        Cause::Model => "The model could not be loaded",
        Cause::Link => "This link cannot be replayed",
        Cause::Archive => "This file cannot be imported",
        Cause::Other => "That did not work",
    };
    let advice = match failure.cause {
        Cause::NoWebGpu => "tmem runs its model on your GPU through WebGPU, which is not to be had here.",
        Cause::DeviceLost => {
            "The driver was reset or the tab was suspended. Your conversation is safe: load the model again."
        }
        Cause::WrongKernel => {
            "The start-up self-test compares every kernel with a reference. Answers from this device would be \
             gibberish, so the model was not loaded. An update of the graphics driver or browser often helps."
        }
        _ => "",
    };
    let retry = if failure.cause == Cause::DeviceLost { "Load again" } else { "Try again" };
    let simpler = if failure.cause == Cause::WrongKernel { with_simpler_kernels(page) } else { None };
    let retry_class = if simpler.is_some() { "" } else { "primary" };
    view! {
        <div class="notice failure" data-testid="failure" data-cause=format!("{:?}", failure.cause)>
            <h2>{title}</h2>
            {(!advice.is_empty()).then(|| view! { <p>{advice}</p> })}
            <p class="detail">{failure.message}</p>
            <div class="row">
                {simpler.map(|search| {
                    // The page with another query is loaded anew; a link behind the address stays.
                    let open = move |_| drop(window().location().set_search(&search));
                    view! {
                        <button class="primary" data-testid="simpler-kernels" on:click=open>
                            "Use simpler, slower kernels"
                        </button>
                    }
                })}
                {down.then(|| {
                    view! {
                        <button
                            class=retry_class
                            data-testid="load-again"
                            on:click=move |_| page.load_again()
                        >
                            {retry}
                        </button>
                    }
                })}
                {(!down).then(|| {
                    view! {
                        <button class="quiet" on:click=move |_| page.state.update(|s| s.failure = None)>
                            "Dismiss"
                        </button>
                    }
                })}
            </div>
        </div>
    }
}

/// The query that makes the worker run the kernels for emulated adapters, which ask less of a driver; `None` where those are
/// the ones that failed.
fn with_simpler_kernels(page: Page) -> Option<String> {
    if page.state.with_untracked(|state| state.device.as_ref().is_none_or(|device| device.software)) {
        return None;
    }
    let query = UrlSearchParams::new_with_str(&window().location().search().ok()?).ok()?;
    query.set("kernels", "cpu");
    query.delete("products");
    query.to_string().as_string()
}
