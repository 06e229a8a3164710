// The worker owns the GPU and the model. It runs the same module as the page, by its other entry.
import init, { worker_main } from "./tmem_web.js";

// A panic in a task ends as a rejected promise, which nobody on the page hears of; an error event it does.
self.addEventListener("unhandledrejection", (event) => self.reportError(event.reason));

await init();
worker_main();
