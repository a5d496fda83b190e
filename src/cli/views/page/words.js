const [view] = data;
const several = (words) =>
  words
    .filter((word) => word.pieces.length > 1)
    .map((word) =>
      el(
        'p.note',
        `${word.word} is the mean of ${word.pieces.length} pieces: `,
        word.pieces.map(({ text }, i) => [i > 0 && ' ', el(`span.mono.tint${i % 4}`, piece(text))])
      )
    );
const space = [
  [grouped(view.vectors), 'vectors'],
  [grouped(view.dim), 'numbers in each'],
  [view.matrix, 'matrix']
];

head(
  'words',
  'Directions in this space carry meaning',
  view.near
    ? [
        'Each token is a vector. These are the ones whose direction is nearest to ',
        el('span.mono.lit', view.expression),
        '.'
      ]
    : ['Each token is a vector. How far do these words go along ', el('span.mono.lit', view.direction), '?']
);

if (view.near) {
  const most = Math.max(...view.near.map((near) => near.cosine), 0.01);
  main.append(
    section(
      'What lies near',
      'The cosine is 1 where two vectors point the same way, 0 where they have nothing in common.',
      facts(space),
      view.terms.length > 1 &&
        el(
          'p.mono',
          view.terms.map((term, i) => [
            (i > 0 || term.sign < 0) && el('b', term.sign < 0 ? ' − ' : ' + '),
            el(`span.tint${term.sign < 0 ? 1 : 0}`, `\u00a0${term.word}\u00a0`)
          ])
        ),
      bars(
        'Nearest by cosine',
        view.near.map((near, i) => [
          piece(near.text),
          Math.max(0, near.cosine) / most,
          near.cosine.toFixed(4),
          i ? '' : 'lit'
        ]),
        { track: false }
      ),
      el('p'),
      several(view.terms)
    )
  );
} else {
  const most = Math.max(...view.along.map((word) => Math.abs(word.dot)), 1e-30);
  const row = ({ word, dot }) => [word, dot / most, dot.toFixed(3), dot < 0 ? 'amber' : ''];
  const orders = [view.along, [...view.along].sort((a, b) => b.dot - a.dot)];
  const chart = bars('Along the direction', view.along.map(row), { track: false });
  chart.classList.add('both');
  main.append(
    section(
      'Along the direction',
      'The dot product with the direction: right of the line with it, left of the line against it.',
      facts(space),
      toggle('Order', ['as given', 'sorted'], (order) => chart.set(orders[order].map(row))),
      chart,
      el('p'),
      several([...view.pairs, ...view.along])
    )
  );
}
