//! The worker: owns the GPU, the model and the agent.

mod adapter_file;
mod conversation;
mod exchange;
mod failure;
mod load;
mod model_file;
mod reporter;
mod service;
mod session;

use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use tmem_core::abort::Abort;
use wasm_bindgen::prelude::*;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::protocol::{Action, Command, News};
use reporter::Reporter;
use service::Service;

/// How often an idle worker looks whether its device is still there.
const WATCH_MILLISECONDS: u32 = 2000;
/// How long it waits for the next command before it prepares what a later one will need.
const IDLE_MILLISECONDS: u32 = 700;

/// Entry of the worker.
#[wasm_bindgen]
#[allow(unreachable_pub, reason = "what JavaScript calls has to be public")]
pub fn worker_main() {
    console_error_panic_hook::set_once();
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let abort = Abort::default();
    let inbox = listen(&scope, &abort);
    let reporter = Reporter::new(scope);
    reporter.send(0, News::Hello);
    wasm_bindgen_futures::spawn_local(serve(inbox, reporter, abort));
}

/// A command with its attachment (`undefined` where it has none).
struct Letter {
    command: Command,
    attachment: JsValue,
}

/// Queues what arrives. Stopping does not queue: it has to overtake the run it stops.
fn listen(scope: &DedicatedWorkerGlobalScope, abort: &Abort) -> mpsc::UnboundedReceiver<Letter> {
    let (sender, receiver) = mpsc::unbounded();
    let abort = abort.clone();
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let parts = js_sys::Array::from(&event.data());
        let Some(command) = parts.get(0).as_string().and_then(|text| serde_json::from_str::<Command>(&text).ok())
        else {
            gloo::console::error!("the worker got a message it does not understand");
            return;
        };
        if command.action == Action::Stop {
            abort.abort();
        }
        // Stop is queued as well, so that it gets its `Finished`. The receiver lives as long as the worker.
        let _ = sender.unbounded_send(Letter { command, attachment: parts.get(1) });
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    receiver
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Letter>, reporter: Reporter, abort: Abort) {
    let mut service = Service::new(reporter.clone(), abort.clone());
    let mut wait = WATCH_MILLISECONDS;
    loop {
        let letter = match select(inbox.next(), TimeoutFuture::new(wait)).await {
            Either::Left((Some(letter), _)) => letter,
            Either::Left((None, _)) => return,
            Either::Right(_) => {
                if let Some(failure) = service.failure() {
                    reporter.send(0, News::Failed(failure));
                }
                // One piece after the other, and whatever has arrived comes first.
                wait = if service.prepare().await { 0 } else { WATCH_MILLISECONDS };
                continue;
            }
        };
        let Letter { command, attachment } = letter;
        let run = command.run;
        abort.clear();
        if let Err(failure) = service.handle(run, command.action, attachment).await {
            reporter.send(run, News::Failed(failure));
        }
        reporter.send(run, News::Finished);
        wait = IDLE_MILLISECONDS;
    }
}
