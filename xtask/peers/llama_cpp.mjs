// llama.cpp by way of node-llama-cpp: prompt and decode speed of a GGUF file, on the CPU or on a Vulkan adapter.
//
//   node llama_cpp.mjs --modules FOLDER --model FILE.gguf --backend cpu|vulkan --threads N --prompt N --generate N
//
// FOLDER is the node_modules that install.sh made. One JSON object goes to stdout, everything else to stderr.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    modules: { type: "string" },
    model: { type: "string" },
    backend: { type: "string" },
    threads: { type: "string" },
    prompt: { type: "string", default: "512" },
    generate: { type: "string", default: "64" },
  },
});
const threads = Number(options.threads);
const promptTokens = Number(options.prompt);
const generatedTokens = Number(options.generate);
const vulkan = options.backend === "vulkan";

const package_ = join(options.modules, "node-llama-cpp");
const { getLlama } = await import(pathToFileURL(join(package_, "dist", "index.js")).href);
const packageVersion = JSON.parse(readFileSync(join(package_, "package.json"), "utf8")).version;

// What llama.cpp logs while it loads is the only account of where the weights really went: getLlama's own answer
// names the build, which says Vulkan also where no layer is there.
const log = [];
const llama = await getLlama({
  gpu: vulkan ? "vulkan" : false,
  build: "never",
  skipDownload: true,
  maxThreads: threads,
  // An emulated adapter reports the machine's own memory; nothing is to be held back of it.
  vramPadding: 0,
  logLevel: "info",
  logger: (_level, message) => log.push(message.trimEnd()),
});
const model = await llama.loadModel({ modelPath: options.model, gpuLayers: vulkan ? "max" : 0 });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, sequences: 1, threads });
const sequence = context.getSequence();

const text = "The old lighthouse keeper wrote down the weather every evening. ".repeat(64);
const longPrompt = model.tokenize(text).slice(0, promptTokens);
const shortPrompt = model.tokenize(
  "<|im_start|>user\nTell me a long story about a lighthouse keeper who wrote 1 letters.<|im_end|>\n" +
    "<|im_start|>assistant\n",
  true,
);
if (longPrompt.length !== promptTokens) throw new Error(`the text makes only ${longPrompt.length} tokens`);

const seconds = () => performance.now() / 1000;

/** Seconds until the first token after a prompt. */
async function prefill(tokens) {
  await sequence.clearHistory();
  const began = seconds();
  const generation = sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true });
  await generation.next();
  const took = seconds() - began;
  await generation.return();
  return took;
}

/** Seconds of `count` tokens after the first one. */
async function decode(tokens, count) {
  await sequence.clearHistory();
  const generation = sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true });
  await generation.next();
  const began = seconds();
  for (let i = 0; i < count; i++) {
    if ((await generation.next()).done) throw new Error(`the generation ended after ${i} tokens`);
  }
  const took = seconds() - began;
  await generation.return();
  return took;
}

// As in `trainer bench --quick`: once for what is made on first use, once that counts, with another first token.
await prefill(longPrompt);
const prefillSeconds = await prefill([...longPrompt.slice(1), longPrompt[0]]);
await decode(shortPrompt, generatedTokens);
const decodeSeconds = await decode(shortPrompt, generatedTokens);

const find = (pattern) => log.map((line) => pattern.exec(line)).find(Boolean);
const offloaded = find(/offloaded (\d+)\/(\d+) layers to GPU/);
const buffers = log.map((line) => /(\S+) model buffer size = +([\d.]+ MiB)/.exec(line)).filter(Boolean);
const devices = await llama.getGpuDeviceNames();
const report = {
  peer: "llama.cpp",
  version: `${llama.llamaCppRelease.release} (node-llama-cpp ${packageVersion})`,
  device: llama.gpu === false ? "CPU" : `Vulkan: ${devices.join(", ") || "no device"}`,
  threads: context.currentThreads,
  gpu_layers: offloaded ? Number(offloaded[1]) : model.gpuLayers,
  layers: offloaded ? Number(offloaded[2]) : model.fileInsights.totalLayers,
  buffers: buffers.map(([, name, size]) => `${name} ${size}`),
  cpu_features: llama.systemInfo,
  prompt_tokens: promptTokens,
  generated_tokens: generatedTokens,
  prompt_tokens_per_s: promptTokens / prefillSeconds,
  decode_tokens_per_s: generatedTokens / decodeSeconds,
};
if (process.env.TMEM_PEERS_LOG) process.stderr.write(`${log.join("\n")}\n`);
process.stdout.write(`${JSON.stringify(report)}\n`);
await llama.dispose();
process.exit(0);
