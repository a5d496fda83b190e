// Makes of a page of `whit attend` or `whit lens` that of a model with five times as many layers, which are those of the first
// model again and again. Usage: node deepen.mjs PAGE DEEP_PAGE
import { readFileSync, writeFileSync } from 'node:fs';

const TIMES = 5;
const DATA = /(?<=<script type="application\/json" id="data">)[^]*?(?=<\/script>)/;

const again = (list) => Array.from({ length: TIMES }, () => list).flat();

/** Heads of more layers. */
function attend([info, ...heads]) {
  const deep = again(heads).map((head, i) => ({ ...head, layer: Math.floor(i / info.heads) }));
  return [{ ...info, layers: TIMES * info.layers }, ...deep];
}

/** Positions with more depths: the embedding stays the first. */
function lens(positions) {
  return positions.map(({ depths: [embedding, ...depths], writes, ...position }) => ({
    ...position,
    depths: [embedding, ...again(depths)],
    writes: again(writes)
  }));
}

const [from, to] = process.argv.slice(2);
const deepen = (data) => (data[0].heads ? attend(data) : lens(data));
const html = readFileSync(from, 'utf8');
writeFileSync(
  to,
  html.replace(DATA, (data) => JSON.stringify(deepen(JSON.parse(data))).replaceAll('<', '\\u003c'))
);
