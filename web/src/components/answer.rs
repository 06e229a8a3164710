//! One answer: the model with its fast weights, or its frozen twin.

use leptos::prelude::*;
use tmem_core::rollout::policy::Finish;

use crate::format;
use crate::log::Answer;

/// One answer with who gives it and what the gate decided.
#[component]
pub(crate) fn AnswerView(answer: Memo<Option<Answer>>, twin: bool) -> impl IntoView {
    let who = if twin { "Frozen twin" } else { "With fast weights" };
    let text = Memo::new(move |_| answer.with(|a| a.as_ref().map(|a| a.text.clone()).unwrap_or_default()));
    let waiting = Memo::new(move |_| answer.with(|a| a.as_ref().is_some_and(|a| a.finish.is_none())));
    let figures = move || answer.with(|a| a.as_ref().filter(|a| a.finish.is_some()).map(|a| figures(a, twin)));
    view! {
        <div class="answer" class:twin=twin data-testid=if twin { "twin" } else { "answer" }>
            <p class="who">{who}</p>
            <p class="text" class:waiting=move || waiting.get() data-testid="text">{move || text.get()}</p>
            <p class="figures" data-testid="gate">{figures}</p>
        </div>
    }
}

fn figures(answer: &Answer, twin: bool) -> String {
    let mut parts = Vec::new();
    match &answer.gate {
        Some(gate) if !twin => {
            let near = gate.nearest_card.map(|id| format!(", nearest card {id}")).unwrap_or_default();
            let untold = if gate.scale == 0.0 && gate.lead.is_some_and(|lead| lead < 0.0) {
                ", nearer to things never told"
            } else {
                ""
            };
            parts.push(format!(
                "gate {} (similarity {:.2}{near}{untold})",
                format::percent(gate.scale),
                gate.similarity
            ));
        }
        _ => {}
    }
    if answer.tokens > 0 && answer.seconds > 0.0 {
        parts.push(format!("{} in {:.1} s", format::count(answer.tokens, "token"), answer.seconds));
    }
    // What memory hands over is not generated, and one token has no rate.
    let rest = answer.seconds - answer.first_after;
    if answer.tokens > 1 && answer.first_after > 0.0 && rest > 0.0 {
        let rate = (answer.tokens - 1) as f64 / rest;
        parts.push(format!("the first after {:.1} s, then {rate:.1} a second", answer.first_after));
    }
    match answer.finish {
        Some(Finish::Aborted) => parts.push("stopped".to_owned()),
        Some(Finish::Length) => parts.push("cut at the token limit".to_owned()),
        Some(Finish::Stop) | None => {}
    }
    parts.join(" · ")
}
