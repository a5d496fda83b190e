const steps = data.filter((line) => line.stages);
const NAMES = { logits: 'model', constraint: 'legal', temperature: 'temp.', penalties: 'pen.' };

head(
  'generate --show',
  'One token is sampled, appended, and it all runs again',
  steps.length
    ? `${plural(steps.length, 'token')} after the prompt, each with the distribution it was drawn from.`
    : 'No token was generated.'
);

const items = steps.map((step, i) => el(`span.token.tint${i % 4}`, piece(step.text, true)));
const view = el('div');
let choose;

function table({ token, text, rank, stages }) {
  const [model] = stages;
  // The chosen token has a row of its own where it is not among the first.
  const apart = rank > model.top.length;
  const others = ({ of_top, chosen_probability }) =>
    1 - of_top.reduce((sum, share) => sum + (share ?? 0), apart ? chosen_probability : 0);
  const cell = ({ of_top }, i) =>
    el('td', of_top[i] === null ? el('span.dim', { 'aria-label': 'removed' }, '–') : percent(of_top[i]));
  const rows = model.top.map((t, i) =>
    el(
      `tr${t.id === token ? '.lit' : ''}`,
      el('th', { scope: 'row' }, piece(t.text)),
      el('td', el('div.track', el('i', { style: `transform:scaleX(${t.probability})` }))),
      el('td', percent(t.probability)),
      stages.slice(1).map((stage) => cell(stage, i))
    )
  );
  if (apart) {
    rows.push(
      el(
        'tr.lit',
        el('th', { scope: 'row' }, piece(text)),
        el('td', el('div.track', el('i', { style: `transform:scaleX(${model.chosen_probability})` }))),
        stages.map((stage) => el('td', percent(stage.chosen_probability)))
      )
    );
  }
  const foot = (what, of) =>
    el(
      'tr.dim',
      el('th', { scope: 'row' }, what),
      el('td'),
      stages.map((stage) => el('td', of(stage)))
    );
  return region(
    'Probabilities after each stage',
    el(
      'table.full.chain',
      el(
        'thead',
        el(
          'tr',
          el('th', { scope: 'col' }, 'token'),
          el('th'),
          stages.map(({ stage }) => el('th', { scope: 'col' }, NAMES[stage] ?? stage))
        )
      ),
      el(
        'tbody',
        rows,
        foot('all others', (stage) => percent(Math.max(0, others(stage)))),
        foot('candidates', (stage) => grouped(stage.candidates)),
        foot('bits', (stage) => stage.entropy_bits.toFixed(2))
      )
    )
  );
}

function strip({ token, text, stages, u, part_start, part_end }) {
  if (u === null) return el('p', 'At temperature 0 the most probable token is taken, and nothing is drawn.');
  return [
    el(
      'p.note',
      'Each candidate that is left has a part of the line from 0 to 1 as long as it is probable. ',
      `u\u00a0=\u00a0${u.toFixed(4)} fell into `,
      el('span.mono.lit', piece(text)),
      `, which has ${part_start.toFixed(4)} to ${part_end.toFixed(4)}.`
    ),
    drawing(stages.at(-1).top, { id: token, text, u, start: part_start, end: part_end }).box
  ];
}

function show(i) {
  const step = steps[i];
  const [first, last] = [step.stages[0], step.stages.at(-1)];
  items.forEach((item, at) => {
    item.style.opacity = at > i ? 0.55 : 1;
  });
  view.replaceChildren(
    section(
      'The distribution, and what each stage of the chain leaves of it',
      'A dash is a token that a stage removed.',
      facts([
        [[piece(step.text)], `token ${i + 1}`],
        [step.rank, 'rank'],
        [percent(first.chosen_probability), 'by the model'],
        [percent(last.chosen_probability), 'after the chain'],
        [`${first.entropy_bits.toFixed(2)} → ${last.entropy_bits.toFixed(2)}`, 'bits of entropy'],
        ...(step.guessed === undefined ? [] : [[step.guessed ? 'accepted' : 'another', 'guessed ahead']])
      ]),
      table(step)
    ),
    section('The draw', null, strip(step))
  );
}

if (steps.length) {
  const said = steps.map((step) => step.text);
  const text = prose([data[0].prompt, ...said], el('span.dim', piece(data[0].prompt, true)), el('span.said', items));
  const dial = player(
    steps.length,
    'Token',
    (i) => `${i + 1} of ${steps.length}`,
    (i) => choose?.(i)
  );
  choose = choices(
    text.lastChild,
    items,
    (i) => {
      dial.mark(i);
      show(i);
    },
    { hover: false, label: 'Generated tokens' }
  );
  main.append(
    section('The text', 'The prompt is grey. Choose a token, or step with the arrow keys.', dial, text),
    view
  );
} else {
  main.append(section('The text', null, prose([data[0].prompt], piece(data[0].prompt, true))));
}
