//! The kernels for real GPUs in a real browser, whose compiler is not the one of the native tests. They run on its emulated
//! adapter, which takes them as it would take any: what they compute is tested here, not how fast.

use std::{fs, path::Path, time::Duration};

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
    let (mut page, checks) = open(Page::open_with_query(model, "?kernels=gpu"))?;
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

#[test]
fn products_in_half_precision_pass_their_test_and_answer_in_chromium() -> Result<()> {
    let (mut page, _) = open(Page::open_with_query(fixture("tiny_a.q4_1.gguf"), "?kernels=gpu&products=half"))?;
    page.set(&[("answer-tokens", 8.0)], LIMIT)?;
    let (answer, twin) = page.say(FACT, LIMIT)?;
    assert_eq!(answer, twin, "nothing is learned yet");
    assert_eq!(page.browser.errors(), [""; 0]);
    Ok(())
}

/// As if a driver compiled the products of GPUs wrongly.
const BROKEN_DRIVER: &str = "
const compile = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
    const { code } = descriptor;
    const wrong = code.includes('fn blocks_per_workgroup') ? code.replace('var total = 0.0;', 'var total = 1.0;') : code;
    return compile.call(this, { ...descriptor, code: wrong });
};
";

#[test]
fn a_gpu_that_computes_wrongly_is_named_and_has_a_way_out_in_chromium() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist"))? {
        let file = file?;
        if file.file_name() != "worker.js.gz" {
            fs::copy(file.path(), folder.path().join(file.file_name()))?;
        }
    }
    let worker = folder.path().join("worker.js");
    fs::write(&worker, [BROKEN_DRIVER, &fs::read_to_string(&worker)?].concat())?;

    let mut page = Page::open_built(folder.path(), fixture("tiny_a.q4_1.gguf"), "?kernels=gpu")?;
    page.wait_for_text("failure", "computes wrongly", LIMIT)?;
    let told = page.text("failure")?;
    assert!(told.contains("`matmul (Q4)`") && told.contains("want"), "{told}");
    assert!(!told.contains("swiglu"), "{told}");
    page.click("simpler-kernels")?;
    page.browser.wait_for("the other kernels", "location.search === '?kernels=cpu'", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    let checks: [usize; 2] = page.browser.evaluate("window.tmem.state.checks")?;
    assert_eq!(checks[1], 0, "wrong kernels");
    Ok(())
}
