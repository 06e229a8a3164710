//! The page's server: static files and the model, on this machine only.
//!
//! Every answer carries cross-origin isolation (COOP and COEP) and a content security policy under which the page can
//! reach nothing but this origin. Range requests, content lengths, MIME types and safe paths come from tower-http.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::{
    Json, Router,
    http::{HeaderName, HeaderValue, header},
    routing::{get, get_service},
};
use serde::Serialize;
use tmem_fetch::{Fingerprint, fingerprint};
use tokio::sync::oneshot;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

/// Nothing but this origin, for anything: scripts, WebAssembly, workers, requests. Inline styles are allowed as
/// attributes only; they can load nothing that `img-src` and `font-src` do not.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     worker-src 'self'; connect-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
     img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// What to serve, and where.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The folder with `index.html`.
    pub page: PathBuf,
    /// The model, served as `/models/NAME` and described by `/models/manifest.json`.
    pub model: Option<PathBuf>,
    /// A slow adapter for it: a folder with PEFT's two files, served below `/adapters/`.
    pub slow_adapter: Option<PathBuf>,
    /// What the description says of the model; read from the file where `None`. A test gives that of the right file
    /// while it serves a broken one.
    pub fingerprint: Option<Fingerprint>,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
}

/// `/models/manifest.json`: what the page downloads and checks.
#[derive(Clone, Debug, Serialize)]
struct Manifest {
    /// File name below `/models/`.
    file: String,
    /// Bytes.
    size: u64,
    /// Lower-case hexadecimal.
    sha256: String,
    /// The slow adapter that was trained for it, where the page has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_adapter: Option<SlowAdapter>,
}

/// What the page needs to know of a slow adapter.
#[derive(Clone, Debug, Serialize)]
struct SlowAdapter {
    /// Folder below `/adapters/`.
    folder: String,
    /// Of its weights, lower-case hexadecimal.
    sha256: String,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Starts serving from a thread of its own.
    ///
    /// # Errors
    /// The port is taken, the page is not built, or the model cannot be read.
    pub fn start(options: &ServerOptions) -> Result<Self> {
        if !options.page.join("index.html").is_file() {
            bail!("there is no page in {}; build it with `cargo xtask web`", options.page.display());
        }
        let listener = listen(options.port)?;
        listener.set_nonblocking(true).context("cannot prepare the socket")?;
        let address = listener.local_addr().context("cannot tell the server's address")?;
        let app = routes(options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("server".into()).spawn(move || {
            runtime.block_on(async {
                let serve = axum::serve(tokio::net::TcpListener::from_std(listener)?, app);
                // Open connections are cut, not waited for: a browser keeps them open for as long as it likes.
                tokio::select! {
                    result = serve => result,
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves until the process is stopped.
    ///
    /// # Errors
    /// The server ended by itself.
    pub fn wait(mut self) -> Result<()> {
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(result)) => result.context("the server stopped"),
            _ => Err(anyhow!("the server's thread ended unexpectedly")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _already_gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Fails if the port is taken; for asking before long work, not a promise.
///
/// # Errors
/// As [`Server::start`], with the way out.
pub fn ensure_free(port: u16) -> Result<()> {
    listen(port).map(drop)
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|e| busy(port, e))
}

fn busy(port: u16, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {port} is in use, perhaps by another `cargo xtask demo`; stop that, or choose another port with \
             --port {} (or --port 0 for any free one)",
            port.checked_add(1).unwrap_or(8080)
        ),
        io::ErrorKind::PermissionDenied => anyhow!("port {port} is not allowed here; choose another with --port 8080"),
        _ => anyhow!(error).context(format!("cannot listen on 127.0.0.1:{port}")),
    }
}

fn routes(options: &ServerOptions) -> Result<Router> {
    // Compressed copies that the build has put beside the files.
    let mut app = Router::new().fallback_service(ServeDir::new(&options.page).precompressed_gzip());
    if let Some(model) = &options.model {
        let manifest = manifest(model, options)?;
        if let (Some(adapter), Some(folder)) = (&manifest.slow_adapter, &options.slow_adapter) {
            app = app.nest_service(&format!("/adapters/{}", adapter.folder), ServeDir::new(folder));
        }
        let file = ServeFile::new(model);
        app = app
            .route(&format!("/models/{}", manifest.file), get_service(file))
            .route("/models/manifest.json", get(move || async move { Json(manifest) }));
    }
    let headers = [
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The page is rebuilt under the same names: let the browser ask each time (it keeps the model itself).
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        app = app.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)));
    }
    Ok(app)
}

fn manifest(model: &Path, options: &ServerOptions) -> Result<Manifest> {
    let name = model.file_name().and_then(|name| name.to_str());
    // A name that means something in an address is served under another one.
    let file = name.filter(|name| name.chars().all(is_plain)).unwrap_or("model.gguf").to_owned();
    let found = options.fingerprint.map_or_else(|| fingerprint(model), Ok)?;
    let slow_adapter = options.slow_adapter.as_deref().map(slow_adapter).transpose()?;
    Ok(Manifest { file, size: found.bytes, sha256: found.sha256_hex(), slow_adapter })
}

fn slow_adapter(folder: &Path) -> Result<SlowAdapter> {
    let name = folder.file_name().and_then(|name| name.to_str());
    // The page takes no hidden folder.
    let plain = |name: &&str| name.chars().all(is_plain) && !name.starts_with('.');
    let folder_name = name.filter(plain).unwrap_or("adapter").to_owned();
    let sha256 = fingerprint(&folder.join("adapter_model.safetensors"))?.sha256_hex();
    Ok(SlowAdapter { folder: folder_name, sha256 })
}

/// Whether a character means nothing in an address.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

#[cfg(test)]
mod tests;
