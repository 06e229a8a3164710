//! The ground the page stands on: Chromium with WebGPU in a worker, private files, and the server's isolation.
//!
//! Tests that need Chromium have names that end in `in_chromium`; `cargo xtask test --quick` leaves them out.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tmem_tests::browser::{Browser, ColorScheme};
use xtask::server::{Server, ServerOptions};

const LIMIT: Duration = Duration::from_secs(60);

/// The small page in `fixtures/webgpu`, served like the real one.
fn open_fixture() -> Result<(Server, Browser)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/webgpu");
    let server = Server::start(&ServerOptions { page, ..ServerOptions::default() })?;
    let mut browser = Browser::launch()?;
    browser.open(&server.url())?;
    browser.wait_for("the worker's report", "window.report", LIMIT)?;
    Ok((server, browser))
}

#[test]
fn a_worker_computes_on_swiftshader_and_keeps_files_across_a_reload_in_chromium() -> Result<()> {
    let (_server, mut browser) = open_fixture()?;
    let expected = |runs: u32| json!({ "vendor": "google", "architecture": "swiftshader", "doubled": [2, 4, 6, 8], "runs": runs, "isolated": true });
    assert_eq!(browser.evaluate::<Value>("window.report")?, expected(1));
    browser.reload()?;
    browser.wait_for("the second report", "window.report", LIMIT)?;
    assert_eq!(browser.evaluate::<Value>("window.report")?, expected(2));
    assert_eq!(browser.errors(), [""; 0]);
    assert_eq!(browser.console(), ["log: worker done 1", "log: worker done 2"]);
    Ok(())
}

#[test]
fn the_driver_types_clicks_and_changes_size_and_colours_in_chromium() -> Result<()> {
    let (_server, mut browser) = open_fixture()?;
    browser.type_text("#name", "Zoë 👋")?;
    browser.click("#greet")?;
    assert_eq!(browser.evaluate::<String>("document.getElementById('status').textContent")?, "Hello Zoë 👋");

    browser.viewport(380, 700)?;
    assert_eq!(browser.evaluate::<[u32; 2]>("[innerWidth, innerHeight]")?, [380, 700]);
    for (scheme, color) in [(ColorScheme::Dark, "rgb(0, 0, 0)"), (ColorScheme::Light, "rgb(255, 255, 255)")] {
        browser.color_scheme(scheme)?;
        assert_eq!(browser.evaluate::<String>("getComputedStyle(document.body).backgroundColor")?, color);
    }

    let folder = tempfile::tempdir()?;
    let picture = folder.path().join("page.png");
    browser.screenshot(&picture)?;
    let bytes = std::fs::read(picture)?;
    let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((&bytes[..8], size(16), size(20)), (b"\x89PNG\r\n\x1a\n".as_slice(), 380, 700));
    Ok(())
}

#[test]
fn requests_to_other_origins_are_blocked_and_noticed_in_chromium() -> Result<()> {
    let (server, mut browser) = open_fixture()?;
    assert!(browser.requests().iter().all(|url| url.starts_with(&server.url()) || url.starts_with("data:")));
    let outcome: String = browser.evaluate("fetch('http://127.0.0.2:9/').then(() => 'sent', () => 'blocked')")?;
    assert_eq!(outcome, "blocked");
    assert!(browser.errors().iter().any(|error| error.contains("Content Security Policy")), "{:?}", browser.errors());
    Ok(())
}

#[test]
fn a_failure_says_what_the_page_said_in_chromium() -> Result<()> {
    let (_server, mut browser) = open_fixture()?;
    browser.execute("console.warn('something is odd', 7); setTimeout(() => { throw new Error('broken part') })")?;
    let error = browser.wait_for("a miracle", "window.miracle", Duration::from_millis(500)).unwrap_err();
    let message = format!("{error:#}");
    for part in ["waiting for a miracle", "the page shows:\ndone", "warning: something is odd 7", "Error: broken part"]
    {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
    let thrown = browser.execute("(() => { throw new TypeError('no') })()").unwrap_err();
    assert!(thrown.to_string().contains("TypeError: no"), "{thrown}");
    Ok(())
}
