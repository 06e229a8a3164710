//! Tells screen readers what happened, once it is complete: streamed tokens would be noise.

use leptos::prelude::*;

use crate::page::Page;
use crate::protocol::Activity;

/// A polite live region.
#[component]
pub(crate) fn Announcer() -> impl IntoView {
    let page = Page::here();
    let activity = Memo::new(move |_| page.state.with(|s| s.activity));
    let answer = Memo::new(move |_| {
        page.state.with(|s| {
            let (_, answer, twin) = s.last_turn()?;
            answer.finish?;
            Some((answer.text.clone(), twin.map(|twin| twin.text.clone())))
        })
    });
    let said = Memo::new(move |before: Option<&String>| {
        let answer = answer.get();
        match activity.get() {
            Some(Activity::Writing) => "Writing flashcards.".to_owned(),
            Some(Activity::Training) => "Training the fast weights.".to_owned(),
            Some(Activity::Replaying) => "Replaying the link.".to_owned(),
            Some(Activity::Answering | Activity::Working) => before.cloned().unwrap_or_default(),
            None => match answer {
                Some((answer, Some(twin))) => format!("Answer: {answer}. The frozen twin says: {twin}"),
                Some((answer, None)) => format!("Answer: {answer}"),
                None => String::new(),
            },
        }
    });
    view! { <p class="visually-hidden" aria-live="polite" data-testid="announcer">{move || said.get()}</p> }
}
