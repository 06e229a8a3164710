//! What a visitor can do with a conversation besides talking: stop, reload, share, replay, export, import, lose the GPU,
//! bring a model. With a tiny random model, since none of it depends on what the model says.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tmem_core::fast::Projection;
use tmem_core::fast::peft::{PeftAdapter, PeftSite};
use tmem_core::model::HostModel;
use tmem_tests::page::{Page, selector};

const LIMIT: Duration = Duration::from_secs(300);

/// Something the writer makes a card of without asking the model.
const FACT: &str = "My dog's name is Biscuit.";

fn tiny_model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A page with the tiny model and short answers.
fn open() -> Result<Page> {
    let mut page = Page::open(tiny_model("tiny_a.q4_1.gguf"), None)?;
    page.wait_until_ready(LIMIT)?;
    page.set(&[("answer-tokens", 8.0), ("steps", 6.0)], LIMIT)?;
    Ok(page)
}

/// A page that has learned [`FACT`].
fn open_and_learn() -> Result<Page> {
    let mut page = open()?;
    learn(&mut page)?;
    Ok(page)
}

fn learn(page: &mut Page) -> Result<()> {
    page.say(FACT, LIMIT)?;
    page.click("write")?;
    page.wait_for_text("written", "Learned 1 card", LIMIT)?;
    page.wait_until_ready(LIMIT)
}

/// A slow adapter of rank 1 for a tiny model, in a folder.
fn write_slow_adapter(model: &Path, folder: &Path) -> Result<()> {
    let HostModel { config, name, .. } = HostModel::read(fs::File::open(model)?)?;
    let projection = Projection::DownProj;
    let (inputs, outputs) = projection.shape(&config);
    let numbers = |count: usize| (0..count).map(|i| 0.1 * (i as f32).sin()).collect();
    let site = PeftSite { layer: 0, projection, a: numbers(inputs), b: numbers(outputs), inputs, outputs };
    let files = PeftAdapter { rank: 1, sites: vec![site] }.export(&config, &name)?;
    fs::write(folder.join("adapter_config.json"), files.config)?;
    fs::write(folder.join("adapter_model.safetensors"), files.weights)?;
    Ok(())
}

/// Waits for a file with this ending to be complete in a folder.
fn downloaded(folder: &Path, ending: &str) -> Result<PathBuf> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        if let Some(path) = files.find(|path| path.extension().is_some_and(|e| e == ending)) {
            return Ok(path);
        }
        thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("no .{ending} file arrived in {}", folder.display())
}

#[test]
fn a_reload_keeps_the_conversation_and_its_link_replays_to_the_same_hash_in_chromium() -> Result<()> {
    let mut page = open_and_learn()?;
    let hash = page.attribute("written", "data-delta")?;
    assert_eq!(hash.len(), 64, "a SHA-256: {hash}");
    let link = page.share(LIMIT)?;

    page.browser.reload()?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("conversation")?.contains(FACT));
    assert!(page.text("card")?.contains("Biscuit"));
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    assert_eq!(page.share(LIMIT)?, link, "the agent is where it was, weights included");

    page.browser.open(&link)?;
    page.wait_for_text("replay-question", "would take the place of yours", LIMIT)?;
    page.click("replay")?;
    page.wait_for_text("replayed", "bit for bit", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert_eq!(page.attribute("replayed", "data-outcome")?, "match");
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    assert_eq!(page.browser.evaluate::<String>("location.hash")?, "", "a reload must not replay it again");
    assert_eq!(page.browser.errors(), [""; 0]);
    assert_eq!(page.foreign_requests(), [""; 0]);
    Ok(())
}

#[test]
fn broken_links_are_refused_and_cost_nothing_in_chromium() -> Result<()> {
    let mut page = open_and_learn()?;
    let link = page.share(LIMIT)?;
    let (address, code) = link.split_once("#recipe=").context("not a share link")?;
    for (broken, words) in [(&code[..code.len() / 2], "damaged"), ("%25%25", "damaged"), ("", "carries no recipe")] {
        page.browser.open(&format!("{address}#recipe={broken}"))?;
        page.wait_for_text("replay-question", "would take the place of yours", LIMIT)?;
        page.click("replay")?;
        page.wait_for_text("failure", words, LIMIT)?;
        assert!(page.text("failure")?.contains("This link cannot be replayed"));
        assert!(page.text("conversation")?.contains(FACT), "what was said is still there");
        assert!(page.text("card")?.contains("Biscuit"));
    }
    Ok(())
}

#[test]
fn an_export_is_imported_again_with_its_cards_in_chromium() -> Result<()> {
    let mut page = open_and_learn()?;
    let folder = tempfile::tempdir()?;
    page.browser.save_downloads(folder.path())?;
    page.click("export")?;
    let archive = downloaded(folder.path(), "zip")?;

    page.click("reset")?;
    page.click("reset")?;
    page.wait_for_text("card-count", "0 cards", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    page.browser.choose_files(&selector("import-file"), &[&archive])?;
    page.wait_for_text("card-count", "1 card", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("card")?.contains("Biscuit"));
    assert!(page.text("learned")?.starts_with("learned") || page.text("learned")?.starts_with("not yet"));

    let broken = folder.path().join("broken.zip");
    fs::write(&broken, &fs::read(&archive)?[..100])?;
    page.browser.choose_files(&selector("import-file"), &[&broken])?;
    page.wait_for_text("failure", "cannot be imported", LIMIT)?;
    assert!(page.text("card")?.contains("Biscuit"), "nothing is lost to a bad file");
    Ok(())
}

#[test]
fn stopping_keeps_what_was_said_so_far_in_chromium() -> Result<()> {
    let mut page = open()?;
    page.set(&[("answer-tokens", 60.0)], LIMIT)?;
    page.browser.type_text(&selector("say"), "Go on.")?;
    page.click("send")?;
    page.wait_for_text("answer", "", LIMIT)?;
    page.click("stop")?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("gate")?.contains("stopped"), "{}", page.text("gate")?);
    let (answer, _) = page.say("And now?", LIMIT)?;
    assert!(!answer.is_empty(), "the conversation goes on");
    Ok(())
}

#[test]
fn a_lost_gpu_costs_nothing_that_was_said_in_chromium() -> Result<()> {
    let mut page = open_and_learn()?;
    let hash = page.attribute("written", "data-delta")?;
    page.browser.crash_gpu()?;
    page.wait_for_text("failure", "The GPU was lost", LIMIT)?;
    page.click("load-again")?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("conversation")?.contains(FACT));
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    page.say("What is my dog's name?", LIMIT)?;
    Ok(())
}

#[test]
fn a_dropped_model_takes_the_place_of_the_servers_in_chromium() -> Result<()> {
    let mut page = open()?;
    page.drop_file(&tiny_model("tiny_b.q8_0.gguf"))?;
    page.wait_for_text("where", "tiny_b.q8_0", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    page.say("Hello.", LIMIT)?;
    // It is the dropped model that comes back, not the server's.
    page.browser.crash_gpu()?;
    page.wait_for_text("failure", "The GPU was lost", LIMIT)?;
    page.click("load-again")?;
    page.wait_for_text("where", "tiny_b.q8_0", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("conversation")?.contains("Hello."));

    page.drop_file(&tiny_model("tiny_a.config.json"))?;
    page.wait_for_text("failure", "model could not be loaded", LIMIT)?;
    Ok(())
}

#[test]
fn the_trained_base_can_be_switched_off_and_a_link_brings_its_own_in_chromium() -> Result<()> {
    let (model, adapter) = (tiny_model("tiny_a.q4_1.gguf"), tempfile::tempdir()?);
    write_slow_adapter(&model, adapter.path())?;
    let mut page = Page::open_with_adapter(model, adapter.path().to_owned())?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("where")?.contains("trained to learn"), "{}", page.text("where")?);
    page.set(&[("answer-tokens", 8.0), ("steps", 6.0)], LIMIT)?;
    learn(&mut page)?;
    let (hash, link) = (page.attribute("written", "data-delta")?, page.share(LIMIT)?);

    page.click("settings")?;
    page.click("set-base")?;
    page.wait_for_text("notice", "another model", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert!(!page.text("where")?.contains("trained to learn"), "{}", page.text("where")?);
    learn(&mut page)?;
    assert_ne!(page.attribute("written", "data-delta")?, hash, "other weights under the same steps");
    page.browser.reload()?;
    page.wait_until_ready(LIMIT)?;
    assert!(!page.text("where")?.contains("trained to learn"), "the choice outlives a visit");

    page.browser.open(&link)?;
    page.wait_for_text("replay-question", "would take the place of yours", LIMIT)?;
    page.click("replay")?;
    page.wait_for_text("replayed", "bit for bit", LIMIT)?;
    page.wait_until_ready(LIMIT)?;
    assert!(page.text("where")?.contains("trained to learn"));
    assert_eq!(page.attribute("written", "data-delta")?, hash);
    assert_eq!(page.browser.errors(), [""; 0]);
    Ok(())
}
