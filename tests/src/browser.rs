//! A headless Chromium with WebGPU on SwiftShader, driven over the DevTools protocol.
//!
//! One [`Browser`] is one process with an empty profile and one page. Everything the page and its workers say on the
//! console, every uncaught error and every address they ask for is kept and is part of the failure messages.

mod devtools;
mod process;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use devtools::Connection;
use process::Process;

/// How long a single command to the browser may take; long work in a page is awaited with [`Browser::wait_for`].
const COMMAND: Duration = Duration::from_secs(60);

/// The colour scheme that the page sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorScheme {
    /// `prefers-color-scheme: light`
    Light,
    /// `prefers-color-scheme: dark`
    Dark,
}

/// A running browser; it ends when dropped.
#[derive(Debug)]
pub struct Browser {
    connection: Connection,
    page: String,
    process: Process,
}

impl Browser {
    /// Starts Chromium with an empty profile and an empty page.
    ///
    /// # Errors
    /// There is no Chromium, or it does not come up; the message holds what it printed.
    pub fn launch() -> Result<Self> {
        let process = Process::start()?;
        let mut connection = Connection::open(&process.address)?;
        let targets = connection.call(None, "Target.getTargets", json!({}), COMMAND)?;
        let target = targets["targetInfos"]
            .as_array()
            .and_then(|targets| targets.iter().find(|target| target["type"] == "page"))
            .context("the browser has no page")?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = connection.call(None, "Target.attachToTarget", attach, COMMAND)?;
        let page = session["sessionId"].as_str().context("the browser gave no session")?.to_owned();
        connection.observe(&page)?;
        connection.call(Some(&page), "Page.enable", json!({}), COMMAND)?;
        Ok(Self { connection, page, process })
    }

    /// Goes to an address and waits until the page with its static resources is loaded.
    pub fn open(&mut self, url: &str) -> Result<()> {
        self.connection.loaded = false;
        let answer = self.page_call("Page.navigate", json!({ "url": url }))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("cannot open {url}: {error}");
        }
        // Another fragment of the same page loads nothing; the browser then names no loader.
        if answer["loaderId"].is_null() { Ok(()) } else { self.wait_until_loaded() }
    }

    /// Loads the page again, with the same profile and thus with what it has stored.
    pub fn reload(&mut self) -> Result<()> {
        self.connection.loaded = false;
        self.page_call("Page.reload", json!({}))?;
        self.wait_until_loaded()
    }

    /// The value of a JavaScript expression in the page, awaited if it is a promise.
    ///
    /// # Errors
    /// The expression throws, or its value is not a `T`.
    pub fn evaluate<T: DeserializeOwned>(&mut self, expression: &str) -> Result<T> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let mut answer = self.page_call("Runtime.evaluate", parameters)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("`{expression}` failed in the page: {}", devtools::describe_exception(exception));
        }
        let value = answer["result"]["value"].take();
        serde_json::from_value(value.clone()).with_context(|| format!("`{expression}` gave {value}"))
    }

    /// Runs JavaScript in the page for what it does, awaiting it if it is a promise.
    ///
    /// # Errors
    /// It throws.
    pub fn execute(&mut self, expression: &str) -> Result<()> {
        self.evaluate::<IgnoredAny>(expression).map(drop)
    }

    /// Waits until a JavaScript expression is true in the page.
    ///
    /// # Errors
    /// It is not within `limit`, or it throws; the message says `what` was awaited, what the page shows and what it said.
    pub fn wait_for(&mut self, what: &str, condition: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let condition = format!("Boolean({condition})");
        while start.elapsed() < limit {
            if self.evaluate::<bool>(&condition).with_context(|| self.report(what))? {
                return Ok(());
            }
            self.connection.listen(Duration::from_millis(100))?;
        }
        let shown = self.evaluate::<String>("document.body?.innerText ?? ''").unwrap_or_else(|e| e.to_string());
        let shown: String = shown.chars().take(2000).collect();
        Err(anyhow!("{} s are over; the page shows:\n{shown}\n{}", limit.as_secs(), self.report(what)))
    }

    /// Clicks the middle of the element that a CSS selector finds first, as a mouse would.
    pub fn click(&mut self, selector: &str) -> Result<()> {
        let (x, y) = self.middle_of(selector)?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.page_call("Input.dispatchMouseEvent", event)?;
        }
        Ok(())
    }

    /// Focuses an element and types into it.
    pub fn type_text(&mut self, selector: &str, text: &str) -> Result<()> {
        let quoted = json!(selector);
        self.execute(&format!("document.querySelector({quoted}).focus()"))?;
        self.page_call("Input.insertText", json!({ "text": text })).map(drop)
    }

    /// Presses and releases a key that types nothing, by its DOM name (`Tab`, `Escape`) or `Enter`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            _ => bail!("the driver knows no key {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.page_call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Chooses files in an `<input type=file>`.
    pub fn choose_files(&mut self, selector: &str, files: &[&Path]) -> Result<()> {
        let expression = json!({ "expression": format!("document.querySelector({})", json!(selector)) });
        let found = self.page_call("Runtime.evaluate", expression)?;
        let object = found["result"]["objectId"].as_str().with_context(|| format!("nothing matches {selector}"))?;
        self.page_call("DOM.setFileInputFiles", json!({ "files": files, "objectId": object })).map(drop)
    }

    /// Sets the size of the visible part of the page, in CSS pixels.
    pub fn viewport(&mut self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.page_call("Emulation.setDeviceMetricsOverride", metrics).map(drop)
    }

    /// Sets what `prefers-color-scheme` says.
    pub fn color_scheme(&mut self, scheme: ColorScheme) -> Result<()> {
        let value = if scheme == ColorScheme::Dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.page_call("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// Writes a picture of the visible part of the page, as PNG.
    pub fn screenshot(&mut self, path: &Path) -> Result<()> {
        let answer = self.page_call("Page.captureScreenshot", json!({ "format": "png" }))?;
        let data = answer["data"].as_str().context("the browser gave no picture")?;
        let png = base64::engine::general_purpose::STANDARD.decode(data).context("the picture is not base64")?;
        fs::write(path, png).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What the page and its workers wrote on the console, oldest first, each line with its level.
    pub fn console(&self) -> &[String] {
        &self.connection.console
    }

    /// Uncaught errors in the page and its workers, and what the browser reports as errors (blocked or failed requests).
    pub fn errors(&self) -> &[String] {
        &self.connection.errors
    }

    /// The addresses that the page and its workers asked for.
    pub fn requests(&self) -> &[String] {
        &self.connection.requests
    }

    /// Lets downloads be saved into a folder, under the names that the page gives them.
    pub fn save_downloads(&mut self, folder: &Path) -> Result<()> {
        let parameters = json!({ "behavior": "allow", "downloadPath": folder });
        self.connection.call(None, "Browser.setDownloadBehavior", parameters, COMMAND).map(drop)
    }

    /// Ends the browser's GPU process, as a reset of the driver would: every device is lost.
    pub fn crash_gpu(&mut self) -> Result<()> {
        self.connection.call(None, "Browser.crashGpuProcess", json!({}), COMMAND).map(drop)
    }

    /// Sends any command of the DevTools protocol to the page.
    pub fn page_call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.connection.call(Some(&self.page), method, parameters, COMMAND)
    }

    fn wait_until_loaded(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.connection.loaded {
            if start.elapsed() > COMMAND {
                bail!("{}", self.report("the page to load"));
            }
            self.connection.listen(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn middle_of(&mut self, selector: &str) -> Result<(f64, f64)> {
        let script = format!(
            "(() => {{ const e = document.querySelector({}); if (!e) return null; \
             e.scrollIntoView({{ block: 'center', behavior: 'instant' }}); const r = e.getBoundingClientRect(); \
             return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            json!(selector)
        );
        let middle: Option<(f64, f64)> = self.evaluate(&script)?;
        middle.with_context(|| format!("nothing matches {selector}"))
    }

    fn report(&self, what: &str) -> String {
        let last = |lines: &[String]| match lines {
            [] => "  (nothing)".to_owned(),
            lines => lines[lines.len().saturating_sub(40)..].iter().map(|line| format!("  {line}\n")).collect(),
        };
        format!("waiting for {what}\nerrors:\n{}\nconsole:\n{}", last(self.errors()), last(self.console()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, the browser ends its children too, and nobody writes into the profile that is about to go.
        let _gone = self.connection.call(None, "Browser.close", json!({}), Duration::from_secs(5));
        self.process.wait(Duration::from_secs(5));
    }
}
