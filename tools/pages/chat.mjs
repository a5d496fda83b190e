// Drives the page of `whit serve` in Chromium or Firefox, with the server and its embedded story model: says something, stops,
// chooses another word, edits, reloads, on a phone and on a laptop, light and dark, by keyboard alone. Fails where the page
// writes to the console, asks for anything elsewhere, loses what was said, is hard to read or has parts without a name.
// Usage: node chat.mjs chromium|firefox WHIT [FOLDER]; pictures of the screens go to FOLDER.
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KEY, serve } from './scripted.mjs';

const LARGEST = 200_000;
const PATIENCE = 60_000;
const SCREENS = [
  [390, 844, 'light'],
  [390, 844, 'dark'],
  [1280, 800, 'light'],
  [1280, 800, 'dark']
];
const BEGINNING = 'Once upon a time';
const MODELS = ['first', 'second, with a name that no telephone has room for'];
// What a hostile file might say.
const MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script>';

const [kind, whit, folder] = process.argv.slice(2);
const { Browser, Tab } = await import(`./${kind}.mjs`);
const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

const freePort = () =>
  new Promise((done) => {
    const socket = createServer().listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => done(port));
    });
  });

async function until(what, of) {
  for (const end = Date.now() + PATIENCE; Date.now() < end;) {
    const value = await of();
    if (value) return value;
    await new Promise((done) => setTimeout(done, 30));
  }
  throw new Error(`${what}: not in ${PATIENCE / 1000} s`);
}

const check = (isTrue, what) => {
  if (!isTrue) throw new Error(what);
};

/** The page in a tab: what a reader does, and looks at. */
class Page extends Tab {
  until(what, of, ...given) {
    return until(what, () => this.run(of, ...given));
  }

  async say(text) {
    await this.run(() => document.querySelector('#text').focus());
    await this.type(text);
    await this.press('Enter');
  }

  /** Waits until the model has written all; returns it. */
  async reply() {
    await this.until('a reply', () => !now.running && path().at(-1)?.role === 'model');
    return this.run(() => path().at(-1));
  }

  async picture(name) {
    if (!folder) return;
    await this.run(() =>
      Promise.all(
        document.getAnimations().map(({ effect, finished }) => effect.getTiming().iterations === 1 && finished)
      )
    );
    writeFileSync(join(folder, `${name}.png`), await this.screen(), 'base64');
  }

  /** What is hard to read, out of the screen or without a name. */
  async look(when) {
    const seen = await this.run(faultsOfView);
    this.faults.push(...seen.map((fault) => `${when}: ${fault}`));
    this.faults.push(...(await this.nameless()).map((role) => `${when}: a ${role} without a name`));
  }
}

/** Runs in the page: parts wider than the screen, and texts with too little contrast (WCAG 2.2, AA). */
function faultsOfView() {
  const found = [];
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`${wide} px wider than the screen`);
  const colour = (value) => {
    const [r, g, b, a = 1] = value.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => {
    const mix = (of) => top[of] * top.a + below[of] * (1 - top.a);
    return { r: mix('r'), g: mix('g'), b: mix('b'), a: 1 };
  };
  const light = ({ r, g, b }) => {
    const [R, G, B] = [r, g, b].map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const behind = (node) => {
    const own = colour(getComputedStyle(node).backgroundColor);
    return own.a === 1 || !node.parentElement ? own : over(own, behind(node.parentElement));
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const of = node.parentElement;
    // Marks of spaces and of line ends, and what is on a picture, repeat what is said elsewhere.
    if (
      !node.data.trim() ||
      of.closest('script, style, .mark, .break, .unseen, svg') ||
      !of.checkVisibility({ opacityProperty: true })
    )
      continue;
    const style = getComputedStyle(of);
    const paper = behind(of);
    const [a, b] = [light(over(colour(style.color), paper)), light(paper)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const isLarge =
      parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.7 && +style.fontWeight >= 650);
    if (ratio < (isLarge ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)} of “${node.data.trim().slice(0, 30)}”`);
  }
  return found;
}

/** Runs in the page: all that was said, and what is shown of each word of the first reply. */
function everything() {
  const { id, tokens } = now.talk.nodes.find(({ role }) => role === 'model');
  const shown = tokens.map((_, i) => (look(id, i), side.textContent));
  lookAway();
  return JSON.stringify([
    shown,
    now.talk.nodes.map(({ id, parent, text, how, tokens }) => [id, parent, text, how, tokens?.length])
  ]);
}

/** Everything that can be done with one conversation, by keyboard where there is a key. */
async function drive(page, name) {
  await page.until('the status', () => now.server);
  await page.run(() => ['max_tokens', 'seed', 'temperature'].forEach((name, i) => change(name, [24, 7, 1][i])));
  await page.look('at first');
  await page.picture(`${name}-0-hello`);

  // Say something; the reply grows while it is written, and is read aloud in few pieces.
  await page.run(() => {
    window.told = 0;
    new MutationObserver(() => (window.told += 1)).observe(document.querySelector('#said'), { childList: true });
  });
  await page.say(BEGINNING);
  await page.until('the first word', () => document.querySelector('.word'));
  await page.picture(`${name}-1-streaming`);
  const first = await page.reply();
  check(first.tokens.length > 3 && first.tokens.length <= 25, `${first.tokens.length} tokens instead of 24`);
  check(first.end === 'length' || first.end === 'stop', `the reply ended by ${first.end}`);
  check(first.usage.prompt > 0 && first.usage.written > 0, 'no figures of the context');
  check(await page.run(() => talkBox.innerText.includes(path()[0].text)), 'what was said is not shown');
  check((await page.run(() => window.told)) <= 2 + first.tokens.length / 4, 'the reply is read aloud word by word');
  await page.look('after a reply');
  await page.picture(`${name}-2-reply`);
  await page.run(() => document.querySelector('#colour').click());
  await page.look('coloured by surprise');
  await page.picture(`${name}-3-surprise`);

  // Walk over the words, and look at one.
  await page.run(() => talkBox.querySelector('.word').focus());
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowUp', 'Home', 'ArrowRight']) await page.press(key);
  const at = await page.run(() => +document.activeElement.dataset.at);
  check(at === 1, `the arrow keys lead to token ${at} instead of 1`);
  check(
    await page.run(() => document.activeElement.getAttribute('role') === 'button'),
    'a word with the focus is no button'
  );
  await page.press('Enter');
  const seen = await page.run(() => ({
    rows: document.querySelectorAll('#side .bars li').length,
    focus: Boolean(document.activeElement.closest('#side')),
    bands: document.querySelectorAll('#side .band').length,
    stages: document.querySelectorAll('#side thead th').length,
    sum: now.talk.nodes.at(-1).tokens[1].top.reduce((sum, { p }) => sum + p, 0)
  }));
  check(seen.focus, 'the focus does not go to the distribution');
  check(
    seen.rows > 10 && seen.bands === 21 && seen.stages > 2,
    `too little of the word is shown: ${JSON.stringify(seen)}`
  );
  check(seen.sum > 0.05 && seen.sum < 1.001, `the first 20 words have ${seen.sum} together`);
  await page.look('beside a word');
  await page.picture(`${name}-4-word`);
  await page.run(() => side.querySelector('.film').scrollIntoView({ block: 'end' }));
  await page.picture(`${name}-5-film`);
  await page.press('Escape');
  check(
    await page.run(() => side.hidden && document.activeElement.matches('.word')),
    'Escape does not lead back to the word'
  );

  // Choose another word: what was said before it stays, and the old branch too.
  await page.press('Enter');
  const other = await page.run(() =>
    now.talk.nodes.at(-1).tokens[1].top.find(({ id, end }) => id !== now.talk.nodes.at(-1).tokens[1].id && !end)
  );
  await page.run((id) => {
    const { top } = now.talk.nodes.at(-1).tokens[1];
    document.querySelectorAll('#side .bars button')[top.findIndex((one) => one.id === id)].focus();
  }, other.id);
  await page.press('Enter');
  await page.until('a branch', () => now.talk.nodes.length === 3);
  const branch = await page.reply();
  check(
    branch.tokens[0].id === first.tokens[0].id && branch.tokens[1].id === other.id,
    'the branch does not begin with the chosen word'
  );
  check(branch.tokens.length > 2 || branch.end === 'stop', 'the text does not go on from the chosen word');
  check(branch.text.startsWith(first.tokens[0].text + other.text), `the branch says ${branch.text}`);
  await page.picture(`${name}-6-branch`);

  // The same seed gives the same words.
  await page.run(() => again(path().at(-1)));
  check((await page.reply()).text === first.text, 'the same seed gave another text');

  // Stop.
  await page.run(() => {
    change('max_tokens', 100_000);
    // Escape comes with the first word, however fast the others follow.
    const taken = take;
    take = (run, event) => {
      taken(run, event);
      if (run.node.tokens.length === 0) return;
      take = taken;
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
    };
    again(path().at(-1));
  });
  await page.until('the stop', () => path().at(-1).end === 'stopped' && !now.running);
  const stopped = await page.reply();
  check(
    stopped.tokens.length > 0 && stopped.tokens.length < 20,
    `${stopped.tokens.length} tokens are left of a reply that was stopped`
  );
  await page.until('the end of the work', async () => (await (await fetch('whit/status')).json()).active === 0);

  // Edit what was said: another branch, from which the first is reached again.
  await page.run(() => change('max_tokens', 12));
  await page.run(() => talkBox.querySelector('.given').focus());
  await page.press('Enter');
  await page.look('while editing');
  await page.picture(`${name}-7-edit`);
  await page.run(() => (document.querySelector('#text').value = ''));
  await page.say('The big dog');
  await page.until('the edited branch', () => path()[0].text === 'The big dog');
  const edited = await page.reply();
  check(edited.text !== first.text, 'the edited text has the old reply');
  await page.run(() => document.querySelector('.branches button').click());
  check((await page.run(() => path()[0].text)) === BEGINNING, 'the text before the edit is lost');
  check((await page.run(() => path()[1].text)) === stopped.text, 'the reply before the edit is lost');

  // The settings.
  await page.run(() => document.querySelector('#tune').click());
  await page.look('beside the settings');
  await page.picture(`${name}-8-settings`);
  await page.press('Escape');

  // Reload: all of it is there again.
  const before = await page.run(everything);
  await page.load();
  await page.until('the status', () => now.server);
  check(before === (await page.run(everything)), 'a reload changed the conversation, or a distribution of it');
  check((await page.run(() => path()[1].text)) === stopped.text, 'a reload shows another branch');

  // A file of all conversations; and one from elsewhere: what it says is text, whatever it says.
  const papers = mkdtempSync(join(tmpdir(), 'whit-chat-'));
  await page.keepFiles(papers);
  await page.run(() => document.querySelector('#export').click());
  const kept = join(papers, 'whit-conversations.json');
  // The name may be there before what it names.
  const exported = JSON.parse(await until('the export', () => existsSync(kept) && readFileSync(kept, 'utf8')));
  check(
    exported.talks[0].nodes.some(({ text }) => text === first.text),
    'what was said is not in the file'
  );
  const file = join(papers, 'talk.json');
  const talk = {
    version: 1,
    id: 'hostile',
    title: MARKUP,
    nodes: [
      { id: 'a', parent: 'root', role: 'user', text: MARKUP },
      {
        id: 'b',
        parent: 'a',
        role: 'model',
        text: MARKUP,
        tokens: [
          { id: 1, text: MARKUP, top: [{ id: 1, text: MARKUP, probability: 0.5 }] },
          { bytes: [0xf0, 0x9f] },
          {
            bytes: [0x90, 0x88],
            more: [
              [null, [7]],
              [null, [MARKUP, -1, [null], [null]]]
            ]
          }
        ]
      }
    ]
  };
  writeFileSync(
    file,
    JSON.stringify({
      whit: 1,
      talks: [
        talk,
        { version: 1, id: 'c', nodes: [{ id: 'x', parent: 'y' }] },
        { ...talk, id: '"]' },
        { ...talk, id: 'd', nodes: [{ id: 'x', parent: 'root', tokens: [null] }] },
        7
      ]
    })
  );
  await page.give('#import', file);
  await page.until('the import', () => now.talk.id === 'hostile');
  rmSync(papers, { recursive: true });
  check((await page.run(() => talks.size)) === 2, 'what is no conversation came in');
  await page.run(() => [...talkBox.querySelectorAll('.word')].at(-1).click());
  check(
    (await page.run(() => side.querySelectorAll('.parts button').length)) === 2,
    'the tokens of a character are not shown'
  );
  await page.run(() => side.querySelectorAll('.parts button')[1].click());
  await page.run(() => talkBox.querySelector('.word').click());
  const shown = await page.run(() => ({
    elements: document.querySelectorAll('img, #talk script').length,
    text: talkBox.innerText,
    words: new Set([...talkBox.querySelectorAll('.word')].map((word) => word.dataset.at)).size
  }));
  check(shown.elements === 0, 'text became elements');
  check(shown.text.split(MARKUP).length === 3, 'text was changed');
  check(shown.words === 2 && shown.text.includes('🐈'), 'a character of two tokens is not one word');
  await page.picture(`${name}-9-import`);
  if (page.width < 500) {
    await page.press('Escape');
    await page.run(() => document.querySelector('#unfold').click());
    await page.look('beside the list');
    await page.picture(`${name}-10-list`);
  }
}

/** Runs in the page before it begins: the browser lets it keep nothing. */
function noStorage() {
  Object.defineProperty(window, 'localStorage', {
    get() {
      throw new DOMException('denied', 'SecurityError');
    }
  });
}

/** Runs in the page before it begins: there is no room. */
function fullStorage() {
  Storage.prototype.setItem = () => {
    throw new DOMException('full', 'QuotaExceededError');
  };
}

/** Where nothing can be kept the page says so, and works. */
async function unkept(page) {
  await page.until('the status', () => now.server);
  await page.run(() => change('max_tokens', 4));
  await page.say(BEGINNING);
  check((await page.reply()).tokens.length > 0, 'no reply without storage');
  check(
    await page.run(() => document.querySelector('#warning').textContent.includes('export')),
    'the page does not say that nothing is kept'
  );
}

/** Where motion is not wanted nothing moves. And the film shows for a temperature what the server computes for it. */
async function choosing(page, name) {
  await page.until('the status', () => now.server);
  const seen = () => ({ model: now.server.model, hidden: $('which').hidden, all: [...$('which').options].map(({ value }) => value) });
  const first = await page.run(seen);
  check(!first.hidden && first.all.join() === MODELS.join() && first.model === MODELS[0], `the models are ${first.all}`);
  await page.run(() => ['max_tokens', 'seed'].forEach((name, i) => change(name, [6, 7][i])));
  await page.say(BEGINNING);
  await page.reply();
  await page.run(() => {
    $('which').value = 'second, with a name that no telephone has room for';
    $('which').dispatchEvent(new Event('change'));
  });
  await page.until('the other model', () => now.server.model === 'second, with a name that no telephone has room for');
  await page.look('with another model');
  await page.picture(`${name}-1-other`);
  await page.say(' and then');
  await page.reply();
  const wrote = await page.run(() => now.talk.nodes.filter(({ role }) => role === 'model').map(({ model }) => model));
  check(wrote.join() === MODELS.join(), `${wrote} wrote`);
  // A word of the first one is changed: the first one goes on.
  await page.run(() => {
    const node = now.talk.nodes.find(({ role }) => role === 'model');
    return choose(node, 1, node.tokens[1], 0);
  });
  check((await page.run(() => now.server.model)) === MODELS[0], 'another model goes on with numbers that are not its own');
  await page.picture(`${name}-2-back`);
}

async function still(page) {
  await page.until('the status', () => now.server);
  await page.run(() => ['max_tokens', 'temperature'].forEach((name, i) => change(name, [12, 0.6][i])));
  await page.say(BEGINNING);
  await page.until('the first word', () => document.querySelector('.word'));
  check((await page.run(() => document.getAnimations().length)) === 0, 'something moves');
  await page.reply();
  const far = await page.run(() => {
    const stages = path()
      .at(-1)
      .tokens.map((token) => [token, token.chain.find(({ name }) => name === 'temperature')]);
    const apart = stages.flatMap(([token, stage]) => {
      const film = bender(token)(0.6);
      return token.top.map(({ id }, k) => Math.abs(film[k] - (stage.top.find((one) => one.id === id)?.p ?? film[k])));
    });
    return Math.max(...apart);
  });
  check(far < 0.02, `a probability of the film is ${far} from that of the server`);
}

/** A chat, with a server that says what it is told to. */
async function converse(page, name, { heard, said }) {
  // The key is asked for once.
  await page.until('the question for the key', () => document.querySelector('#ask').open);
  await page.look('asked for the key');
  await page.type(KEY);
  await page.press('Enter');
  await page.until('the status', () => now.server?.model === 'scripted');
  await page.look('at first');

  // Code and characters of several tokens.
  await page.run(() => {
    now.talk.system = 'You are a cat.';
  });
  await page.say('hello');
  const reply = await page.reply();
  check(reply.text === said && reply.end === 'stop', `the reply is ${reply.text}`);
  const [{ messages, seed, max_tokens: most }] = heard;
  check(JSON.stringify(messages.map(({ role }) => role)) === '["system","user"]', 'the system prompt was not sent');
  check(Number.isInteger(seed) && most > 0, 'no seed was sent');
  const seen = await page.run(() => ({
    code: talkBox.querySelector('.code').textContent,
    items: talkBox.querySelectorAll('.item').length,
    elements: talkBox.querySelectorAll('b, i:not(.mark)').length,
    strong: talkBox.querySelector('.strong').textContent,
    text: talkBox.querySelector('.words').textContent.replaceAll('↵', '')
  }));
  check(seen.code.includes('<b>"meow"</b>') && seen.elements === 0, `the code is ${seen.code}`);
  check(seen.items === 2 && seen.strong === 'you', 'items and strong words are not drawn');
  check(seen.text.replaceAll(/\s/g, '') === `${said}∎`.replaceAll(/\s/g, ''), `the words say ${seen.text}`);
  await page.look('after a reply');
  await page.picture(`${name}-1-reply`);
  await page.run(() =>
    [...talkBox.querySelectorAll('.word')].find(({ textContent }) => textContent.includes('🐈')).click()
  );
  check(
    (await page.run(() => side.querySelectorAll('.parts button').length)) > 2,
    'the tokens of a character are not shown'
  );
  await page.look('beside a character of several tokens');
  await page.picture(`${name}-2-character`);

  // The end is a word too: another one lets the text go on.
  await page.run(() => talkBox.querySelector('.tomb').parentNode.click());
  await page.run(() => side.querySelectorAll('.bars button')[1].click());
  await page.until('a branch', () => childrenOf(path()[0].id).length === 2);
  const branch = await page.reply();
  check(
    branch.text.startsWith(`${said} a`) && branch.tokens.length > reply.tokens.length,
    'the text does not go on after its end'
  );
  check(heard.at(-1).whit.begin.length === reply.tokens.length, 'the branch was begun with something else');

  // What was said can be edited; Escape leaves it as it is.
  const edit = () =>
    [...talkBox.querySelectorAll('.user button')].find(({ textContent }) => textContent === 'Edit').click();
  await page.run(edit);
  await page.press('Escape');
  check(
    await page.run(() => !now.editing && document.querySelector('#text').value === ''),
    'Escape does not end the edit'
  );
  await page.run(edit);
  await page.type(' again');
  await page.press('Enter');
  await page.until('the edited text', () => path()[0].text === 'hello again');
  await page.reply();
  check((await page.run(() => childrenOf('root').length)) === 2, 'the text before the edit is lost');

  // A full queue, a refusal, a fault in midst.
  await page.say('wait');
  await page.until('the wait', () => talkBox.textContent.includes('The queue is full'));
  check((await page.reply()).text === said, 'no reply after the queue was full');
  await page.say('wrong');
  check((await page.reply()).fault === 'top_p is 3, more than 1', 'a refusal is not told');
  await page.picture(`${name}-3-fault`);
  await page.say('break');
  const broken = await page.reply();
  check(broken.fault.includes('a number that is none') && broken.tokens.length === 5, 'a fault is not told');
  await page.look('after a fault');
  await page.run(() => [...talkBox.querySelectorAll('.fault button')].at(-1).click());
  check((await page.reply()).text === said, 'the reply does not go on after the fault');
  check(heard.at(-1).whit.begin.length === 5, 'what was written before the fault was lost');

  // A page that is closed while it is told something keeps what it has.
  await page.say('pause');
  await page.until('a word', () => now.running?.node.tokens.length > 3);
  await page.load();
  const kept = await page.run(() => path().at(-1));
  check(kept.end === 'stopped' && kept.tokens?.length > 3, `a reload leaves ${JSON.stringify([kept.end, kept.text])}`);
  page.faults = page.faults.filter((fault) => !/status of (401|503|400)/.test(fault));
}

const html = readFileSync(join(root, 'src/serve/page.html'), 'utf8');
const palette = (css) =>
  css
    .match(/:root \{[^}]*--paper[^}]*\}/g)
    ?.map((rule) => rule.replace(/\s+/g, ' '))
    .join();
const started = [];
let told = '';
/** The address of a server with these arguments. */
async function start(...words) {
  const port = await freePort();
  const server = spawn(whit, ['serve', '--port', `${port}`, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  server.stderr.on('data', (data) => (told += data));
  started.push(server);
  const url = `http://127.0.0.1:${port}/`;
  await until(`the server (${told})`, () =>
    fetch(`${url}whit/status`).then(
      ({ ok }) => ok,
      () => false
    )
  );
  return url;
}
const models = mkdtempSync(join(tmpdir(), 'whit-models-'));
const scripted = [await serve(html), await serve(html)];
const browser = new Browser();
let failed = 0;
const report = (name, faults) => {
  failed += faults.length;
  console.log(`${faults.length ? 'FAILED' : 'ok'} chat in ${kind}: ${name}`);
  faults.forEach((fault) => console.log(`  ${fault}`));
};
try {
  const url = await start();
  MODELS.forEach((name) => copyFileSync(join(root, 'models/stories.whit'), join(models, `${name}.whit`)));
  const several = { url: await start('--models', models) };
  const size = Buffer.byteLength(html);
  const views = readFileSync(join(root, 'src/cli/views/page/page.css'), 'utf8');
  report('the file', [
    ...(size > LARGEST ? [`${size} bytes`] : []),
    ...(palette(html) === palette(views) ? [] : ['other colours than the views have'])
  ]);
  const runs = [
    ...SCREENS.map((screen) => [screen.join('-'), screen, drive, {}]),
    ['nothing can be kept', SCREENS[0], unkept, { before: noStorage }],
    ['no room to keep', SCREENS[2], unkept, { before: fullStorage }],
    ['several models, phone', SCREENS[0], choosing, several],
    ['several models, laptop', SCREENS[3], choosing, several],
    ['no motion', SCREENS[2], still, { motion: 'reduce' }],
    ['scripted, phone', SCREENS[1], converse, scripted[0]],
    ['scripted, laptop', SCREENS[2], converse, scripted[1]]
  ];
  for (const [name, screen, of, options] of runs) {
    const page = await Page.open(browser, options.url ?? url, screen, options);
    await of(page, name, options).catch(async (error) => {
      page.faults.push(error.message);
      await page.picture(`${name}-failed`);
    });
    report(name, page.faults);
    await page.close();
  }
} catch (error) {
  report('the run', [error.message, told]);
} finally {
  await browser.close();
  scripted.forEach((of) => of.close());
  started.forEach((server) => server.kill());
  rmSync(models, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
