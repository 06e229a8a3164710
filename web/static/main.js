import init, { page_main } from "./tmem_web.js";

try {
  await init();
  page_main();
  document.getElementById("opening").remove();
} catch (error) {
  const note = document.getElementById("no-start");
  note.textContent = `This page could not start: ${error}. It needs a current browser with WebAssembly.`;
  note.hidden = false;
  document.getElementById("opening-note").hidden = true;
  throw error;
}
