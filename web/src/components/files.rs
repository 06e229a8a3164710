//! Share link, export, import, starting over; and the archive that arrives.

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, HtmlAnchorElement, Url};

use crate::page::Page;
use crate::protocol::Action;

/// Buttons for what leaves and enters the page.
#[component]
pub(crate) fn Files() -> impl IntoView {
    let page = Page::here();
    let idle = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let cards = Memo::new(move |_| page.state.with(|s| s.status.as_ref().map_or(0, |status| status.cards.len())));
    let said = Memo::new(move |_| page.state.with(|s| !s.log.is_empty()));
    let input = NodeRef::<html::Input>::new();
    let sure = RwSignal::new(false);
    let archive = page.archive();
    Effect::new(move |_| {
        if let Some((name, content)) = archive.get() {
            save(&name, &content);
            archive.set(None);
        }
    });
    let choose = move |_| {
        if let Some(input) = input.get_untracked() {
            input.click();
        }
    };
    let import = move |_| {
        let Some(input) = input.get_untracked() else { return };
        if let Some(file) = input.files().and_then(|files| files.get(0)) {
            page.send_with(Action::Import, &file);
        }
        // The same file can then be chosen again.
        input.set_value("");
    };
    view! {
        <section aria-labelledby="files-title">
            <h2 id="files-title">"Keep and share"</h2>
            <div class="row">
                <button
                    data-testid="share"
                    disabled=move || !idle.get() || !said.get()
                    on:click=move |_| page.send(Action::Share)
                >
                    "Share link"
                </button>
                <button
                    data-testid="export"
                    disabled=move || !idle.get() || cards.get() == 0
                    on:click=move |_| page.send(Action::Export)
                >
                    "Export"
                </button>
                <button data-testid="import" disabled=move || !idle.get() on:click=choose>"Import"</button>
                <input
                    type="file"
                    accept=".zip"
                    hidden
                    aria-label="Archive to import"
                    data-testid="import-file"
                    node_ref=input
                    on:change=import
                />
                <button
                    data-testid="reset"
                    disabled=move || !idle.get()
                    on:click=move |_| {
                        if sure.get_untracked() {
                            page.send(Action::Reset);
                        }
                        sure.update(|sure| *sure = !*sure);
                    }
                    on:blur=move |_| sure.set(false)
                >
                    {move || if sure.get() { "Really forget everything?" } else { "Start over" }}
                </button>
            </div>
            <p class="hint">"An export holds the fast weights as a PEFT adapter, and the cards."</p>
            <ShareLink />
        </section>
    }
}

#[component]
fn ShareLink() -> impl IntoView {
    let page = Page::here();
    let link = Memo::new(move |_| {
        let fragment = page.state.with(|s| s.link.clone())?;
        let here = window().location().href().ok()?;
        let base = here.split('#').next().unwrap_or_default();
        Some(format!("{base}#{fragment}"))
    });
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let Some(link) = link.get_untracked() else { return };
        leptos::task::spawn_local(async move {
            let promise = window().navigator().clipboard().write_text(&link);
            copied.set(wasm_bindgen_futures::JsFuture::from(promise).await.is_ok());
        });
    };
    move || {
        link.get().map(|link| {
            copied.set(false);
            view! {
                <label class="text">
                    "Opens, replays this conversation, and compares the weights. What you said is in the link; it is never sent to a server."
                    <input type="text" readonly data-testid="link" prop:value=link.clone() on:focus=select_all />
                </label>
                <div class="row">
                    <button data-testid="copy" on:click=copy>
                        {move || if copied.get() { "Copied" } else { "Copy" }}
                    </button>
                </div>
            }
        })
    }
}

fn select_all(event: web_sys::FocusEvent) {
    event_target::<web_sys::HtmlInputElement>(&event).select();
}

/// Hands a file to the person.
fn save(name: &str, content: &JsValue) {
    let Ok(blob) = Blob::new_with_u8_array_sequence(&js_sys::Array::of1(content)) else { return };
    let Ok(url) = Url::create_object_url_with_blob(&blob) else { return };
    if let Ok(anchor) = document().create_element("a") {
        let anchor: HtmlAnchorElement = anchor.unchecked_into();
        anchor.set_href(&url);
        anchor.set_download(name);
        anchor.click();
    }
    // The browser has taken its own reference by now; an error would mean that there is nothing to free.
    let _ = Url::revoke_object_url(&url);
}
