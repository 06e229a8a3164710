//! The kernels for real GPUs in a real browser, whose compiler is not the one of the native tests. They run on its emulated
//! adapter, which takes them as it would take any: what they compute is tested here, not how fast.

use std::time::Duration;

use anyhow::Result;
use tmem_tests::{fixture, page::Page};

const LIMIT: Duration = Duration::from_secs(300);

/// Something the writer makes a card of without asking the model.
const FACT: &str = "My dog's name is Biscuit.";

fn open(page: Result<Page>) -> Result<(Page, usize)> {
    let mut page = page?;
    page.wait_until_ready(LIMIT)?;
    let checks: [usize; 2] = page.browser.evaluate("window.tmem.state.checks")?;
    assert_eq!(checks[1], 0, "wrong kernels");
    Ok((page, checks[0]))
}

#[test]
fn kernels_for_gpus_pass_their_test_and_learn_in_chromium() -> Result<()> {
    let model = fixture("tiny_a.q4_1.gguf");
    let (_, emulated) = open(Page::open(model.clone(), None))?;
    let (mut page, checks) = open(Page::open_with_kernels_for_gpus(model))?;
    assert!(checks > emulated, "{checks} checks, {emulated} of the kernels for emulated adapters");

    page.set(&[("answer-tokens", 8.0), ("steps", 6.0)], LIMIT)?;
    let (answer, twin) = page.say(FACT, LIMIT)?;
    assert_eq!(answer, twin, "nothing is learned yet");
    page.click("write")?;
    page.wait_for_text("written", "Learned 1 card", LIMIT)?;
    page.wait_until_ready(LIMIT)?;

    let hash = page.attribute("written", "data-delta")?;
    let link = page.share(LIMIT)?;
    assert!(link.contains("?kernels=gpu#"), "{link}");
    page.browser.open(&link)?;
    page.wait_for_text("replay-question", "would take the place of yours", LIMIT)?;
    page.click("replay")?;
    page.wait_for_text("replayed", "bit for bit", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    assert_eq!(page.browser.errors(), [""; 0]);
    Ok(())
}
