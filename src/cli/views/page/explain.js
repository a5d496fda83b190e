const told = Object.fromEntries(data.map((chapter) => [chapter.step, chapter.data]));
const { tokens, vocab_size } = told.tokens;
const CLOSER = {
  tokens: 'tokens',
  vectors: 'words',
  attention: 'attend',
  layers: 'lens',
  softmax: 'next',
  draw: 'generate --show'
};
const note = (...parts) => el('p.note', ...parts);
const keys = (...list) =>
  el(
    'div.keys',
    list.map(([kind, ...what]) => el(`span.key.${kind}`, ...what))
  );
const chips = (...items) => el('div.chips.mono.big', items);
const chip = (text, i, below) => el(`span.token.tint${i % 4}`, piece(text), below);

/** The vector as a grid of cells, the stronger the farther from 0. */
function cells(vector) {
  const most = Math.max(...vector.map(Math.abs), 1e-30);
  return el(
    'div.cells',
    { style: `--cell:${Math.min(18, 380 / Math.sqrt(vector.length))}px` },
    vector.map((x, i) =>
      el(`i.${x < 0 ? 'blue' : 'amber'}`, {
        style: `opacity:${Math.sqrt(Math.abs(x) / most)}`,
        title: `${i}: ${x}`
      })
    )
  );
}

/** A text in which each token has a bar below it, on a scale to `most`, and arcs lead there from the last one. */
function gaze(title, shares, most) {
  const items = tokens.map(({ text }, i) =>
    el(
      'span.token',
      el('span', piece(text)),
      el('i', { style: `height:${(4 * shares[i]) / most}rem` }),
      el('small', whole(shares[i]))
    )
  );
  const over = el('svg', { 'aria-hidden': 'true' });
  const box = el('div.looks', over, el('div.mono', items));
  return el(
    'div',
    el('h3', title),
    sized(box, () => arcs(over, items, tokens.length - 1, shares, 80))
  );
}

/** What attention and MLP of each layer write, before the stream that they add to. */
function writes(list, width) {
  const [left, high] = [44, 240];
  const most = Math.max(...list.flatMap((w) => [w.stream, w.attention, w.mlp]), 1e-30);
  const each = (width - left) / list.length;
  const y = (value) => 10 + high * (1 - value / most);
  const bar = (kind, at, wide, value) =>
    el(
      `rect.bar.${kind}`,
      { x: left + each * at, y: y(value), width: each * wide, height: high + 10 - y(value) },
      el('title', value.toFixed(1))
    );
  const every = Math.ceil(26 / each);
  const mark = +(most / 2.5).toPrecision(1);
  return el(
    'svg.chart',
    { viewBox: `0 0 ${width} ${high + 30}`, role: 'img', 'aria-label': 'Lengths by layer' },
    list.map((w, i) => [
      bar('stream', i, 1.01, w.stream),
      bar('blue', i + 0.14, 0.34, w.attention),
      bar('amber', i + 0.52, 0.34, w.mlp),
      i % every === 0 && el('text', { x: left + each * (i + 0.5), y: high + 26, 'text-anchor': 'middle' }, i)
    ]),
    [0, mark, 2 * mark].map((value) => [
      el('line.axis', { x1: left, x2: width, y1: y(value), y2: y(value) }),
      el('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, value)
    ])
  );
}

/** Depths from the output down to the embedding: what each would say, and how the answer comes up beside it. */
function ladder({ depths }) {
  const order = depths.map((at, depth) => ({ ...at, depth })).reverse();
  const rows = order.map((at) => [
    [el('span.dim', `${at.depth}`.padStart(2), ' '), piece(at.text)],
    at.probability,
    percent(at.probability),
    at.answer_rank === 1 ? 'lit' : ''
  ]);
  const line = (kind, of) =>
    el(`path${kind}`, { d: order.map((at, i) => `${i ? 'L' : 'M'}${100 * of(at)} ${i + 0.5}`).join('') });
  return [
    el(
      'div.ladder',
      bars('What each depth would say', rows),
      el(
        'svg',
        { viewBox: `0 0 100 ${order.length}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        line('.dashed', (at) => 1 - Math.log(at.answer_rank) / Math.log(vocab_size)),
        line('', (at) => at.answer_probability)
      )
    ),
    keys(
      ['blue', 'what a depth would say, the output on top'],
      ['amber', 'the answer, and by a line its probability, 0 to 1'],
      ['grey', `dashed: its rank, from ${grouped(vocab_size)} to 1, by powers`]
    )
  ];
}

/** The parts of the line from 0 to 1, from which more can be drawn by hand. */
function lots({ id, text, u, part_start, part_end, top }) {
  if (u === null) return bars('What is left', ranked(top, id));
  const line = drawing(top, { id, text, u, start: part_start, end: part_end });
  const counts = line.parts.map(() => 0);
  const tally = bars('Draws of each part', []);
  const total = el('p.note', { 'aria-live': 'polite' });
  let n = 0;
  const draw = (times) => {
    for (const end = n + times; n < end; n += 1) counts[line.set(n ? Math.random() : u)] += 1;
    total.textContent = `${plural(n, 'draw')} so far. A tick is the probability.`;
    tally.set(line.parts.map(({ name }, i) => [name(), counts[i] / n, `${grouped(counts[i])}×`]));
  };
  draw(1);
  line.parts.forEach(({ share }, i) =>
    tally.children[i].children[1].append(el('b', { style: `left:${100 * share}%` }))
  );
  const button = (times, name) => el('button', { type: 'button', onclick: () => draw(times) }, name);
  return [
    line.box,
    el('h3', 'Draw from the same parts again'),
    el('div.buttons', button(1, 'Draw again'), button(100, '100 times')),
    total,
    tally
  ];
}

const PICTURES = {
  tokens: () => chips(tokens.map(({ id, text }, i) => chip(text, i, el('small', id)))),
  vectors: ({ token, vector, near }) => [
    el(
      'div.lookup',
      chips(chip(token.text, tokens.length - 1, el('small', token.id))),
      '→',
      el(
        'div.column.mono',
        vector.slice(0, 7).map((x) => el(`span.key.${x < 0 ? 'blue' : 'amber'}`, x.toFixed(4).padStart(7))),
        el('span', '⋮')
      ),
      cells(vector)
    ),
    keys(['blue', 'below 0'], ['amber', 'above 0']),
    el('h3', 'Nearest tokens, by cosine'),
    bars(
      'Nearest tokens',
      near.map((at) => [piece(at.text), Math.max(0, at.cosine), at.cosine.toFixed(3)]),
      { track: false }
    )
  ],
  attention: ({ mean, sharpest }) => {
    const most = Math.max(...mean, ...(sharpest?.row ?? []));
    return [
      note('Arcs lead from the last token, as wide as its share; the bars below are in percent.'),
      el(
        tokens.length > 16 ? 'div' : 'div.two',
        gaze('Mean over all heads', mean, most),
        sharpest && gaze(`Layer ${sharpest.layer}, head ${sharpest.head}`, sharpest.row, most)
      )
    ];
  },
  mlp: ({ writes: list, without }) => {
    const box = el('div');
    return [
      keys(['blue', 'attention writes'], ['amber', 'the MLP writes'], ['grey.stream', 'the stream they add it to']),
      sized(box, (width) => box.replaceChildren(writes(list, width))),
      note('Lengths of the last token’s vectors, by layer.'),
      without && note(`Beside attention: ${without}.`)
    ];
  },
  layers: ladder,
  logits: ({ lowest, highest, top }) => {
    const share = (x) => (x - lowest) / Math.max(highest - lowest, 1e-30);
    return [
      bars(
        'Highest logits',
        top.map((t) => [piece(t.text), share(t.logit), t.logit.toFixed(2)]),
        { track: false }
      ),
      note('Bars begin at the lowest logit.')
    ];
  },
  softmax: ({ plain, bent }) => {
    const after = new Map(bent.top.map((t) => [t.id, t.probability]));
    const pair = (name, p, q, kind = 'grey') => [
      [name, p, percent(p), kind],
      ['', q, percent(q), '']
    ];
    const rows = plain.top.flatMap((t) => pair(piece(t.text), t.probability, after.get(t.id) ?? 0));
    const others = plain.candidates - plain.top.length;
    if (others > 0)
      rows.push(...pair(plural(others, 'other'), Math.max(0, plain.tail), Math.max(0, bent.tail), 'rest'));
    const list = bars('Probabilities, plain and with the temperature', rows);
    list.classList.add('pairs');
    return [keys(['grey', 'softmax alone'], ['blue', `with temperature ${+bent.temperature.toFixed(3)}`]), list];
  },
  draw: lots,
  again: () => [
    chips(
      tokens.map(({ text }, i) => chip(text, i)),
      el('span.token.win', piece(told.draw.text)),
      el('span.token.lit', '?')
    ),
    note('Lit is what passes through the model now; the rest is kept.'),
    el('a', { href: `#${data[0].step}` }, '↑ Once more from the start')
  ]
};

head(
  'explain',
  'From a text to its next token',
  `${data.length} chapters, in the model’s own numbers. Scroll, or step with ← → or j k.`
);
main.classList.add('tour');
main.firstChild.append(
  el(
    'p.hero.mono',
    tokens.map(({ text }) => piece(text, true)),
    el('span.lit', ' ?')
  )
);

const chapters = data.map((chapter, i) =>
  el(
    'section',
    { id: chapter.step },
    el('p.kicker', `${i + 1} / ${data.length}`),
    el('h2', chapter.title),
    el(
      'p',
      chapter.told.split(/(·[\p{L}\p{N}]+)/u).map((part, i) => (i % 2 ? el('span.mono.lit', part) : part))
    ),
    PICTURES[chapter.step]?.(chapter.data),
    CLOSER[chapter.step] && note(`Look closer: whit ${CLOSER[chapter.step]}`)
  )
);
const links = data.map((chapter, i) =>
  el('a', { href: `#${chapter.step}` }, el('b', i + 1), el('span', chapter.step === 'mlp' ? 'MLP' : chapter.step))
);
main.append(el('div.trip', el('nav', { 'aria-label': 'Chapters' }, links), el('div', chapters)));

let [here, going] = [0, null];
const mark = () => {
  const end = scrollY + innerHeight > document.documentElement.scrollHeight - 2;
  const passed = chapters.filter((chapter) => chapter.getBoundingClientRect().top < innerHeight * 0.4).length;
  here = end ? chapters.length - 1 : Math.max(0, passed - 1);
  links.forEach((link, i) => link.setAttribute('aria-current', i === here ? 'step' : 'false'));
};
addEventListener('scroll', mark, { passive: true });
addEventListener('scrollend', () => (going = null));
arrows((by) => {
  going = Math.max(0, Math.min(chapters.length - 1, (going ?? here) + by));
  chapters[going].scrollIntoView();
});
mark();
