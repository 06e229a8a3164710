//! The settings drawer.

use leptos::html;
use leptos::prelude::*;
use tmem_core::settings::{Init, MemoryKind, OptimizerKind, Settings, TextChannel, WriterKind};

use crate::page::Page;
use crate::protocol::{Action, Base};

type Draft = RwSignal<Settings>;

/// The button in the header and the drawer it opens.
#[component]
pub(crate) fn SettingsDrawer() -> impl IntoView {
    let page = Page::here();
    let dialog = NodeRef::<html::Dialog>::new();
    let draft: Draft = RwSignal::new(Settings::default());
    let can_speak = Memo::new(move |_| page.state.with(|s| s.can_speak()));
    let open = move |_| {
        if let Some(current) = page.state.with_untracked(|s| s.status.as_ref().map(|st| (*st.settings).clone())) {
            draft.set(current);
        }
        if let Some(dialog) = dialog.get_untracked() {
            // It fails only where it is open already.
            let _ = dialog.show_modal();
        }
    };
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <button data-testid="settings" disabled=move || !can_speak.get() on:click=open>"Settings"</button>
        <dialog class="settings" aria-labelledby="settings-title" node_ref=dialog>
            <form
                class="stack"
                on:submit=move |event| {
                    event.prevent_default();
                    page.send(Action::Configure { settings: Box::new(draft.get_untracked()) });
                    close();
                }
            >
                <h2 id="settings-title">"Settings"</h2>
                <BaseModel close />
                <Preset draft />
                <fieldset>
                    <legend>"Conversation"</legend>
                    <Number draft label="Context budget, tokens" min=64.0 max=8192.0 step="1"
                        get=|s| s.rollout.budget as f64 set=|s, v| s.rollout.budget = v as usize name="budget" />
                    <Number draft label="Longest prompt, tokens" min=64.0 max=8192.0 step="1"
                        get=|s| s.rollout.context_tokens as f64 set=|s, v| s.rollout.context_tokens = v as usize name="context-tokens" />
                    <Number draft label="Longest answer, tokens" min=1.0 max=1024.0 step="1"
                        get=|s| s.rollout.answer_tokens as f64 set=|s, v| s.rollout.answer_tokens = v as usize name="answer-tokens" />
                    <Number draft label="Temperature (0 is greedy)" min=0.0 max=2.0 step="any"
                        get=|s| s.sampling.temperature.into() set=|s, v| s.sampling.temperature = v as f32 name="temperature" />
                    <Number draft label="Seed" min=0.0 max=9e15 step="1"
                        get=|s| s.seed as f64 set=|s, v| { s.seed = v as u64; s.sampling.seed = v as u64; } name="seed" />
                </fieldset>
                <fieldset>
                    <legend>"Memory"</legend>
                    <Choice draft label="When the context is full" name="memory"
                        options=&[
                            ("tmem", "Learn flashcards into the fast weights"),
                            ("tmem_text", "Learn flashcards, and keep text as well"),
                            ("summary", "Keep one summary in the prompt"),
                            ("retrieval", "Keep the turns, bring back those that fit the question"),
                            ("cards", "Look flashcards up, without the model"),
                            ("none", "Nothing: the oldest turns fall out"),
                        ]
                        get=|s| memory_name(s.rollout.memory)
                        set=|s, v| s.rollout.memory = memory_kind(v) />
                    <Show when=move || draft.with(|s| s.rollout.memory == MemoryKind::TmemText)>
                        <Choice draft label="Text kept beside the flashcards" name="text-channel"
                            options=&[("retrieval", "Turns that fit the question"), ("summary", "One summary")]
                            get=|s| match s.rollout.text_channel { TextChannel::Summary => "summary", TextChannel::Retrieval => "retrieval" }
                            set=|s, v| s.rollout.text_channel = if v == "summary" { TextChannel::Summary } else { TextChannel::Retrieval } />
                    </Show>
                    <Show when=move || draft.with(|s| keeps_text(s, TextChannel::Summary))>
                        <Number draft label="Longest summary, tokens" min=16.0 max=2048.0 step="1"
                            get=|s| s.rollout.summary_tokens as f64 set=|s, v| s.rollout.summary_tokens = v as usize name="summary-tokens" />
                    </Show>
                    <Show when=move || draft.with(|s| keeps_text(s, TextChannel::Retrieval))>
                        <Number draft label="Most turns brought back" min=1.0 max=64.0 step="1"
                            get=|s| s.rollout.retrieval_turns as f64 set=|s, v| s.rollout.retrieval_turns = v as usize name="retrieval-turns" />
                        <Number draft label="Room for turns brought back, tokens" min=16.0 max=4096.0 step="1"
                            get=|s| s.rollout.retrieval_tokens as f64 set=|s, v| s.rollout.retrieval_tokens = v as usize name="retrieval-tokens" />
                        <label class="check">
                            <input
                                type="checkbox"
                                data-testid="set-notes"
                                prop:checked=move || draft.with(|s| s.rollout.notes)
                                on:change=move |event| draft.update(|s| s.rollout.notes = event_target_checked(&event))
                            />
                            "Notes: the model describes each turn that is kept"
                        </label>
                    </Show>
                    <p class="hint">"Another memory begins without text. Flashcards stay; the fast weights learn them anew, or go back to zero."</p>
                </fieldset>
                <Show when=move || draft.with(|s| writes_cards(s.rollout.memory))>
                    <fieldset>
                        <legend>"Writing cards"</legend>
                        <Choice draft label="Writer" name="writer"
                            options=&[
                                ("answer_first", "Answer first (small models)"), ("json", "JSON (the paper)"),
                                ("raw_text", "The turns themselves"), ("summary", "A summary"),
                            ]
                            get=|s| match s.rollout.writer {
                                WriterKind::Json => "json",
                                WriterKind::AnswerFirst => "answer_first",
                                WriterKind::RawText => "raw_text",
                                WriterKind::Summary => "summary",
                            }
                            set=|s, v| s.rollout.writer = match v {
                                "json" => WriterKind::Json,
                                "raw_text" => WriterKind::RawText,
                                "summary" => WriterKind::Summary,
                                _ => WriterKind::AnswerFirst,
                            } />
                        <Number draft label="Most cards of one write" min=1.0 max=256.0 step="1"
                            get=|s| s.rollout.max_cards as f64 set=|s, v| s.rollout.max_cards = v as usize name="max-cards" />
                        <Number draft label="Further wordings of each question" min=0.0 max=8.0 step="1"
                            get=|s| s.rollout.wordings as f64 set=|s, v| s.rollout.wordings = v as usize name="wordings" />
                    </fieldset>
                </Show>
                <Show when=move || draft.with(|s| writes_cards(s.rollout.memory) && s.rollout.memory != MemoryKind::Cards)>
                    <fieldset>
                        <legend>"Fast weights"</legend>
                        <Number draft label="Training steps of one write (0: passes over the cards)" min=0.0 max=1000.0 step="1"
                            get=|s| s.fast.steps as f64 set=|s, v| s.fast.steps = v as usize name="steps" />
                        <Number draft label="Adapted layers, counted from the last" min=1.0 max=256.0 step="1"
                            get=|s| s.fast.layers as f64 set=|s, v| s.fast.layers = v as usize name="layers" />
                        <Number draft label="Rank" min=1.0 max=64.0 step="1"
                            get=|s| s.fast.rank as f64 set=|s, v| s.fast.rank = v as usize name="rank" />
                        <Choice draft label="A from" name="init"
                            options=&[("svd", "SVD, scaled"), ("plain_v", "SVD, unscaled"), ("random", "Random")]
                            get=|s| match s.fast.init { Init::Svd => "svd", Init::PlainV => "plain_v", Init::Random => "random" }
                            set=|s, v| s.fast.init = match v { "plain_v" => Init::PlainV, "random" => Init::Random, _ => Init::Svd } />
                        <Choice draft label="Optimizer" name="optimizer"
                            options=&[("adamw", "AdamW"), ("sgd", "SGD")]
                            get=|s| match s.fast.optimizer { OptimizerKind::Sgd => "sgd", OptimizerKind::Adamw => "adamw" }
                            set=|s, v| s.fast.optimizer = if v == "sgd" { OptimizerKind::Sgd } else { OptimizerKind::Adamw } />
                        <Number draft label="Pairs of question and answer in one training step" min=1.0 max=64.0 step="1"
                            get=|s| s.fast.batch as f64 set=|s, v| s.fast.batch = v as usize name="batch" />
                        <Number draft label="Learning rate" min=0.0 max=1.0 step="any"
                            get=|s| s.fast.learning_rate.into() set=|s, v| s.fast.learning_rate = v as f32 name="learning-rate" />
                        <Number draft label="Weight of the KL anchor (0: none)" min=0.0 max=100.0 step="any"
                            get=|s| s.fast.kl_weight.into() set=|s, v| s.fast.kl_weight = v as f32 name="kl-weight" />
                        <Number draft label="Replay of earlier cards (share of the new ones)" min=0.0 max=10.0 step="any"
                            get=|s| s.fast.replay.into() set=|s, v| s.fast.replay = v as f32 name="replay" />
                        <Number draft label="Trust region, ‖ΔW‖ / ‖W‖ (0: none)" min=0.0 max=10.0 step="any"
                            get=|s| s.fast.trust_region.into() set=|s, v| s.fast.trust_region = v as f32 name="trust-region" />
                        <label class="check">
                            <input
                                type="checkbox"
                                data-testid="set-gate"
                                prop:checked=move || draft.with(|s| s.fast.gate)
                                on:change=move |event| draft.update(|s| s.fast.gate = event_target_checked(&event))
                            />
                            "Gate: fast weights only near a learned question"
                        </label>
                        <p class="hint">"Other layers, rank or start of A mean other fast weights: they begin again at zero."</p>
                    </fieldset>
                </Show>
                <div class="row">
                    <button class="primary" type="submit" data-testid="settings-save">"Use these"</button>
                    <button type="button" on:click=move |_| close()>"Cancel"</button>
                </div>
            </form>
        </dialog>
    }
}

/// Whether a memory carries this kind of text.
fn keeps_text(settings: &Settings, channel: TextChannel) -> bool {
    match settings.rollout.memory {
        MemoryKind::Summary => channel == TextChannel::Summary,
        MemoryKind::Retrieval => channel == TextChannel::Retrieval,
        MemoryKind::TmemText => channel == settings.rollout.text_channel,
        MemoryKind::None | MemoryKind::Tmem | MemoryKind::Cards => false,
    }
}

fn writes_cards(memory: MemoryKind) -> bool {
    matches!(memory, MemoryKind::Tmem | MemoryKind::TmemText | MemoryKind::Cards)
}

fn memory_name(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::None => "none",
        MemoryKind::Summary => "summary",
        MemoryKind::Retrieval => "retrieval",
        MemoryKind::Tmem => "tmem",
        MemoryKind::TmemText => "tmem_text",
        MemoryKind::Cards => "cards",
    }
}

fn memory_kind(name: &str) -> MemoryKind {
    match name {
        "none" => MemoryKind::None,
        "summary" => MemoryKind::Summary,
        "retrieval" => MemoryKind::Retrieval,
        "tmem_text" => MemoryKind::TmemText,
        "cards" => MemoryKind::Cards,
        _ => MemoryKind::Tmem,
    }
}

/// Which base model to use, where there is a choice. It is not one of the settings: another base is another model.
#[component]
fn BaseModel(close: impl Fn() + Copy + Send + Sync + 'static) -> impl IntoView {
    let page = Page::here();
    let base = Memo::new(move |_| page.state.with(|s| s.model.as_ref().and_then(|model| model.base)));
    view! {
        <Show when=move || base.get().is_some()>
            <fieldset>
                <legend>"Base model"</legend>
                <label class="check">
                    <input
                        type="checkbox"
                        data-testid="set-base"
                        prop:checked=move || base.get() == Some(Base::Trained)
                        on:change=move |event| {
                            page.use_base(if event_target_checked(&event) { Base::Trained } else { Base::Published });
                            close();
                        }
                    />
                    "Trained beforehand to take up cards, and to say what it was never told"
                </label>
                <p class="hint">
                    "Off, it is the model as published. Either loads at once and has a conversation of its own."
                </p>
            </fieldset>
        </Show>
    }
}

#[component]
fn Preset(draft: Draft) -> impl IntoView {
    let chosen = move || {
        draft.with(|s| match s {
            s if *s == Settings::small() => "small",
            s if *s == Settings::quick() => "quick",
            s if *s == Settings::paper() => "paper",
            _ => "own",
        })
    };
    view! {
        <label class="text">
            "Preset"
            <select
                data-testid="set-preset"
                prop:value=chosen
                on:change=move |event| {
                    if let Ok(preset) = Settings::preset(&event_target_value(&event)) {
                        draft.set(preset);
                    }
                }
            >
                <option value="small">"Small: what works on a model of this size"</option>
                <option value="quick">"Quick: a tenth of the work, for computers without a GPU"</option>
                <option value="paper">"Paper: SGD, no gate, no anchor"</option>
                <option value="own" disabled>"Own"</option>
            </select>
        </label>
    }
}

#[component]
fn Number(
    draft: Draft,
    label: &'static str,
    name: &'static str,
    min: f64,
    max: f64,
    step: &'static str,
    get: fn(&Settings) -> f64,
    set: fn(&mut Settings, f64),
) -> impl IntoView {
    // An f32 shown as f64 would end in digits nobody typed.
    let shown = move || draft.with(|s| ((get(s) * 1e7).round() / 1e7).to_string());
    view! {
        <label class="text">
            {label}
            <input
                type="number"
                required
                min=min
                max=max
                step=step
                data-testid=format!("set-{name}")
                prop:value=shown
                on:change=move |event| {
                    if let Ok(value) = event_target_value(&event).parse::<f64>() && (min..=max).contains(&value) {
                        draft.update(|s| set(s, value));
                    }
                }
            />
        </label>
    }
}

#[component]
fn Choice(
    draft: Draft,
    label: &'static str,
    name: &'static str,
    options: &'static [(&'static str, &'static str)],
    get: fn(&Settings) -> &'static str,
    set: fn(&mut Settings, &str),
) -> impl IntoView {
    let options = options.iter().map(|&(value, text)| view! { <option value=value>{text}</option> }).collect_view();
    view! {
        <label class="text">
            {label}
            <select
                data-testid=format!("set-{name}")
                prop:value=move || draft.with(get)
                on:change=move |event| draft.update(|s| set(s, &event_target_value(&event)))
            >
                {options}
            </select>
        </label>
    }
}
