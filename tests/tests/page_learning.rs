//! What the whole thing is for, in a real browser: a fact told, written to memory, the context cleared, and recalled from
//! the fast weights, while the frozen twin does not know it. Its link leads to the same weights, bit for bit.

use std::time::Duration;

use anyhow::Result;
use tmem_fetch::ensure_model;
use tmem_tests::page::Page;

/// For one thing at a time on a software adapter that a busy machine shares.
const LIMIT: Duration = Duration::from_secs(900);

/// Few and quick steps, and nothing that reads the pool of neutral prompts: it takes a software adapter minutes. How well
/// the default settings do is measured natively.
const QUICK: [(&str, f64); 7] = [
    ("answer-tokens", 12.0),
    ("wordings", 1.0),
    ("layers", 4.0),
    ("steps", 10.0),
    ("learning-rate", 3e-3),
    ("kl-weight", 0.0),
    ("gate", 0.0),
];

#[test]
fn a_fact_is_learned_recalled_after_clearing_and_replayed_in_chromium() -> Result<()> {
    let mut page = Page::open(ensure_model(None)?, None)?;
    page.wait_until_ready(LIMIT)?;
    page.set(&QUICK, LIMIT)?;

    page.say("My dog's name is Biscuit.", LIMIT)?;
    page.click("write")?;
    page.wait_for_text("written", "Learned 1 card", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("card")?.contains("Biscuit"));
    page.click("clear")?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("context")?.starts_with("0 of"), "{}", page.text("context")?);

    let (answer, twin) = page.say("What is the name of my dog?", LIMIT)?;
    assert!(answer.contains("Biscuit"), "with fast weights: {answer}");
    assert!(!twin.contains("Biscuit"), "the twin: {twin}");

    let hash = page.attribute("written", "data-delta")?;
    let link = page.share(LIMIT)?;
    page.browser.open(&link)?;
    page.wait_for_text("replay-question", "would take the place of yours", LIMIT)?;
    page.click("replay")?;
    page.browser.wait_for("the replay's end", "document.querySelector('[data-testid=replayed]')", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert_eq!(page.attribute("replayed", "data-outcome")?, "match", "{}", page.text("replayed")?);
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    assert_eq!(page.foreign_requests(), [""; 0]);
    Ok(())
}
