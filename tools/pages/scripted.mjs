// A server that answers as `whit serve` with a chat model does, with what it is told to say: for what the real one with its
// model of stories does seldom or never: code, characters of several tokens, a key, a full queue, a fault in midst of a reply.
import { createServer } from 'node:http';

export const KEY = 'sesame';
const SAID = 'Here is a cat 🐈‍⬛ for **you**.\n\n- one\n- two\n\n```html\n<b>"meow"</b>\n```\n\nThe end.';
const OTHERS = [' a', ' dog', ' tree', ' sun', '\n', ' 🐈', ' <i>', ' so', ' red', ' ball', ' of'];

const encoder = new TextEncoder();
const numbers = new Map();
const numberOf = (name) => numbers.get(name) ?? numbers.set(name, numbers.size + 10).get(name);

/** Pieces as a tokenizer makes them: words with the space before them; a character of four bytes is two. */
const pieces = [...SAID.matchAll(/\n+| ?\w+| ?[^\s\w]/gu)].flatMap(([text]) => {
  const bytes = [...encoder.encode(text)];
  return bytes.some((byte) => byte >= 0xf0) ? [bytes.slice(0, -2), bytes.slice(-2)] : [bytes];
});

function token(bytes, end) {
  const decoded = new TextDecoder().decode(new Uint8Array(bytes));
  const own = {
    id: numberOf(end ? 'end' : bytes.join()),
    text: end ? '<|end|>' : decoded,
    probability: 0.5,
    bytes,
    ...(end && { end })
  };
  const others = OTHERS.map((text, i) => ({
    id: numberOf([...encoder.encode(text)].join()),
    text,
    probability: 0.2 / 2 ** i
  }));
  const top = [own, ...others.filter(({ id }) => id !== own.id)];
  const stages = [
    { name: 'logits', n_candidates: 1000, top },
    { name: 'top-p', n_candidates: 2, top: top.slice(0, 2).map((one, i) => ({ ...one, probability: [0.7, 0.3][i] })) }
  ];
  return {
    id: own.id,
    text: end ? '' : decoded,
    bytes: end ? [] : bytes,
    probability: 0.5,
    rank: 0,
    surprise_bits: 1,
    top,
    stages,
    draw: 0.25,
    ...(end && { end })
  };
}

async function answer(request, response, heard) {
  const json = (status, value, more) => {
    response.writeHead(status, { 'Content-Type': 'application/json', ...more });
    response.end(JSON.stringify(value));
  };
  const refuse = (status, message, more) =>
    json(status, { error: { message, type: 'server_error', code: null, param: null } }, more);
  if (request.headers.authorization !== `Bearer ${KEY}`) return refuse(401, 'this server wants a key');
  if (request.url === '/whit/status') {
    const defaults = { temperature: 0.8, top_k: 0, top_p: 0.95, min_p: 0, repeat_penalty: 1 };
    return json(200, {
      model: 'scripted',
      context_length: 2048,
      queue: 0,
      active: 0,
      decode_tokens_per_second: null,
      temperature_celsius: 51.5,
      chat: true,
      defaults,
      version: '0'
    });
  }
  const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
  heard.push(body);
  const asked = body.messages.at(-1).content;
  const nth = heard.filter(({ messages }) => messages.at(-1).content === asked).length;
  if (asked === 'wait' && nth === 1) return refuse(503, 'the queue is full', { 'Retry-After': '1' });
  if (asked === 'wrong') return refuse(400, 'top_p is 3, more than 1');
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  const send = (value) => response.write(`data: ${JSON.stringify(value)}\r\n\r\n`);
  const chunk = (content, tokens, reason = null) =>
    send({ choices: [{ index: 0, delta: { content }, finish_reason: reason, whit: { tokens } }] });
  const begin = body.whit.begin?.length ?? 0;
  const decoder = new TextDecoder();
  for (const bytes of pieces.slice(begin % pieces.length)) {
    // Says no more until nobody listens.
    if (asked === 'pause' && bytes === pieces[5]) return new Promise((done) => response.on('close', done));
    if (asked === 'break' && !begin && bytes === pieces[5]) {
      send({ error: { message: 'the model met a number that is none' } });
      return response.end();
    }
    chunk(decoder.decode(new Uint8Array(bytes), { stream: true }), [token(bytes)]);
    await new Promise((done) => setTimeout(done, 3));
  }
  chunk('', [token([], true)], 'stop');
  send({
    choices: [],
    usage: { prompt_tokens: 30 + begin, completion_tokens: pieces.length, prompt_tokens_details: { cached_tokens: 20 } }
  });
  response.end('data: [DONE]\n\n');
}

/** Starts one that shows `page`; what it was asked comes into `heard`. */
export async function serve(page) {
  const heard = [];
  const server = createServer((request, response) => {
    if (request.url !== '/') return answer(request, response, heard);
    response.writeHead(200, {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy':
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    });
    response.end(page);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { heard, said: SAID, url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}
