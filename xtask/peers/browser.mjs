// A peer in headless Chromium: serves its page, waits for the page's result, prints it as one JSON object.
//
//   node browser.mjs --modules FOLDER --page wllama.html --model FILE.gguf --chromium PATH --backend wasm|webgpu
//                    --threads N --prompt N --generate N --timeout SECONDS [--models FOLDER]
//
// --modules is the node_modules that install.sh made, --models a folder with models of other formats than GGUF.
// Everything but the result goes to stderr.

import { createReadStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    modules: { type: "string" },
    page: { type: "string" },
    model: { type: "string" },
    models: { type: "string", default: "" },
    chromium: { type: "string" },
    backend: { type: "string", default: "wasm" },
    threads: { type: "string" },
    prompt: { type: "string", default: "512" },
    generate: { type: "string", default: "64" },
    timeout: { type: "string", default: "600" },
  },
});

const here = dirname(fileURLToPath(import.meta.url));
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** The file behind an address, or undefined. */
function fileOf(path) {
  if (path === "/model.gguf") return options.model;
  const inside = normalize(decodeURIComponent(path));
  const folders = { "/modules/": options.modules, "/models/": options.models };
  const prefix = Object.keys(folders).find((prefix) => inside.startsWith(prefix));
  return prefix ? join(folders[prefix], inside.slice(prefix.length)) : join(here, inside);
}

// WASM threads need a shared memory, and that needs the page to be isolated from other origins.
const server = createServer((request, response) => {
  const headers = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
  };
  const path = new URL(request.url, "http://localhost").pathname;
  if (path === "/favicon.ico") {
    response.writeHead(204, headers).end();
    return;
  }
  const file = fileOf(path);
  const found = statSync(file, { throwIfNoEntry: false });
  if (!found?.isFile()) {
    response.writeHead(404, headers).end();
    return;
  }
  const type = types[extname(file)] ?? "application/octet-stream";
  response.writeHead(200, { ...headers, "Content-Type": type, "Content-Length": found.size });
  if (request.method === "HEAD") response.end();
  else createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const puppeteerFolder = join(options.modules, "puppeteer-core");
const puppeteerEntry = JSON.parse(readFileSync(join(puppeteerFolder, "package.json"), "utf8")).exports["."].import;
const { default: puppeteer } = await import(pathToFileURL(join(puppeteerFolder, puppeteerEntry)).href);

const profile = mkdtempSync(join(tmpdir(), "tmem-peers-"));
let browser;
let status = 1;
try {
  browser = await puppeteer.launch({
    executablePath: options.chromium,
    userDataDir: profile,
    // The page may be busy for minutes without answering DevTools.
    protocolTimeout: 1000 * Number(options.timeout),
    args: [
      "--headless=new",
      "--no-sandbox",
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const page = await browser.newPage();
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(`uncaught: ${error.message ?? error}`));
  const version = (directory) =>
    JSON.parse(readFileSync(join(options.modules, directory, "package.json"), "utf8")).version;
  const query = new URLSearchParams({
    backend: options.backend,
    threads: options.threads,
    prompt: options.prompt,
    generate: options.generate,
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/${options.page}?${query}`);
  try {
    const handle = await page.waitForFunction("window.result", { timeout: 1000 * Number(options.timeout) });
    const result = await handle.jsonValue();
    if (process.env.TMEM_PEERS_LOG) process.stderr.write(`${said.join("\n")}\n`);
    if (result.error) throw new Error(result.error);
    result.version = `${version(result.package)} in ${await browser.version()}`;
    process.stdout.write(`${JSON.stringify(result)}\n`);
    status = 0;
  } catch (error) {
    process.stderr.write(`${said.slice(-20).join("\n")}\n${options.page}: ${error.message}\n`);
  }
} finally {
  await browser?.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(status);
