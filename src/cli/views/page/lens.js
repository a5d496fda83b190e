const depths = data[0].depths.length;
const n = data.length;
const answer = (column) => column.depths.at(-1).top[0];
const last = data.at(-1);
const when = el('div');
const [title, likely] = [el('b'), el('div')];
let at = last;

head(
  'lens',
  'What each layer would say',
  'If the model stopped after a layer and read its answer there, this is the token it would give. ',
  'After the last token, ',
  el('span.mono.lit', piece(answer(last).text)),
  ` is first on top at depth ${last.answer_appears} of ${depths - 1}`,
  last.answer_stays > last.answer_appears ? ` and stays there from ${last.answer_stays} on.` : '.'
);

const order = Array.from({ length: depths }, (_, i) => depths - 1 - i);
const cells = order.flatMap((depth) =>
  data.map((column) => {
    const {
      top: [best],
      answer_rank
    } = column.depths[depth];
    const kind = (answer_rank === 1 ? '.agree' : '') + (depth === column.answer_appears ? '.first' : '');
    return el(
      `td${kind}`,
      { 'data-h': chance(best.probability) },
      piece(best.text),
      el('small', whole(best.probability))
    );
  })
);
const names = () =>
  el(
    'tr',
    { role: 'row' },
    el('th', { scope: 'col' }, 'after'),
    data.map((column) => el('th', { scope: 'col' }, piece(column.text)))
  );
const table = el(
  'table',
  el('thead', names()),
  el(
    'tbody',
    order.map((depth, row) =>
      el('tr', { role: 'row' }, el('th', { scope: 'row' }, depth), cells.slice(row * n, (row + 1) * n))
    )
  ),
  depths > 12 && el('tfoot', names())
);

/** The answer's probability over what each block writes, both by depth. */
function chart(width) {
  const [left, right, h1, gap, h2] = [44, 8, 150, 46, 150];
  const x = (depth) => left + ((width - left - right) * (depth + 0.5)) / depths;
  const [base1, base2] = [16 + h1, 16 + h1 + gap + h2];
  const shares = at.writes.map((w) => [w.attention, w.mlp].map((written) => written / Math.max(w.stream, 1e-30)));
  const most = Math.max(...shares.flat());
  const high = (share) => h2 * Math.sqrt(share / most);
  const bar = Math.max(1.5, (x(1) - x(0)) / 2 - 1);
  const rule = (y, label) => [
    el('line.axis', { x1: left, x2: width - right, y1: y, y2: y }),
    el('text', { x: left - 6, y: y + 4, 'text-anchor': 'end' }, label)
  ];
  const marks = [1, 0.1, 0.01]
    .map((part) => 10 ** Math.floor(Math.log10(most)) * part)
    .filter((mark) => high(mark) > 14);
  const every = Math.ceil((depths * 26) / (width - left));
  const ticks = order
    .filter((depth) => depth % every === 0)
    .map((depth) => el('text', { x: x(depth), y: base1 + 16, 'text-anchor': 'middle' }, depth));
  const path = at.depths
    .map((reading, depth) => `${depth ? 'L' : 'M'}${x(depth)} ${base1 - h1 * reading.answer_probability}`)
    .join('');
  const { answer_appears: first } = at;
  return el(
    'svg.chart',
    {
      viewBox: `0 0 ${width} ${base2 + 8}`,
      role: 'img',
      'aria-label': 'Probability of the answer, and what blocks write, by depth'
    },
    [0, 0.5, 1].map((p) => rule(base1 - h1 * p, `${100 * p} %`)),
    ticks,
    el('path', { d: path, fill: 'none', stroke: 'var(--lit)', 'stroke-width': 2.5, 'stroke-linejoin': 'round' }),
    el('circle', {
      cx: x(first),
      cy: base1 - h1 * at.depths[first].answer_probability,
      r: 5,
      fill: 'var(--card)',
      stroke: 'var(--lit)',
      'stroke-width': 2.5
    }),
    rule(base2, '0'),
    marks.map((mark) => rule(base2 - high(mark), `${+mark.toPrecision(1)}×`)),
    shares.map((pair, block) =>
      pair.map((share, i) =>
        el(
          `rect.bar.${i ? 'amber' : 'blue'}`,
          { x: x(block + 0.5) + (i - 1) * bar, y: base2 - high(share), width: bar - 0.5, height: high(share) },
          el('title', `block ${block}: ${share.toFixed(3)}`)
        )
      )
    )
  );
}

const wide = el('div.wide.lens', table);
const box = el('div');
const redraw = () => box.clientWidth && box.replaceChildren(chart(box.clientWidth));
main.append(
  el(
    n > 6 ? 'div' : 'div.two.split',
    section(
      'Layer by layer',
      'Rows are depths, from the embedding at the bottom to the output on top; columns are positions. Choose a cell.',
      chances(),
      el('p.keys', el('span.key.amber', 'edge: the final answer is on top; frame: for the first time')),
      el('div.detail.brief', { 'aria-live': 'polite' }, title, when),
      hinted(wide)
    ),
    el(
      'div.side',
      el(
        n > 6 ? 'section.two' : 'section',
        el('div', el('h3', 'Most probable tokens there'), likely),
        el(
          'div',
          el('h3', 'How the answer comes about, by depth'),
          el('div.keys', el('span.key.amber', 'above: probability of the answer')),
          box,
          el('div.keys', el('span.key.blue', 'attention'), el('span.key.amber', 'MLP')),
          el(
            'p.note',
            'Below: what each block writes, as a multiple of the stream before it (heights by square root).'
          )
        )
      )
    )
  )
);
choices(
  table,
  cells,
  (i) => {
    at = data[i % n];
    const depth = order[Math.floor(i / n)];
    const reading = at.depths[depth];
    const final = answer(at);
    title.replaceChildren('At depth ', `${depth}, after `, el('span.mono', ...piece(at.text)));
    likely.replaceChildren(bars('Most probable tokens', ranked(reading.top, final.id)));
    when.replaceChildren(
      'The final answer is ',
      el('span.mono.lit', piece(final.text)),
      `; here its rank is ${grouped(reading.answer_rank)}, with ${percent(reading.answer_probability)}.`
    );
    redraw();
  },
  { columns: n, start: n - 1, roles: ['grid', 'gridcell'], label: 'Readings' }
);
sized(box, redraw);
reveal(wide, wide.scrollWidth, 0);
