const [info, ...heads] = data;
const { tokens } = info;
const n = tokens.length;
const QUESTIONS = [
  ['previous', 'the token before'],
  ['first', 'the first token'],
  ['same', 'the same token, earlier'],
  ['induction', 'what followed it, earlier']
];
const name = (head) => `${head.layer}.${head.head}`;
const items = tokens.map((token) =>
  el(
    'span.token',
    piece(token.text, true)
      .flat()
      .filter((part) => part !== '\n')
  )
);
const [title, scores, told] = [el('h2'), el('div'), el('p.note', { 'aria-live': 'polite' })];
const over = el('svg', { 'aria-hidden': 'true' });
const looks = el('div.looks', over, el('p.text.mono', items));
const big = el('canvas', { role: 'img' });
const bigBox = el('div.wide', big);
/** The mean share that a head gives to one token that is neither the first nor the one that looks. */
const telling = ({ rows }) => {
  const most = rows.slice(2).map((row) => Math.max(...row.slice(1, -1)));
  return most.reduce((sum, share) => sum + share, 0) / Math.max(1, most.length);
};
const opening = heads.reduce((best, head) => (telling(head) > telling(best) ? head : best));
let [at, from, cell, names] = [opening, n - 1, 0, 0];

const lacking = info.sinks ? ` Here ${info.sinks}.` : '';
head(
  'attend',
  'Context flows in by attention',
  'Each token takes from the tokens before it, from some more than from others. ',
  heads.length > 1
    ? `${plural(heads.length, 'head')} in ${plural(info.layers, 'layer')}, each with a pattern of its own.${info.without ? ` Of these layers, ${info.without}.` : ''}${lacking}`
    : `Here is head ${name(at)}.${lacking}`
);

/** A cell a pixel: a row is a token, a column a position it looks at. */
function thumbnail(canvas, { rows }) {
  const colours = palette();
  canvas.width = canvas.height = n;
  const pen = canvas.getContext('2d');
  rows.forEach((row, t) =>
    row.forEach((share, s) => {
      pen.fillStyle = colours[chance(share)];
      pen.fillRect(s, t, 1, 1);
    })
  );
}

function triangle() {
  const width = bigBox.clientWidth;
  if (!width) return;
  names = width < 400 ? 68 : 104;
  cell = Math.max(13, Math.min(36, Math.floor((width - names) / n)));
  const side = names + n * cell;
  const scale = devicePixelRatio;
  big.width = big.height = side * scale;
  big.style.width = big.style.height = `${side}px`;
  const pen = big.getContext('2d');
  const style = getComputedStyle(document.documentElement);
  const colours = palette();
  pen.scale(scale, scale);
  pen.textBaseline = 'middle';
  pen.font = `12px ${style.getPropertyValue('--mono')}`;
  tokens.forEach(({ text }, t) => {
    const label = text.replace(/ /g, '·').replace(/\s/g, '↵');
    const said = [...label].slice(0, Math.floor(names / 8)).join('');
    pen.fillStyle = style.getPropertyValue(t === from ? '--amber' : '--ink');
    pen.textAlign = 'right';
    pen.fillText(said, names - 6, names + (t + 0.5) * cell);
    pen.save();
    pen.translate(names + (t + 0.5) * cell, names - 6);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = 'left';
    pen.fillStyle = style.getPropertyValue('--ink');
    pen.fillText(said, 0, 0);
    pen.restore();
    at.rows[t].forEach((share, s) => {
      pen.fillStyle = colours[chance(share)];
      pen.fillRect(names + s * cell, names + t * cell, cell - 1, cell - 1);
    });
  });
  pen.strokeStyle = style.getPropertyValue('--lit');
  pen.lineWidth = 2;
  pen.strokeRect(names - 1, names + from * cell - 1, (from + 1) * cell, cell);
}

/** Where the token `from` looks, in the text. */
function draw() {
  const row = at.rows[from];
  const best = row.indexOf(Math.max(...row));
  items.forEach((item, s) => {
    if (s > from) delete item.dataset.h;
    else item.dataset.h = chance(row[s]);
    item.classList.toggle('dim', s > from);
  });
  arcs(over, items, from, row);
  told.replaceChildren(
    el('span.mono.lit', piece(tokens[from].text)),
    ` looks most at `,
    el('span.mono.lit', piece(tokens[best].text)),
    ` (position ${best}), with ${percent(row[best])}.`
  );
  triangle();
  reveal(bigBox, names + best * cell, cell);
}

function select(head) {
  at = head;
  title.textContent = `Layer ${head.layer}, head ${head.head}`;
  big.setAttribute('aria-label', `Pattern of head ${name(head)}: ${n} tokens by the positions they look at`);
  scores.replaceChildren(
    facts(QUESTIONS.filter(([key]) => head[key] !== null).map(([key, what]) => [percent(head[key]), `on ${what}`]))
  );
  if (looks.isConnected) draw();
}

const one = el(
  'section',
  title,
  el(
    'p.note',
    'Choose a token: lines and shades show where it looks. In the triangle a row is a token, a column a position.'
  ),
  scores,
  looks,
  told,
  chances('share'),
  hinted(bigBox)
);
big.addEventListener('click', (event) => {
  const [s, t] = [event.offsetX, event.offsetY].map((x) => Math.floor((x - names) / cell));
  if (t >= 0 && t < n && s <= t) pick(t);
});

if (heads.length > 1) {
  const thumbs = heads.map((head) => el('canvas', { title: `layer ${head.layer}, head ${head.head}` }));
  const seen = new Map(thumbs.map((canvas, i) => [canvas, i]));
  const paint = (canvas) => thumbnail(canvas, heads[seen.get(canvas)]);
  const watch = new IntersectionObserver(
    (entries) =>
      entries
        .filter((entry) => entry.isIntersecting)
        .forEach(({ target }) => {
          watch.unobserve(target);
          drawn(() => paint(target));
        }),
    { rootMargin: '300px' }
  );
  const layers = Array.from({ length: info.layers }, (_, layer) =>
    el('div', { role: 'presentation' }, el('span', layer), thumbs.filter((_, i) => heads[i].layer === layer))
  );
  const gallery = el('div.wide.heads', { style: `--heads:${info.heads}` }, layers);
  main.append(
    el(
      n > 30 ? 'div' : 'div.two',
      section(
        'All heads',
        'A row is a layer, a square a head. First shown is the one that looks hardest, on average, at a token that is neither the first nor its own.',
        hinted(gallery)
      ),
      el('div.side', one)
    )
  );
  const go = choices(
    gallery,
    thumbs,
    (i) => {
      select(heads[i]);
      reveal(gallery, thumbs[i].offsetLeft, thumbs[i].offsetWidth);
    },
    { columns: info.heads, start: heads.indexOf(opening), hover: false, label: 'Heads by layer' }
  );
  thumbs.forEach((canvas) => watch.observe(canvas));
  main.append(
    section(
      'Heads that look most at',
      'Layer.head, with the share of attention that goes there on average.',
      el(
        'div.two',
        QUESTIONS.map(([key, what]) => {
          const best = heads
            .filter((head) => head[key] !== null)
            .sort((a, b) => b[key] - a[key])
            .slice(0, 5);
          return el(
            'div',
            el('h3', what),
            best.length
              ? el(
                  'ul.rank',
                  best.map((head) =>
                    el(
                      'li',
                      el(
                        'button',
                        {
                          type: 'button',
                          onclick: () => {
                            go(heads.indexOf(head));
                            one.scrollIntoView({ block: 'nearest' });
                          }
                        },
                        el('b', name(head)),
                        el('span.dim', ` ${percent(head[key])}`)
                      )
                    )
                  )
                )
              : el('p.note', 'No token occurs twice.')
          );
        })
      )
    )
  );
} else {
  main.append(one);
  select(at);
}
const mean = tokens.map((token, s) => [s, heads.reduce((sum, head) => sum + head.rows[n - 1][s], 0) / heads.length]);
mean.sort((a, b) => b[1] - a[1]);
main.append(
  section(
    'Where the last token looks',
    heads.length > 1 && 'The mean over all heads; the figure before a token is its position.',
    bars(
      'Attention of the last token',
      mean
        .slice(0, 12)
        .map(([s, share]) => [[el('span.dim', `${s} `), piece(tokens[s].text)], share / mean[0][1], percent(share)]),
      { track: false }
    )
  )
);
const pick = choices(
  looks.lastChild,
  items,
  (i) => {
    from = i;
    draw();
  },
  { start: n - 1, label: 'Tokens' }
);
sized(bigBox, draw);
drawn(triangle);
