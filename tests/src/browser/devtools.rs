//! The DevTools protocol: JSON messages over one WebSocket, a session for the page and for each of its workers.

use std::{
    collections::HashMap,
    io,
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, protocol::WebSocketConfig};

/// A connection to the browser, and what was heard on it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    answers: HashMap<u64, Value>,
    /// Whether the page has fired its load event since this was last set to false.
    pub(super) loaded: bool,
    pub(super) console: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) requests: Vec<String>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self> {
        let host =
            address.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).context("not a ws:// address")?;
        let stream = TcpStream::connect(host).context("cannot connect to the browser")?;
        // Pictures and long values come in one message.
        let config = WebSocketConfig::default().max_message_size(Some(256 << 20)).max_frame_size(Some(256 << 20));
        let (socket, _) = tungstenite::client::client_with_config(address, stream, Some(config))
            .map_err(|e| anyhow::anyhow!("the browser refused the DevTools connection: {e}"))?;
        Ok(Self {
            socket,
            last_id: 0,
            answers: HashMap::new(),
            loaded: false,
            console: Vec::new(),
            errors: Vec::new(),
            requests: Vec::new(),
        })
    }

    /// Hears what a page or worker says and asks for, and the same of the workers it starts.
    pub(super) fn observe(&mut self, session: &str) -> Result<()> {
        self.send(Some(session), "Runtime.enable", json!({}))?;
        self.send(Some(session), "Log.enable", json!({}))?;
        // Addresses only: the browser need not keep what it received, a model among it, for us.
        let no_bodies = json!({ "maxTotalBufferSize": 0, "maxResourceBufferSize": 0 });
        self.send(Some(session), "Network.enable", no_bodies)?;
        let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
        self.send(Some(session), "Target.setAutoAttach", attach).map(drop)
    }

    /// Sends a command and waits for its answer.
    pub(super) fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
        limit: Duration,
    ) -> Result<Value> {
        let id = self.send(session, method, parameters)?;
        let start = Instant::now();
        loop {
            if let Some(mut answer) = self.answers.remove(&id) {
                if let Some(error) = answer.get("error") {
                    bail!("the browser refuses {method}: {error}");
                }
                return Ok(answer["result"].take());
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                bail!("the browser did not answer {method} in {limit:?}");
            }
            self.hear(left)?;
        }
    }

    /// Handles what arrives during `time`.
    pub(super) fn listen(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while let left = time.saturating_sub(start.elapsed())
            && !left.is_zero()
        {
            self.hear(left)?;
        }
        Ok(())
    }

    fn send(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Result<u64> {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let message = Message::text(message.to_string());
        self.socket.send(message).with_context(|| format!("cannot send {method} to the browser"))?;
        Ok(self.last_id)
    }

    /// Handles one message, or none if none comes within `limit`.
    fn hear(&mut self, limit: Duration) -> Result<()> {
        self.socket.get_ref().set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let text = match self.socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => return Ok(()),
            Err(tungstenite::Error::Io(e))
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Ok(());
            }
            Err(e) => return Err(e).context("the browser is gone"),
        };
        let mut message: Value = serde_json::from_str(&text).context("the browser sent something that is not JSON")?;
        if let Some(id) = message["id"].as_u64() {
            self.answers.insert(id, message);
            return Ok(());
        }
        let parameters = message["params"].take();
        self.event(message["method"].as_str().unwrap_or_default(), &parameters)
    }

    fn event(&mut self, method: &str, parameters: &Value) -> Result<()> {
        match method {
            "Page.loadEventFired" => self.loaded = true,
            "Target.attachedToTarget" => {
                let session = parameters["sessionId"].as_str().context("a target without a session")?;
                // The page itself is observed by whoever attached to it.
                if parameters["targetInfo"]["type"] != "page" {
                    self.observe(session)?;
                }
            }
            "Runtime.consoleAPICalled" => {
                let values = parameters["args"].as_array().map(Vec::as_slice).unwrap_or_default();
                let text = values.iter().map(describe_value).collect::<Vec<_>>().join(" ");
                self.console.push(format!("{}: {text}", parameters["type"].as_str().unwrap_or_default()));
            }
            "Runtime.exceptionThrown" => self.errors.push(describe_exception(&parameters["exceptionDetails"])),
            "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                let entry = &parameters["entry"];
                let text = entry["text"].as_str().unwrap_or_default();
                self.errors.push(format!("{text} {}", entry["url"].as_str().unwrap_or_default()));
            }
            "Network.requestWillBeSent" => {
                self.requests.extend(parameters["request"]["url"].as_str().map(str::to_owned));
            }
            "Inspector.targetCrashed" => bail!("the page crashed"),
            _ => {}
        }
        Ok(())
    }
}

/// An exception with its stack, as the browser's console would show it.
pub(super) fn describe_exception(details: &Value) -> String {
    let text = details["text"].as_str().unwrap_or_default();
    format!("{text} {}", describe_value(&details["exception"]))
}

fn describe_value(value: &Value) -> String {
    match (&value["value"], &value["description"]) {
        (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone(),
        (plain, _) => plain.to_string(),
    }
}
