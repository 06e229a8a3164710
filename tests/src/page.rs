//! The built page in a browser, with its server.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use tmem_fetch::Fingerprint;
use xtask::server::{Server, ServerOptions};

use crate::browser::Browser;

/// The page of `web/dist`, served as by `cargo xtask demo`.
#[derive(Debug)]
pub struct Page {
    /// The browser that shows it.
    pub browser: Browser,
    /// Its server; stopping it is what a visitor offline sees.
    pub server: Server,
}

impl Page {
    /// Serves the page with a model, opens it in a new browser and waits until it has drawn itself. `fingerprint` is
    /// what the server says of the model, the truth where `None`.
    ///
    /// # Errors
    /// The page is not built, Chromium is missing, or the page does not start.
    pub fn open(model: PathBuf, fingerprint: Option<Fingerprint>) -> Result<Self> {
        let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/dist"));
        let server = Server::start(&ServerOptions { page, model: Some(model), fingerprint, port: 0 })?;
        let mut browser = Browser::launch()?;
        browser.open(&server.url())?;
        browser.wait_for("the page to draw itself", "document.querySelector('main')", Duration::from_secs(60))?;
        Ok(Self { browser, server })
    }

    /// Waits until the part of the page with this `data-testid` is there and its text contains `text`.
    ///
    /// # Errors
    /// As [`Browser::wait_for`].
    pub fn wait_for_text(&mut self, part: &str, text: &str, limit: Duration) -> Result<()> {
        let condition = format!("{}?.textContent.includes({})", element(part), serde_json::json!(text));
        self.browser.wait_for(&format!("`{text}` in `{part}`"), &condition, limit)
    }

    /// The text of the part with this `data-testid`.
    ///
    /// # Errors
    /// There is no such part.
    pub fn text(&mut self, part: &str) -> Result<String> {
        self.browser.evaluate(&format!("{}.textContent", element(part)))
    }

    /// Clicks the part with this `data-testid`.
    ///
    /// # Errors
    /// There is no such part.
    pub fn click(&mut self, part: &str) -> Result<()> {
        self.browser.click(&selector(part))
    }

    /// The requests so far that left the page's origin; there must be none.
    pub fn foreign_requests(&self) -> Vec<String> {
        let own = [self.server.url(), format!("blob:{}", self.server.url()), "data:".into(), "about:blank".into()];
        let foreign = |url: &&String| !own.iter().any(|start| url.starts_with(start.as_str()));
        self.browser.requests().iter().filter(foreign).cloned().collect()
    }
}

/// The CSS selector of a part of the page.
pub fn selector(part: &str) -> String {
    format!("[data-testid=\"{part}\"]")
}

fn element(part: &str) -> String {
    format!("document.querySelector({})", serde_json::json!(selector(part)))
}
