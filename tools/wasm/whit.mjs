// A model in WebAssembly: texts and logits. `wasm` and `model` are the bytes of the two files.

const SCRATCH_BYTES = 1 << 16;

export class Whit {
  static async open(wasm, model, { contextLength = 256, int8Cache = false } = {}) {
    const { instance } = await WebAssembly.instantiate(wasm, {});
    return new Whit(instance.exports, model, contextLength, int8Cache);
  }

  constructor(exports, model, contextLength, int8Cache) {
    this.exports = exports;
    const at = exports.whit_memory(model.length) >>> 0;
    this.bytes(at, model.length).set(model);
    this.scratch = exports.whit_memory(SCRATCH_BYTES) >>> 0;
    this.vocabSize = this.need(exports.whit_open(at, model.length, contextLength, int8Cache));
  }

  // Memory moves when it grows: a view lasts until the next call.
  bytes(at, length) {
    return new Uint8Array(this.exports.memory.buffer, at, length);
  }

  // A number or an address, which comes signed; 0 is an error.
  need(value) {
    if (value !== 0) return value >>> 0;
    const { whit_error, whit_error_bytes } = this.exports;
    throw new Error(new TextDecoder().decode(this.bytes(whit_error() >>> 0, whit_error_bytes())));
  }

  fits(bytes) {
    if (bytes > SCRATCH_BYTES) throw new Error(`the prompt has ${bytes} bytes, at most ${SCRATCH_BYTES} fit`);
  }

  // The logits after `tokens`, as bytes of f32; valid until the next call.
  extend(tokens) {
    this.fits(4 * tokens.length);
    new Uint32Array(this.exports.memory.buffer, this.scratch, tokens.length).set(tokens);
    const at = this.need(this.exports.whit_extend(this.scratch, tokens.length));
    return this.bytes(at, 4 * this.vocabSize);
  }

  // The pieces of a text that goes on after `prompt`, up to `most` tokens.
  *write(prompt, { temperature = 0, seed = 0n, most = 128 } = {}) {
    const { length } = new TextEncoder().encode(prompt);
    this.fits(length);
    new TextEncoder().encodeInto(prompt, this.bytes(this.scratch, SCRATCH_BYTES));
    this.need(this.exports.whit_begin(this.scratch, length, temperature, seed));
    for (let i = 0; i < most; i += 1) {
      const at = this.need(this.exports.whit_next());
      yield new TextDecoder().decode(this.bytes(at, this.exports.whit_next_bytes()));
      if (this.exports.whit_ended()) return;
    }
  }
}
