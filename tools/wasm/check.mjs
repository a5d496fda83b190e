// Holds whit in WebAssembly against the golden hashes and against the text of the native program:
// node check.mjs WASM MODEL GOLDENS PROMPT TEXT

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Whit } from "./whit.mjs";

const [wasmPath, modelPath, goldensPath, prompt, text] = process.argv.slice(2);
// Twenty lengths of prompts, with both types of the cache.
const HASHES = 40;
const [wasm, model] = [readFileSync(wasmPath), readFileSync(modelPath)];

// As tools/quantize/tests/goldens makes them.
function promptOf(n, vocabSize) {
  return Array.from({ length: n }, (_, i) => (i * 31 + i * i * 7 + n) % vocabSize);
}

function argmax(logits) {
  return logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
}

async function hash(kv, nPrompt, nDecode) {
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
  const found = /^stories int8 (f16|int8) (\d+)\+(\d+) ([0-9a-f]{64})$/.exec(line);
  if (!found) continue;
  const [, kv, nPrompt, nDecode, want] = found;
  checked += 1;
  if ((await hash(kv, Number(nPrompt), Number(nDecode))) !== want) {
    console.error(`differs: ${line}`);
    wrong += 1;
  }
}

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
console.log(`${checked} golden hashes, a text of ${written.length} characters, a cut model: ${wrong} wrong`);
process.exit(wrong === 0 && checked === HASHES ? 0 : 1);
