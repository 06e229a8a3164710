//! The page's entry, its state and its line to the worker.

use std::cell::Cell;
use std::rc::Rc;

use gloo::storage::{LocalStorage as Kept, Storage as _};
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::components::App;
use crate::protocol::{Action, Base, Cause, Command, ModelSource, News, Report};
use crate::state::PageState;
use crate::summary::Summary;

/// Where the browser keeps the choice of a base.
const BASE_KEY: &str = "tmem.base";

/// Entry of the page.
#[wasm_bindgen]
#[allow(unreachable_pub, reason = "what JavaScript calls has to be public")]
pub fn page_main() {
    console_error_panic_hook::set_once();
    mount_to_body(App);
}

/// What the components share: the state to read, and the worker to ask. Copies share it.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// What there is to show.
    pub(crate) state: RwSignal<PageState>,
    /// Whether the frozen twin is asked as well.
    pub(crate) twin: RwSignal<bool>,
    /// The base that the person wants where there is a choice; kept for the next visit.
    base: RwSignal<Base>,
    line: StoredValue<Line, LocalStorage>,
    /// The archive that arrived last, until it is handed to the person.
    archive: RwSignal<Option<(String, JsValue)>, LocalStorage>,
}

struct Line {
    worker: Option<Worker>,
    next_run: Rc<Cell<u64>>,
    /// What was asked for before the worker listened; `None` once it does.
    waiting: Option<Vec<js_sys::Array>>,
    /// The model's file, where the person brought one.
    dropped: Option<web_sys::File>,
}

impl Page {
    /// Starts the worker.
    pub(crate) fn new() -> Self {
        let page = Self {
            state: RwSignal::new(PageState::default()),
            twin: RwSignal::new(true),
            base: RwSignal::new(Kept::get(BASE_KEY).unwrap_or_default()),
            line: StoredValue::new_local(Line {
                worker: None,
                next_run: Rc::new(Cell::new(1)),
                waiting: None,
                dropped: None,
            }),
            archive: RwSignal::new_local(None),
        };
        page.start_worker();
        page.publish();
        page
    }

    /// Keeps `window.tmem.state` (see [`Summary`]) up to date, for programs that drive the page.
    fn publish(self) {
        let summary = Memo::new(move |_| self.state.with(|state| Summary::from(state)));
        let object = js_sys::Object::new();
        // Neither assignment can fail: both objects are ordinary and extensible.
        let _ = js_sys::Reflect::set(&window(), &"tmem".into(), &object);
        Effect::new(move |_| {
            let text = summary.with(serde_json::to_string).unwrap_or_default();
            if let Ok(value) = js_sys::JSON::parse(&text) {
                let _ = js_sys::Reflect::set(&object, &"state".into(), &value);
            }
        });
    }

    /// The page of the component tree this is called in.
    pub(crate) fn here() -> Self {
        use_context().unwrap_or_else(Self::new)
    }

    /// An archive that arrived, with its file name.
    pub(crate) fn archive(self) -> RwSignal<Option<(String, JsValue)>, LocalStorage> {
        self.archive
    }

    /// Asks the worker for something.
    pub(crate) fn send(self, action: Action) {
        self.send_with(action, &JsValue::UNDEFINED);
    }

    /// Asks the worker for something that needs a file.
    pub(crate) fn send_with(self, action: Action, attachment: &JsValue) {
        self.line.update_value(|line| {
            let Some(worker) = &line.worker else { return };
            let run = line.next_run.replace(line.next_run.get() + 1);
            let stop = action == Action::Stop;
            let text = match serde_json::to_string(&Command { run, action }) {
                Ok(text) => text,
                Err(error) => return self.state.update(|state| state.worker_died(&error.to_string())),
            };
            // Stopping is not work of its own: the run it stops stays the one in progress.
            if !stop {
                self.state.update(|state| state.sent(run));
            }
            let letter = js_sys::Array::of2(&JsValue::from(text), attachment);
            match &mut line.waiting {
                Some(waiting) => waiting.push(letter),
                None => post(worker, &letter),
            }
        });
    }

    /// Ends the worker, whatever it does, and loads again in a new one: the dropped model, or the server's where there
    /// is none or it was refused. The conversation was saved after each run.
    pub(crate) fn load_again(self) {
        let refused = self.state.with_untracked(|s| s.failure.as_ref().is_some_and(|f| f.cause == Cause::Model));
        let dropped = self.line.try_update_value(|line| {
            line.dropped.take_if(|_| refused);
            line.dropped.clone()
        });
        match dropped.flatten() {
            Some(file) => self.load_file(&file),
            None => self.load(ModelSource::Server, &JsValue::UNDEFINED),
        }
    }

    /// Loads a model from a file, in a new worker.
    pub(crate) fn load_file(self, file: &web_sys::File) {
        self.line.update_value(|line| line.dropped = Some(file.clone()));
        self.load(ModelSource::File, file);
    }

    /// Loads the model with another base, now and on later visits.
    pub(crate) fn use_base(self, base: Base) {
        self.base.set(base);
        // A browser that keeps nothing forgets the choice with the tab.
        let _ = Kept::set(BASE_KEY, base);
        self.load_again();
    }

    /// What asks for the model from `source`.
    pub(crate) fn load_from(self, source: ModelSource) -> Action {
        Action::Load { source, base: self.base.get_untracked() }
    }

    fn load(self, source: ModelSource, attachment: &JsValue) {
        self.start_worker();
        self.state.update(PageState::restart);
        self.send_with(self.load_from(source), attachment);
    }

    fn start_worker(self) {
        self.line.update_value(|line| {
            if let Some(old) = line.worker.take() {
                old.terminate();
            }
            line.waiting = Some(Vec::new());
            let options = WorkerOptions::new();
            options.set_type(WorkerType::Module);
            match Worker::new_with_options(&worker_address(), &options) {
                Ok(worker) => {
                    self.listen(&worker);
                    line.worker = Some(worker);
                }
                Err(error) => {
                    gloo::console::error!("no worker", error);
                    self.state.update(|state| state.worker_died("This browser cannot start a module worker."));
                }
            }
        });
    }

    fn greeted(self) {
        self.line.update_value(|line| {
            for letter in line.waiting.take().into_iter().flatten() {
                if let Some(worker) = &line.worker {
                    post(worker, &letter);
                }
            }
        });
    }

    fn listen(self, worker: &Worker) {
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let parts = js_sys::Array::from(&event.data());
            let report = parts.get(0).as_string().and_then(|text| serde_json::from_str::<Report>(&text).ok());
            match report {
                Some(Report { news: News::Archive { file_name }, .. }) => {
                    self.archive.set(Some((file_name, parts.get(1))));
                }
                Some(Report { news: News::Hello, .. }) => self.greeted(),
                Some(report) => self.state.update(|state| state.apply(report)),
                None => gloo::console::error!("the page got a message it does not understand"),
            }
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        // Both closures live as long as their worker does; a page starts only a handful.
        on_message.forget();
        let on_error = Closure::<dyn FnMut(ErrorEvent)>::new(move |event: ErrorEvent| {
            let message = format!("The part of the page that runs the model crashed: {}", event.message());
            self.state.update(|state| state.worker_died(&message));
        });
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        on_error.forget();
    }
}

/// The worker's address, with the query of the page's own: it may say which kernels to run.
fn worker_address() -> String {
    format!("worker.js{}", window().location().search().unwrap_or_default())
}

fn post(worker: &Worker, letter: &js_sys::Array) {
    if let Err(error) = worker.post_message(letter) {
        gloo::console::error!("a command could not be sent", error);
    }
}
