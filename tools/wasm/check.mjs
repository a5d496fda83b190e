// Holds whit in WebAssembly against the golden hashes and against the text of the native program, and its kernels against the
// scalar ones where it has others:
// node check.mjs WASM KERNELS GOLDENS PROMPT TEXT WEIGHTS=MODEL...
// KERNELS are scalar or simd128; the text is that of the first model.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Whit } from "./whit.mjs";

const [wasmPath, kernels, goldensPath, prompt, text, ...named] = process.argv.slice(2);
const models = new Map(named.map((argument) => argument.split("=")).map(([name, path]) => [name, readFileSync(path)]));
// Twenty lengths of prompts, with both types of the cache.
const HASHES = 40 * models.size;
// Random inputs of each kernel, besides those of edge lengths.
const CASES = 1000;
const wasm = readFileSync(wasmPath);

// As tools/quantize/tests/goldens makes them.
function promptOf(n, vocabSize) {
  return Array.from({ length: n }, (_, i) => (i * 31 + i * i * 7 + n) % vocabSize);
}

function argmax(logits) {
  return logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
}

async function hash(model, kv, nPrompt, nDecode) {
  const whit = await Whit.open(wasm, model, { contextLength: nPrompt + nDecode, int8Cache: kv === "int8" });
  const sha = createHash("sha256");
  let tokens = promptOf(nPrompt, whit.vocabSize);
  for (let i = 0; i <= nDecode; i += 1) {
    const logits = whit.extend(tokens);
    sha.update(logits);
    tokens = [argmax(new Float32Array(logits.buffer, logits.byteOffset, whit.vocabSize))];
  }
  return sha.digest("hex");
}

let wrong = 0;
let checked = 0;
for (const line of readFileSync(goldensPath, "utf8").split("\n")) {
  const found = /^stories (\w+) (f16|int8) (\d+)\+(\d+) ([0-9a-f]{64})$/.exec(line);
  if (!found || !models.has(found[1])) continue;
  const [, weights, kv, nPrompt, nDecode, want] = found;
  checked += 1;
  if ((await hash(models.get(weights), kv, Number(nPrompt), Number(nDecode))) !== want) {
    console.error(`differs: ${line}`);
    wrong += 1;
  }
}

const [model] = models.values();
const whit = await Whit.open(wasm, model);
const written = prompt + [...whit.write(prompt, { most: 64 })].join("");
if (written.trimEnd() !== text) {
  console.error(`other text:\n${written}\nwanted:\n${text}`);
  wrong += 1;
}
let refused = "";
try {
  await Whit.open(wasm, model.subarray(0, 1000));
} catch (error) {
  refused = error.message;
}
if (!refused) {
  console.error("a cut model was opened");
  wrong += 1;
}

// Compares the kernels. Each comparison must find a bit that is wrong, or it holds nothing.
const { instance } = await WebAssembly.instantiate(wasm, {});
const battery = (cases, spoiled) => {
  const compared = instance.exports.whit_battery(cases, spoiled);
  const { memory, whit_error, whit_error_bytes } = instance.exports;
  const error = () => new Uint8Array(memory.buffer, whit_error() >>> 0, whit_error_bytes());
  return [compared, compared === 0 ? new TextDecoder().decode(error()) : ""];
};
let [compared, difference] = battery(CASES, 0);
if (kernels === "scalar" ? !difference.includes("no kernels but scalar") : difference !== "") {
  console.error(`kernels: ${difference || "there are some"}`);
  wrong += 1;
}
for (let kernel = 1; kernels !== "scalar" && kernel <= instance.exports.whit_battery_kernels(); kernel += 1) {
  if (!battery(0, kernel)[1].startsWith(`${kernels} `)) {
    console.error(`a wrong bit of kernel ${kernel} was not found`);
    wrong += 1;
  }
}
console.log(`${compared} comparisons of kernels with the scalar ones`);
console.log(`${checked} golden hashes, a text of ${written.length} characters, a cut model: ${wrong} wrong`);
process.exit(wrong === 0 && checked === HASHES ? 0 : 1);
