const [now, { film }] = data;
const plain = film.find((frame) => frame.temperature === 1);

head(
  'next',
  'The last vector becomes a distribution over every possible next token',
  `After these ${plural(now.prompt.length, 'token')} the model gives each of its ${grouped(plain.candidates)} tokens a probability. `,
  `The most probable is `,
  el('span.mono.lit', piece(now.top[0].text)),
  ` with ${percent(now.top[0].probability)}.`
);

const others = now.candidates - now.top.length;
main.append(
  section(
    'The text so far',
    null,
    prose(
      now.prompt.map((token) => token.text),
      now.prompt.map((token, i) => el(`span.tint${i % 4}`, piece(token.text, true))),
      el('span.lit', ' ?')
    )
  )
);
main.append(
  section(
    `What comes next, at temperature ${now.temperature}`,
    others > 0 && `The ${now.top.length} most probable tokens, and all others together.`,
    facts(entropy(now.entropy_bits)),
    bars('Probabilities of the next token', ranked(now.top, now.top[0].id, now.tail, others))
  )
);

// The film: the same tokens in every frame, as temperature above 0 changes no rank.
const frame = (i) => {
  const of = new Map(film[i].top.map((t) => [t.id, t.probability]));
  const top = plain.top.map((t) => ({ ...t, probability: of.get(t.id) ?? 0 }));
  return ranked(top, top[0].id, Math.max(0, film[i].tail), plain.candidates - top.length);
};
const moving = bars('Probabilities at this temperature', frame(0));
const uncertain = el('div', { 'aria-live': 'polite' });
const cells = [];
const row = (name, cell) =>
  el(
    'tr',
    el('th', { scope: 'row' }, name),
    film.map((at, i) => {
      const td = cell(at);
      (cells[i] ??= []).push(td);
      return td;
    })
  );
const rows = plain.top.map((t) =>
  row(piece(t.text), (at) => {
    const p = at.top.find((other) => other.id === t.id)?.probability ?? 0;
    return el('td', { 'data-h': chance(p) }, whole(p));
  })
);
rows.push(row(el('span.dim', 'bits'), (at) => el('td.dim', at.entropy_bits.toFixed(1))));
const heads = film.map((at) => el('th', { scope: 'col' }, at.temperature.toFixed(1)));
heads.forEach((th, i) => cells[i].push(th));
cells.flatMap((column, i) => column.map((cell) => cell.addEventListener('click', () => dial.set(i))));
const dial = player(
  film.length,
  'Temperature',
  (i) => `T = ${film[i].temperature.toFixed(1)}`,
  (i) => {
    moving.set(frame(i));
    uncertain.replaceChildren(facts(entropy(film[i].entropy_bits)));
    cells.forEach((column, at) => column.forEach((cell) => cell.classList.toggle('now', at === i)));
  },
  film.indexOf(plain)
);
main.append(
  section(
    'What temperature does to it',
    'Before the softmax all logits are divided by T. A low T sharpens the distribution, a high T flattens it; at 0 all of it is ' +
      'on the most probable token.',
    dial,
    uncertain,
    moving,
    el('h3', 'All temperatures at once, in percent'),
    chances(),
    region(
      'Probabilities at all temperatures',
      el('table.full.film', el('thead', el('tr', el('th', { scope: 'col' }, 'T'), heads)), el('tbody', rows))
    )
  )
);
