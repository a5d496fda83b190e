const { summary } = data.at(-1);
const tokens = data.slice(0, -1);
const hex = (bytes) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

head(
  'tokens',
  'Text is cut into tokens',
  'A model reads numbers, not letters: each piece of the text is one of ',
  `${grouped(summary.vocab_size)} tokens of its vocabulary, and only its id goes in.`
);

// What a token shows below its piece.
const below = [(token) => token.id, (token) => hex(token.bytes), null];
const text = el('div.mono');
const draw = (mode) => {
  const plain = below[mode] === null;
  text.className = plain ? 'mono text' : 'mono chips';
  text.style.whiteSpace = plain ? 'pre-wrap' : '';
  items.forEach((item, i) => {
    const token = tokens[i];
    item.replaceChildren(
      ...piece(token.text, plain).flat().filter(Boolean),
      ...(plain ? [] : [el('small', below[mode](token))])
    );
  });
  text.replaceChildren(
    ...items.flatMap((item, i) => (!plain && tokens[i].text.includes('\n') ? [item, el('span.break')] : [item]))
  );
};
const items = tokens.map((_, i) => el(`span.token.tint${i % 4}`));
const detail = el('div.detail', { 'aria-live': 'polite' });
draw(0);
main.append(
  section(
    'Its tokens',
    'Point at a token, tap it, or walk with the arrow keys. A dot stands for a space.',
    toggle('Below each token', ['ids', 'bytes', 'plain text'], draw),
    detail,
    text
  )
);
if (tokens.length)
  choices(
    text,
    items,
    (i) => {
      const token = tokens[i];
      const same = tokens.filter((other) => other.id === token.id).length;
      detail.replaceChildren(
        facts([
          [piece(token.text), `token ${i + 1} of ${tokens.length}`],
          [token.id, 'id'],
          [hex(token.bytes), plural(token.bytes.length, 'byte')],
          [token.kind, 'kind'],
          [grouped(same), same === 1 ? 'time in this text' : 'times in this text']
        ])
      );
    },
    { label: 'Tokens' }
  );

const used = summary.tokens / summary.context_length;
main.append(
  section(
    'This text',
    null,
    facts([
      [grouped(summary.tokens), 'tokens'],
      [grouped(summary.characters), 'characters'],
      [grouped(summary.bytes), 'bytes'],
      [(summary.bytes / Math.max(1, summary.tokens)).toFixed(2), 'bytes a token']
    ]),
    bars('How much of the context it fills', [
      ['context', Math.min(1, used), percent(used), used > 1 ? 'lit' : '']
    ]),
    el(
      'p.note',
      `${grouped(summary.tokens)} of the ${plural(summary.context_length, 'token')} that this model can read at once.`
    )
  )
);
