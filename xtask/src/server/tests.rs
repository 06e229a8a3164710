//! The server as a browser sees it, one request a connection.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::*;

struct Site {
    server: Server,
    folder: tempfile::TempDir,
}

/// A page, a model of ten bytes, and a file outside that nobody may reach.
fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page");
    fs::create_dir(&page).unwrap();
    for (name, content) in [("index.html", "<!doctype html>"), ("app.js", "1"), ("app.wasm", "\0asm"), ("app.css", "")]
    {
        fs::write(page.join(name), content).unwrap();
    }
    fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let model = folder.path().join("tiny.gguf");
    fs::write(&model, "0123456789").unwrap();
    let server = Server::start(&ServerOptions { page, model: Some(model), ..ServerOptions::default() }).unwrap();
    Site { server, folder }
}

impl Site {
    /// Status, headers in lower case, and body.
    fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }
}

#[test]
fn files_have_their_types_and_the_page_is_isolated() {
    let site = site();
    let types = [("/", "text/html"), ("/app.js", "text/javascript"), ("/app.wasm", "application/wasm")];
    for (path, mime) in types.into_iter().chain([("/app.css", "text/css")]) {
        let (status, headers, _) = site.get(path, "");
        assert_eq!(status, 200, "{path}");
        assert!(headers.contains(&format!("content-type: {mime}")), "{path}: {headers}");
        assert!(headers.contains("cross-origin-opener-policy: same-origin"), "{headers}");
        assert!(headers.contains("cross-origin-embedder-policy: require-corp"), "{headers}");
        assert!(headers.contains("content-security-policy: default-src 'none'"), "{headers}");
    }
}

#[test]
fn a_compressed_copy_is_sent_to_those_who_take_it() {
    let site = site();
    fs::write(site.folder.path().join("page/app.js.gz"), "compressed").unwrap();
    let (_, headers, body) = site.get("/app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!(body, "compressed");
    assert!(
        headers.contains("content-encoding: gzip") && headers.contains("content-type: text/javascript"),
        "{headers}"
    );
    assert_eq!(site.get("/app.js", "").2, "1");
    let (_, headers, _) = site.get("/app.css", "Accept-Encoding: gzip\r\n");
    assert!(!headers.contains("content-encoding"), "{headers}");
}

#[test]
fn the_model_comes_whole_or_in_ranges_and_is_described() {
    let site = site();
    let (status, headers, body) = site.get("/models/tiny.gguf", "");
    assert_eq!((status, body.as_str()), (200, "0123456789"));
    assert!(headers.contains("content-length: 10") && headers.contains("accept-ranges: bytes"), "{headers}");
    let (status, headers, body) = site.get("/models/tiny.gguf", "Range: bytes=4-6\r\n");
    assert_eq!((status, body.as_str()), (206, "456"));
    assert!(headers.contains("content-range: bytes 4-6/10"), "{headers}");
    assert_eq!(site.get("/models/tiny.gguf", "Range: bytes=20-\r\n").0, 416);

    let (_, headers, body) = site.get("/models/manifest.json", "");
    assert!(headers.contains("content-type: application/json"), "{headers}");
    let manifest: serde_json::Value = serde_json::from_str(&body).unwrap();
    let sha256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    assert_eq!(manifest, serde_json::json!({ "file": "tiny.gguf", "size": 10, "sha256": sha256 }));
}

#[test]
fn a_slow_adapter_is_described_with_the_model_and_served_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (page, adapter) = (folder.path().join("page"), folder.path().join("an-adapter"));
    for made in [&page, &adapter] {
        fs::create_dir(made).unwrap();
    }
    let model = folder.path().join("tiny.gguf");
    for (file, text) in [
        (page.join("index.html"), "<!doctype html>"),
        (model.clone(), "0123456789"),
        (adapter.join("adapter_config.json"), "{}"),
        (adapter.join("adapter_model.safetensors"), "0123456789"),
    ] {
        fs::write(file, text).unwrap();
    }
    let options = ServerOptions { page, model: Some(model), slow_adapter: Some(adapter), ..ServerOptions::default() };
    let site = Site { server: Server::start(&options).unwrap(), folder };
    let manifest: serde_json::Value = serde_json::from_str(&site.get("/models/manifest.json", "").2).unwrap();
    let sha256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    assert_eq!(manifest["slow_adapter"], serde_json::json!({ "folder": "an-adapter", "sha256": sha256 }));
    assert_eq!(site.get("/adapters/an-adapter/adapter_config.json", "").2, "{}");
    assert_eq!(site.get("/adapters/an-adapter/adapter_model.safetensors", "").2, "0123456789");
}

#[test]
fn nothing_outside_the_page_is_reachable() {
    let site = site();
    let paths =
        ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/models/../secret.txt", "/..%5csecret.txt"];
    for path in paths.into_iter().chain(["//etc/passwd", "/models/other.gguf", "/missing", "/%00"]) {
        let (status, _, body) = site.get(path, "");
        assert!((400..500).contains(&status) && !body.contains("secret"), "{path}: {status} {body}");
    }
}

#[test]
fn a_busy_port_is_explained() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "").unwrap();
    let port = site.server.address().port();
    let options = ServerOptions { page: folder.path().to_owned(), port, ..ServerOptions::default() };
    for error in [Server::start(&options).unwrap_err(), ensure_free(port).unwrap_err()] {
        let message = error.to_string();
        assert!(message.contains(&format!("port {port} is in use")) && message.contains("--port"), "{message}");
    }
}

#[test]
fn a_page_that_is_not_built_is_explained() {
    let options = ServerOptions { page: "/nowhere".into(), ..ServerOptions::default() };
    assert!(Server::start(&options).unwrap_err().to_string().contains("cargo xtask web"));
}

#[test]
fn a_stopped_server_frees_its_port() {
    let site = site();
    let address = site.server.address();
    drop(site);
    assert!(TcpStream::connect(address).is_err());
}
