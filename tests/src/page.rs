//! The built page in a browser, with its server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use tmem_fetch::{Fingerprint, adapter_for};
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
        let slow_adapter = adapter_for(&model)?;
        let options = ServerOptions { model: Some(model), slow_adapter, fingerprint, ..ServerOptions::default() };
        Self::serve(options, "")
    }

    /// The same with a slow adapter beside the model.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_adapter(model: PathBuf, adapter: PathBuf) -> Result<Self> {
        let options = ServerOptions { model: Some(model), slow_adapter: Some(adapter), ..ServerOptions::default() };
        Self::serve(options, "")
    }

    /// The same with a query behind its address.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_query(model: PathBuf, query: &str) -> Result<Self> {
        let slow_adapter = adapter_for(&model)?;
        Self::serve(ServerOptions { model: Some(model), slow_adapter, ..ServerOptions::default() }, query)
    }

    /// The same with a page built elsewhere, and a query behind its address.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_built(page: &Path, model: PathBuf, query: &str) -> Result<Self> {
        let options = ServerOptions { page: page.to_owned(), model: Some(model), ..ServerOptions::default() };
        Self::start(&options, query)
    }

    fn serve(options: ServerOptions, query: &str) -> Result<Self> {
        let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/dist"));
        Self::start(&ServerOptions { page, ..options }, query)
    }

    fn start(options: &ServerOptions, query: &str) -> Result<Self> {
        let server = Server::start(options)?;
        let mut browser = Browser::launch()?;
        browser.open(&format!("{}{query}", server.url()))?;
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

    /// An attribute of the part with this `data-testid`.
    ///
    /// # Errors
    /// There is no such part, or it lacks the attribute.
    pub fn attribute(&mut self, part: &str, name: &str) -> Result<String> {
        self.browser.evaluate(&format!("{}.getAttribute({})", element(part), serde_json::json!(name)))
    }

    /// Clicks the part with this `data-testid`.
    ///
    /// # Errors
    /// There is no such part.
    pub fn click(&mut self, part: &str) -> Result<()> {
        self.browser.click(&selector(part))
    }

    /// Waits until the page is ready for the next thing to say: the model is loaded and nothing is being done.
    ///
    /// # Errors
    /// As [`Browser::wait_for`], and at once where the page reports a failure.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let (ready, failure) = (element("settings"), element("failure"));
        let condition = format!("({ready} && !{ready}.disabled) || {failure}");
        self.browser.wait_for("the page to be ready", &condition, limit)?;
        let failed: Option<String> = self.browser.evaluate(&format!("{failure}?.textContent"))?;
        failed.map_or(Ok(()), |text| bail!("the page reports a failure: {text}"))
    }

    /// Says something and returns the answers: with the fast weights, and the frozen twin's.
    ///
    /// # Errors
    /// As [`wait_until_ready`](Self::wait_until_ready).
    pub fn say(&mut self, text: &str, limit: Duration) -> Result<(String, String)> {
        self.tell(text, limit)?;
        Ok((self.last_answer("answer")?, self.last_answer("twin")?))
    }

    /// Says something and waits until it is answered.
    ///
    /// # Errors
    /// As [`wait_until_ready`](Self::wait_until_ready).
    pub fn tell(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.browser.type_text(&selector("say"), text)?;
        self.click("send")?;
        self.wait_until_ready(limit)
    }

    /// Changes numbers and switches (1 is on, 0 off) in the settings drawer, by the names in its fields' `data-testid`,
    /// and waits until they hold.
    ///
    /// # Errors
    /// There is no such setting, or as [`wait_until_ready`](Self::wait_until_ready).
    pub fn set(&mut self, settings: &[(&str, f64)], limit: Duration) -> Result<()> {
        self.click("settings")?;
        for (name, value) in settings {
            let field = element(&format!("set-{name}"));
            let events = "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'))";
            let change = format!("e.type === 'checkbox' ? e.checked = {value} > 0 : e.value = {value}");
            self.browser.execute(&format!("(e => {{ {change}; {events}; }})({field})"))?;
        }
        self.click("settings-save")?;
        self.wait_until_ready(limit)
    }

    /// Asks for the share link and returns it.
    ///
    /// # Errors
    /// As [`wait_until_ready`](Self::wait_until_ready).
    pub fn share(&mut self, limit: Duration) -> Result<String> {
        self.click("share")?;
        let field = element("link");
        self.browser.wait_for("the share link", &field, limit)?;
        self.wait_until_ready(limit)?;
        self.browser.evaluate(&format!("{field}.value"))
    }

    /// Drops a file on the page.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn drop_file(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).context("a file without a name")?;
        let content = base64::engine::general_purpose::STANDARD.encode(fs::read(path)?);
        let name = serde_json::json!(name);
        self.browser.execute(&format!(
            "(() => {{ const bytes = Uint8Array.from(atob('{content}'), c => c.charCodeAt(0)); \
             const dataTransfer = new DataTransfer(); dataTransfer.items.add(new File([bytes], {name})); \
             window.dispatchEvent(new DragEvent('drop', {{ dataTransfer, cancelable: true }})); }})()"
        ))
    }

    fn last_answer(&mut self, part: &str) -> Result<String> {
        let text =
            format!("[...document.querySelectorAll('[data-testid={part}] [data-testid=text]')].at(-1).textContent");
        self.browser.evaluate(&text)
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
