const { summary } = data.at(-1);
const rows = data.slice(0, -1);
const added = (list) => list.reduce((sum, row) => sum + row.parameters, 0);
const GROUPS = [
  ['token tables', 'teal', ['embedding', 'positions', 'unembedding', 'layer inputs']],
  ['attention', 'blue', ['key', 'query', 'value', 'output']],
  ['other mixers', 'blue', ['convolution', 'delta net', 'state space']],
  ['MLPs', 'amber', ['up-projection', 'gate', 'down-projection']],
  ['norms and biases', 'grey', ['norms', 'biases']]
]
  .map(([name, kind, categories]) => {
    const list = categories.map((category) => rows.find((row) => row.category === category)).filter(Boolean);
    return {
      name,
      kind,
      rows: list,
      sum: added(list),
      stored: added(list.filter((row) => !row.shared)) / summary.stored_parameters
    };
  })
  .filter((group) => group.sum > 0);
const largest = GROUPS.reduce((most, group) => (group.stored > most.stored ? group : most));
const kind = (row) => GROUPS.find((group) => group.rows.includes(row)).kind;

function short(n) {
  const unit = [
    ['billion', 1e9],
    ['million', 1e6],
    ['thousand', 1e3]
  ].find(([, size]) => n >= size);
  return unit ? `${(n / unit[1]).toPrecision(3)} ${unit[0]}` : `${n}`;
}

function size(bytes) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return power ? `${(bytes / 1000 ** power).toPrecision(3)} ${['', 'kB', 'MB', 'GB'][power]}` : `${bytes} B`;
}

head(
  'tally',
  'Where the parameters are',
  `In ${summary.name}, vectors of ${grouped(summary.dim)} numbers pass through ${plural(summary.layers, 'layer')}. `,
  `Of its ${short(summary.stored_parameters)} parameters the largest part, ${percent(largest.stored)}, is in ${largest.name}.`
);

main.append(
  section(
    'All of them, by area',
    'Each rectangle is as large as its number of parameters.',
    el(
      'div.map',
      { role: 'img', 'aria-label': GROUPS.map((group) => `${group.name} ${percent(group.stored)}`).join(', ') },
      GROUPS.map((group) =>
        el(
          'div',
          { style: `flex-grow:${group.sum}` },
          group.rows.map((row) =>
            el(
              `span.${group.kind}${row.shared ? '.twin' : ''}`,
              { style: `flex-grow:${row.parameters}`, title: `${row.category}: ${grouped(row.parameters)}` },
              el('em', el('b', row.category), el('small', short(row.parameters)))
            )
          )
        )
      )
    ),
    el('p'),
    el(
      'div.keys',
      GROUPS.map((group) => el(`span.key.${group.kind}`, `${group.name} ${percent(group.stored)}`)),
      rows.some((row) => row.shared) && el('span', 'striped: the same table once more, stored once')
    )
  )
);

const known = (field) => rows.some((row) => row[field] !== null && row[field] !== 0);
const product = (row) =>
  row.rows === null
    ? row.matrices
      ? 'of different sizes'
      : 'vectors'
    : [
        `${grouped(row.rows)} × ${grouped(row.columns)}`,
        row.heads === null ? `${row.matrices} heads` : row.heads > 1 && `${row.heads} heads`,
        row.heads !== null && row.layers > 1 && `${row.layers} layers`
      ]
        .filter(Boolean)
        .join(' × ');
const most = Math.max(...rows.map((row) => row.time_share ?? 0));
const columns = [
  ['', (row) => el(`span.key.${kind(row)}`, row.category)],
  ['rows × columns', product],
  ['parameters', (row) => grouped(row.parameters)],
  ['matrices', (row) => (row.matrices ? grouped(row.matrices) : '')],
  known('bytes') && ['bytes', (row) => (row.shared ? 'shared' : size(row.bytes))],
  known('bits_per_parameter') && ['bits each', (row) => row.bits_per_parameter?.toFixed(2) ?? ''],
  known('time_share') && [
    'time of a token',
    (row) =>
      el(
        'div.time.loose',
        el('div.track', el('i', { class: kind(row), style: `transform:scaleX(${(row.time_share ?? 0) / most})` })),
        el('span', row.time_share === null ? '–' : percent(row.time_share))
      )
  ]
].filter(Boolean);
const line = (row) =>
  el(
    'tr',
    columns.map(([name, of], i) => el(i ? 'td' : 'th', { 'data-of': name }, of(row)))
  );
const sum = (name, parameters, matrices) =>
  el(
    'tr.sum',
    el('th', name),
    el('td'),
    el('td', { 'data-of': 'parameters' }, grouped(parameters)),
    el('td', { 'data-of': 'matrices' }, matrices && grouped(matrices)),
    columns.slice(4).map(() => el('td'))
  );
const part = (in_film) => rows.filter((row) => row.in_film === in_film);
main.append(
  section(
    'Counted',
    `${part(true).length} categories, and what they leave out.`,
    region(
      'Counts',
      el(
        'table.lined.stacked',
        el(
          'thead',
          el(
            'tr',
            columns.map(([name]) => el('th', { scope: 'col' }, name))
          )
        ),
        el(
          'tbody',
          part(true).map(line),
          sum('together', summary.film_parameters, summary.film_matrices),
          part(false).map(line)
        )
      )
    ),
    summary.seconds_per_token !== null &&
      el(
        'p.note',
        { style: 'margin-top:1rem' },
        `With ${plural(summary.time_depth, 'token')} in the cache, a token took ${(1000 * summary.seconds_per_token).toFixed(2)} ms here. ` +
          `What reads no parameters, attention over the tokens before, took ${percent(summary.time_share_without_parameters)} of it.`
      )
  )
);

const shared = rows.filter((row) => row.shared);
const item = (sign, name, n) => el('tr', el('th', `${sign} ${name}`), el('td', grouped(n)));
main.append(
  section(
    'What is stored',
    shared.length > 0 &&
      'One table is embedding and unembedding: it turns ids into vectors at the bottom and vectors into logits at the top, but is stored once.',
    el(
      'table.lined.narrow',
      el(
        'tbody',
        item('', `${part(true).length} categories`, summary.film_parameters),
        shared.map((row) => item('−', `${row.category}, shared`, row.parameters)),
        part(false).map((row) => item('+', row.category, row.parameters)),
        el('tr.sum', el('th', '= stored'), el('td', grouped(summary.stored_parameters)))
      )
    )
  )
);
