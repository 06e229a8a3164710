//! The page, before anybody speaks: it starts, opens the GPU from its worker, fits narrow screens, and says clearly what
//! is wrong with a model.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use tmem_fetch::{DEFAULT_MODEL, ensure_model};
use tmem_tests::{browser::ColorScheme, page::Page};

const LIMIT: Duration = Duration::from_secs(300);

/// The default model with one bit turned in the middle of a weight.
fn broken_model(folder: &tempfile::TempDir) -> Result<PathBuf> {
    let mut bytes = fs::read(ensure_model(None)?)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = folder.path().join(DEFAULT_MODEL.file);
    fs::write(&path, bytes)?;
    Ok(path)
}

#[test]
fn the_worker_opens_the_gpu_and_the_page_fits_a_phone_in_chromium() -> Result<()> {
    let mut page = Page::open(ensure_model(None)?, None)?;
    page.wait_for_text("where", "software", LIMIT)?;
    for (width, height) in [(1280, 900), (380, 700)] {
        page.browser.viewport(width, height)?;
        let overflow: i32 = page.browser.evaluate("document.documentElement.scrollWidth - innerWidth")?;
        assert!(overflow <= 0, "{overflow} px stick out at a width of {width}");
    }
    let mut background = |scheme| -> Result<String> {
        page.browser.color_scheme(scheme)?;
        page.browser.evaluate("getComputedStyle(document.body).backgroundColor")
    };
    assert_ne!(background(ColorScheme::Dark)?, background(ColorScheme::Light)?);
    assert_eq!(page.browser.errors(), [""; 0]);
    assert_eq!(page.foreign_requests(), [""; 0]);
    Ok(())
}

#[test]
fn a_corrupted_model_is_refused_in_chromium() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut page = Page::open(broken_model(&folder)?, Some(DEFAULT_MODEL.fingerprint))?;
    page.wait_for_text("failure", "model could not be loaded", LIMIT)?;
    assert!(page.text("failure")?.contains("SHA-256"));
    Ok(())
}
