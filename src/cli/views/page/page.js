'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const main = document.querySelector('main');
const DRAWN = new Set(['svg', 'g', 'path', 'line', 'rect', 'circle', 'text']);
const MARKS = { ' ': '·', '\n': '↵', '\t': '→' };
// What would be invisible or turn the line around.
const HIDDEN = /([ \p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff])/u;

/** An element `tag.class.class`; parts are its attributes and listeners (`onclick`) in objects, and its children. */
function el(of, ...parts) {
  const [tag, ...classes] = of.split('.');
  const space = DRAWN.has(tag) ? 'http://www.w3.org/2000/svg' : 'http://www.w3.org/1999/xhtml';
  const node = document.createElementNS(space, tag);
  if (classes.length) node.setAttribute('class', classes.join(' '));
  for (const part of parts.flat(Infinity)) {
    if (part == null || part === false) continue;
    if (typeof part !== 'object' || part instanceof Node) {
      node.append(part);
      continue;
    }
    for (const [name, value] of Object.entries(part)) {
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else if (value != null && value !== false) node.setAttribute(name, value);
    }
  }
  return node;
}

/** A token's text with every character visible; in `prose` spaces stay spaces and lines break. */
function piece(text, prose) {
  return text
    .split(HIDDEN)
    .filter(Boolean)
    .map((part) => {
      if (!HIDDEN.test(part) || (prose && part === ' ')) return part;
      const mark = MARKS[part] ?? `\\u{${part.codePointAt(0).toString(16)}}`;
      return [el('i.mark', mark), prose && part === '\n' && '\n'];
    });
}

/** A text of `items`, the tokens with these `texts`: spaces that come together are kept. */
const prose = (texts, ...items) =>
  el('p.text.mono', /[ \t]{2}|\n[ \t]/.test(texts.join('')) && { style: 'white-space:pre-wrap' }, items);

const grouped = (n) => n.toLocaleString('en');
const plural = (n, what) => `${grouped(n)} ${what}${n === 1 ? '' : 's'}`;

/** A share of 1 in percent, with the digits that it has in a terminal. */
function percent(p) {
  const figure = () => {
    if (p <= 0) return '0';
    if (p >= 1) return (100 * p).toFixed(0);
    if (p >= 0.9995) return '>99.9';
    if (p < 0.000095) return '<0.01';
    return (100 * p).toFixed(p < 0.0095 ? 2 : 1);
  };
  return `${figure()}\u202f%`;
}

/** A share in whole percent, for a cell. */
const whole = (p) => (p > 0 && p < 0.005 ? '<1' : (100 * p).toFixed(0));

/** Entropy, and the number of equal choices that would be as uncertain. */
const entropy = (bits) => [
  [`${bits.toFixed(2)} bits`, 'entropy'],
  [(2 ** bits).toFixed(1), 'equal choices, as uncertain']
];

function head(command, title, ...lede) {
  main.append(el('header', el('p.kicker', `whit ${command}`), el('h1', title), el('p.lede', ...lede)));
}

function section(title, note, ...parts) {
  return el('section', el('h2', title), note && el('p.note', note), ...parts);
}

/** `box`, which scrolls if it is too wide, below a line that says so and to which side. */
function hinted(box) {
  const hint = el('p.hint', { 'aria-hidden': 'true' });
  const look = () => {
    const more = box.scrollWidth - box.clientWidth;
    const [before, behind] = [box.scrollLeft > 2, box.scrollLeft < more - 2];
    hint.textContent = more > 2 ? `${before ? '← ' : ''}scroll for more${behind ? ' →' : ''}` : '';
    box.classList.toggle('behind', behind && more > 2);
  };
  box.addEventListener('scroll', look, { passive: true });
  const sizes = new ResizeObserver(look);
  [box, ...box.children].forEach((node) => sizes.observe(node));
  return [hint, box];
}

/** Scrolls `box` to what lies `left` in it and is `width` wide, unless that is seen already. */
function reveal(box, left, width) {
  const seen = left >= box.scrollLeft && left + width <= box.scrollLeft + box.clientWidth;
  if (!seen) box.scrollLeft = left - (box.clientWidth - width) / 2;
}

/** What scrolls if it is too wide. */
const region = (label, ...parts) =>
  hinted(el('div.wide', { tabindex: 0, role: 'region', 'aria-label': label }, ...parts));

/** Figures over what they are. */
const facts = (list) =>
  el(
    'dl.facts',
    list.map(([value, what]) => el('div', el('dt', what), el('dd', value)))
  );

/** Steps of the scale: 0 to 9 for a share of 0 to 1. */
const step = (share) => Math.max(0, Math.min(9, Math.floor(share * 10)));

/** The step of a probability: the scale has equal steps of its square root, or what is small would be lost. */
const chance = (p) => step(Math.sqrt(p));

/** The scale, with the value at which each of its steps begins. */
function legend(what, values) {
  return el(
    'div.legend',
    el('span', what),
    el(
      'span',
      values.map((value, i) => el('i', { 'data-h': i }, value))
    )
  );
}

const chances = (what = 'probability') =>
  legend(`${what} from, %`, ['0', '1', '4', '9', '16', '25', '36', '49', '64', '81']);

/** The colours of the scale, for a canvas. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  return Array.from({ length: 10 }, (_, i) => style.getPropertyValue(`--h${i}`).trim());
}

/** Calls `draw` now and whenever the colours of the screen change. */
function drawn(draw) {
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

/** Draws into `box` what `draw` makes for its width, now and whenever that changes. */
function sized(box, draw) {
  let width;
  new ResizeObserver(() => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    draw(width);
  }).observe(box);
  return box;
}

/**
 * Rows of bars; `set` takes [label, share of the width, figure, class] of each and moves them there. A track is drawn where
 * its full length is 100 %, not where the largest bar is as long as there is room.
 */
function bars(label, rows, { track = true } = {}) {
  const list = el(track ? 'ol.bars' : 'ol.bars.loose', { 'aria-label': label });
  list.set = (rows) =>
    rows.forEach(([name, share, figure, kind = ''], i) => {
      const row = list.children[i] ?? list.appendChild(el('li', el('span'), el('div.track', el('i')), el('span')));
      const [first, track, last] = row.children;
      row.className = kind;
      first.replaceChildren(...[name].flat(Infinity).filter(Boolean));
      track.firstChild.style.transform = `scaleX(${share})`;
      last.textContent = figure;
    });
  list.set(rows);
  return list;
}

/** The most probable tokens as rows of bars, `others` of them, which have `tail` together, in one more. */
function ranked(top, lit, tail = 0, others = 0) {
  const rows = top.map((t) => [piece(t.text), t.probability, percent(t.probability), t.id === lit ? 'lit' : '']);
  if (others > 0) rows.push([plural(others, 'other'), tail, percent(tail), 'rest']);
  return rows;
}

/**
 * Makes `items` choices: a click, a tap or the arrow keys choose one, a pointer over one shows it meanwhile. Returns
 * what chooses by number.
 */
function choices(
  box,
  items,
  show,
  { columns = 1, start = 0, hover = true, roles = ['listbox', 'option'], label } = {}
) {
  let chosen = start;
  const index = new Map(items.map((item, i) => [item, i]));
  const at = (event) => {
    for (let node = event.target; node && node !== box; node = node.parentNode)
      if (index.has(node)) return index.get(node);
  };
  const choose = (i) => {
    items[chosen].setAttribute('aria-selected', 'false');
    items[chosen].tabIndex = -1;
    items[i].setAttribute('aria-selected', 'true');
    items[i].tabIndex = 0;
    show((chosen = i));
  };
  box.setAttribute('role', roles[0]);
  if (label) box.setAttribute('aria-label', label);
  for (const item of items) {
    item.setAttribute('role', roles[1]);
    item.setAttribute('aria-selected', 'false');
    item.tabIndex = -1;
  }
  box.addEventListener('click', (event) => at(event) !== undefined && choose(at(event)));
  box.addEventListener('keydown', (event) => {
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      Home: -chosen,
      End: items.length - 1 - chosen
    };
    const next = chosen + (steps[event.key] ?? NaN);
    if (!items[next] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(next);
    items[next].focus();
  });
  if (hover) {
    box.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && show(at(event) ?? chosen));
    box.addEventListener('pointerleave', () => show(chosen));
  }
  choose(start);
  return choose;
}

/** Buttons of which one is pressed. */
function toggle(label, names, show) {
  const buttons = names.map((name, i) =>
    el('button', { type: 'button', 'aria-pressed': i === 0, onclick: () => press(i) }, name)
  );
  const press = (chosen) => {
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', i === chosen));
    show(chosen);
  };
  return el('div.buttons', { role: 'group', 'aria-label': label }, buttons);
}

/** Calls `go` with -1 or 1 for an arrow key, or k or j, that nothing else takes. */
function arrows(go) {
  document.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1 }[event.key];
    if (!by || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest?.('input, .wide')) return;
    event.preventDefault();
    go(by);
  });
}

/** A slider over `n` steps with buttons and arrow keys; `set` goes to a step, `mark` only says so. */
function player(n, label, name, show, start = 0, pause = 900) {
  let timer;
  const slider = el('input', {
    type: 'range',
    min: 0,
    max: n - 1,
    value: start,
    'aria-label': label,
    oninput: () => go(+slider.value)
  });
  const said = el('output');
  const stop = () => {
    timer = clearInterval(timer);
    play.textContent = 'Play';
  };
  const mark = (i) => {
    slider.value = i;
    said.textContent = name(i);
    slider.setAttribute('aria-valuetext', name(i));
  };
  const set = (i) => {
    mark(i);
    show(i);
  };
  const go = (i) => {
    stop();
    set(Math.max(0, Math.min(n - 1, i)));
  };
  const play = el(
    'button',
    {
      type: 'button',
      onclick: () => {
        if (timer) return stop();
        if (+slider.value === n - 1) set(0);
        play.textContent = 'Pause';
        timer = setInterval(() => (+slider.value < n - 1 ? set(+slider.value + 1) : stop()), pause);
      }
    },
    'Play'
  );
  const to = (by, text, label) =>
    el('button', { type: 'button', 'aria-label': label, onclick: () => go(+slider.value + by) }, text);
  arrows((by) => go(+slider.value + by));
  set(start);
  return Object.assign(el('div.player', to(-1, '‹', 'Previous'), play, to(1, '›', 'Next'), said, slider), {
    set: go,
    mark
  });
}

/** Draws arcs from item `from` to those before it, as wide as their `shares`, into the SVG that lies over them. */
function arcs(over, items, from, shares, rise = 26) {
  const box = over.parentNode.getBoundingClientRect();
  const place = (item) => {
    const rect = item.getBoundingClientRect();
    return [rect.left - box.left + rect.width / 2, rect.top - box.top];
  };
  const [x1, y1] = place(items[from]);
  over.replaceChildren(
    ...shares.slice(0, from).map((share, s) => {
      if (share < 0.01) return '';
      const [x0, y0] = place(items[s]);
      const high = Math.min(y0, y1) - Math.min(rise, rise / 3 + Math.abs(x1 - x0) / 8);
      return el('path', {
        d: `M${x1} ${y1}C${x1} ${high} ${x0} ${high} ${x0} ${y0}`,
        fill: 'none',
        stroke: 'var(--lit)',
        'stroke-width': 1 + 5 * share,
        opacity: Math.min(1, 0.25 + share)
      });
    })
  );
}

/** The line from 0 to 1 in parts, those of `top` and of the drawn token; `set` marks a u and returns the part's number. */
function drawing(top, { id, text, u, start, end }) {
  const parts = [];
  let at = 0;
  const add = (to, text) => {
    const share = to - at;
    // What rounding leaves is no part.
    if (text === undefined && share < 1e-4) return;
    const name = () => (text === undefined ? 'others' : piece(text));
    const node = el('span', { style: `flex:${share} 0 0`, title: percent(share) }, el('span', name()));
    parts.push({ name, share, to, node });
    at = to;
  };
  top.forEach((t) => add(at + t.probability, t.text));
  if (!top.some((t) => t.id === id)) {
    add(start);
    add(end, text);
  }
  add(1);
  const needle = el('b');
  const scale = ['0', '0.25', '0.5', '0.75', '1'].map((at) => el('span', at));
  const strip = el('div.strip', ...parts.map(({ node }) => node));
  const box = el('div', { role: 'img' }, el('div.draw', strip, needle), el('div.scale', scale));
  const set = (u) => {
    const won = parts.findIndex(({ to }, i) => u < to || i === parts.length - 1);
    const said = `u = ${u.toFixed(4)}`;
    parts.forEach(({ node, name }, i) => {
      node.className = i === won ? 'win' : name() === 'others' ? 'dim' : `tint${i % 4}`;
    });
    needle.className = u > 0.5 ? 'left' : '';
    needle.style.left = `${100 * u}%`;
    needle.textContent = said;
    box.setAttribute('aria-label', `${said} of a line from 0 to 1`);
    return won;
  };
  set(u);
  return { box, parts, set };
}
