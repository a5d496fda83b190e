const { summary } = data.at(-1);
const scored = data.slice(0, -1).filter((token) => token.bits !== null);
const compared = summary.mean_kl_bits !== null;
const chanceOf = (bits) => percent(2 ** -bits);
const perplexity = (list) => 2 ** (list.reduce((sum, token) => sum + token.bits, 0) / list.length);
/** The least of 1, 2 and 5 times the powers of 10 that `value` does not exceed. */
function roundAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5].map((n) => n * power).find((end) => value <= end) ?? 10 * power;
}
const MODES = [
  {
    of: (token) => token.bits,
    most: 10,
    what: 'surprise from, bits',
    line: (list) => perplexity(list).toFixed(1),
    margin: 'perplexity'
  },
  {
    of: (token) => token.kl_bits ?? 0,
    most: roundAbove(Math.max(0.01, ...scored.map((token) => token.kl_bits ?? 0))),
    what: 'KL divergence from, bits',
    margin: 'mean KL',
    line: (list) => (list.reduce((sum, token) => sum + (token.kl_bits ?? 0), 0) / list.length).toFixed(5)
  }
];

head(
  'score',
  'How surprised is the model',
  'Before each token the model has a distribution over what comes next. ',
  'The less probable the token that came, the more bits of surprise: 1 bit is a chance in 2, 10 bits a chance in 1,024.'
);

const items = scored.map((token) => el('span.token', piece(token.text, true)));
const lines = [[]];
scored.forEach((token, i) => {
  lines.at(-1).push(i);
  if (token.text.includes('\n') && i + 1 < scored.length) lines.push([]);
});
const margins = lines.map(() => el('span'));
const margin = el('span');
const scale = el('div');
const text = el(
  'div.lines.mono',
  el('span'),
  margin,
  lines.map((line, i) => [
    prose(
      line.map((at) => scored[at].text),
      line.map((at) => items[at])
    ),
    margins[i]
  ])
);
const detail = el('div.detail', { 'aria-live': 'polite' });
const draw = (mode) => {
  const { of, most, what, line, margin: name } = MODES[mode];
  items.forEach((item, i) => (item.dataset.h = step(of(scored[i]) / most)));
  lines.forEach((list, i) => (margins[i].textContent = line(list.map((at) => scored[at]))));
  margin.textContent = name;
  scale.replaceChildren(
    legend(
      what,
      Array.from({ length: 10 }, (_, i) => `${+((most * i) / 10).toPrecision(2)}`.replace(/^0\./, '.'))
    )
  );
};
draw(0);
const bits = (value) => `${value.toFixed(2)} bits`;
const klBits = ({ kl_bits: kl }) => `${(kl ?? 0).toFixed(4)} bits`;
main.append(
  section(
    'The text',
    'Point at a token, tap it, or walk with the arrow keys. At the margin: the figure of each line.',
    facts(
      [
        [grouped(summary.tokens), 'tokens'],
        [summary.perplexity.toFixed(2), compared ? `perplexity of ${summary.model}` : 'perplexity'],
        compared && [summary.other_perplexity.toFixed(2), `of ${summary.other_model}`],
        compared && [`${summary.mean_kl_bits.toFixed(5)} bits`, 'mean KL divergence']
      ].filter(Boolean)
    ),
    compared && toggle('Colours', ['surprise', 'difference'], draw),
    scale,
    detail,
    text
  )
);
const choose = choices(
  text,
  items,
  (i) => {
    const token = scored[i];
    detail.replaceChildren(
      facts(
        [
          [piece(token.text), `token ${token.position}`],
          [bits(token.bits), 'surprise'],
          [chanceOf(token.bits), 'probability'],
          [grouped(token.rank), 'rank'],
          [[el('span.tint0', piece(token.best_text)), ` ${percent(token.best_probability)}`], 'most expected'],
          [bits(token.entropy_bits), 'entropy'],
          token.kl_bits !== null && [klBits(token), 'KL divergence'],
          token.other_bits !== null && [chanceOf(token.other_bits), `by ${summary.other_model}`]
        ].filter(Boolean)
      )
    );
  },
  { label: 'Tokens' }
);

/** Tokens with most of `of`, each a button that leads to it. */
function most(title, note, of, said) {
  const order = scored
    .map((_, i) => i)
    .sort((a, b) => of(scored[b]) - of(scored[a]))
    .slice(0, 10);
  main.append(
    section(
      title,
      note,
      el(
        'ul.rank',
        order.map((i) =>
          el(
            'li',
            el(
              'button',
              {
                type: 'button',
                onclick: () => {
                  choose(i);
                  items[i].scrollIntoView({ block: 'center' });
                }
              },
              piece(scored[i].text),
              el('span.dim', `  ${said(scored[i])}`)
            )
          )
        )
      )
    )
  );
}
if (compared) {
  most(
    'Where both models differ most',
    `KL(${summary.model} || ${summary.other_model}), and both probabilities of the token that came.`,
    (token) => token.kl_bits ?? 0,
    (token) => `${klBits(token)}, ${chanceOf(token.bits)} and ${chanceOf(token.other_bits ?? 0)}`
  );
}
most(
  'The greatest surprises',
  null,
  (token) => token.bits,
  (token) => `${bits(token.bits)}, rank ${grouped(token.rank)}`
);
