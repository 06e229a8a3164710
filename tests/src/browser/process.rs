//! The browser's process and profile.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(60);

/// No sandbox: in a container there are no namespaces to build it from, and only our own pages are loaded. The adapter
/// is the software one everywhere, so that a test means the same on every machine.
const FLAGS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--window-size=1280,900",
    "--remote-debugging-port=0",
];

/// A Chromium with a profile of its own; both go when dropped.
#[derive(Debug)]
pub(super) struct Process {
    /// Address of the DevTools socket, `ws://127.0.0.1:PORT/devtools/browser/ID`.
    pub(super) address: String,
    child: Child,
    _profile: TempDir,
}

impl Process {
    pub(super) fn start() -> Result<Self> {
        let binary = xtask::browser::find().with_context(|| {
            format!(
                "these tests need Chromium; install it (Debian: apt-get install -y chromium) or name it in {}",
                xtask::browser::VARIABLE
            )
        })?;
        let profile = tempfile::Builder::new().prefix("tmem-chromium-").tempdir()?;
        let log = profile.path().join("log.txt");
        let user_data = profile.path().join("profile");
        let child = Command::new(&binary)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", user_data.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut process = Self { address: String::new(), child, _profile: profile };
        // Chromium writes the port it chose and the path of its socket, one a line.
        let port_file = user_data.join("DevToolsActivePort");
        let start = Instant::now();
        while start.elapsed() < START {
            let text = fs::read_to_string(&port_file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n')
                && path.starts_with("/devtools/")
            {
                process.address = format!("ws://127.0.0.1:{port}{}", path.trim_end());
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                bail!("Chromium ended at once ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("Chromium did not come up in {START:?}:\n{}", fs::read_to_string(&log).unwrap_or_default())
    }

    /// Waits until the process has ended by itself, or until `limit` is over.
    pub(super) fn wait(&mut self, limit: Duration) {
        let start = Instant::now();
        while start.elapsed() < limit && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
    }
}
