// Loads every page of a folder in Chromium, on a phone and on a laptop, light and dark, uses what can be used on it, and
// fails where a page complains, asks for anything, is empty, too wide or too large. Usage: node check.mjs FOLDER
import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Browser } from './chromium.mjs';

const LARGEST = 300_000;
const SIZES = [
  [390, 844],
  [1280, 800]
];
const SCHEMES = ['light', 'dark'];

/** Runs in the page: whether it shows anything, how much wider it is than the screen, and what scrolls within it. */
function look() {
  const { scrollWidth, clientWidth } = document.documentElement;
  const boxes = [...document.querySelectorAll('.wide')];
  const scrolling = boxes.filter((box) => box.scrollWidth > box.clientWidth + 2);
  const unseen = (item) => {
    const [own, box] = [item, item.closest('.wide')].map((node) => node.getBoundingClientRect());
    return own.left < box.left - 2 || own.right > box.right + 2 || own.top < box.top - 2 || own.bottom > box.bottom + 2;
  };
  return {
    empty: !document.querySelector('main')?.innerText.trim(),
    wide: scrollWidth - clientWidth,
    scrolling: scrolling.length,
    tall: boxes.filter((box) => box.scrollHeight > box.clientHeight + 2).length,
    unseen: [...document.querySelectorAll('.wide [aria-selected=true]')].filter(unseen).length,
    silent: scrolling.filter((box) => !box.previousElementSibling?.innerText.includes('scroll')).length
  };
}

/** Runs in the page: waits until it has been drawn, which is when it notices what scrolls. */
function drawn() {
  return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
}

/** Runs in the page: presses its buttons, moves its sliders, chooses and walks among its choices. */
async function use() {
  const settled = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
  const some = (query) =>
    [...document.querySelectorAll(query)].filter((_, i, all) => i < 12 || i === all.length - 1);
  for (const button of some('button')) button.click();
  for (const slider of some('input')) {
    for (const value of [slider.max, slider.min]) {
      slider.value = value;
      slider.dispatchEvent(new Event('input', { bubbles: true }));
    }
  }
  for (const box of some('[role=listbox], [role=grid]')) {
    const items = box.querySelectorAll('[role=option], [role=gridcell]');
    for (const item of [items[0], items[items.length - 1]]) {
      item.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, pointerType: 'mouse' }));
      item.click();
      for (const key of ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End']) {
        document.activeElement.dispatchEvent(
          new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true })
        );
        item.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
      }
    }
    box.dispatchEvent(new PointerEvent('pointerleave'));
    await settled();
  }
}

/** What is wrong with the page at `url` on such a screen. */
async function faults(browser, url, [width, height], scheme) {
  const found = [];
  const { targetId } = await browser.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await browser.send('Target.attachToTarget', { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  let loaded;
  const load = new Promise((done) => (loaded = done));
  browser.heard = ({ sessionId: of, method, params }) => {
    if (of !== sessionId) return;
    if (method === 'Page.loadEventFired') loaded();
    if (method === 'Runtime.exceptionThrown') {
      const { text, exception, lineNumber } = params.exceptionDetails;
      found.push(`exception: ${exception?.description ?? text} at line ${lineNumber}`);
    }
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) {
      found.push(`console ${params.type}: ${params.args.map((arg) => arg.value ?? arg.description).join(' ')}`);
    }
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) {
      found.push(`log ${params.entry.level}: ${params.entry.text}`);
    }
    if (
      method === 'Network.requestWillBeSent' &&
      params.request.url !== url &&
      !params.request.url.startsWith('data:')
    ) {
      found.push(`request: ${params.request.url}`);
    }
  };
  const run = async (of) =>
    (await send('Runtime.evaluate', { expression: `(${of})()`, awaitPromise: true, returnByValue: true })).result
      .value;
  const seen = async (when) => {
    const { empty, wide, scrolling, tall, unseen, silent } = await run(look);
    if (empty) found.push(`empty ${when}`);
    if (wide > 0) found.push(`${wide} px wider than the screen ${when}`);
    if (silent > 0) found.push(`${silent} parts scroll without saying so ${when}`);
    if (tall > 0) found.push(`${tall} parts hide what is below ${when}`);
    if (unseen > 0) found.push(`${unseen} chosen items are out of sight ${when}`);
    if (scrolling > 0 && width > 1000) found.push(`${scrolling} parts scroll on a laptop ${when}`);
  };
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`);
  await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  await send('Page.navigate', { url });
  await Promise.race([load, browser.failed]);
  await run(drawn);
  await seen('at first');
  await run(use);
  await seen('after use');
  await browser.send('Target.closeTarget', { targetId });
  return found;
}

const folder = resolve(process.argv[2]);
const pages = readdirSync(folder)
  .filter((name) => name.endsWith('.html'))
  .sort();
const browser = new Browser();
let bad = pages.length === 0;
try {
  for (const page of pages) {
    const html = readFileSync(join(folder, page), 'utf8');
    const size = Buffer.byteLength(
      html.replace(/(<script type="application\/json"[^>]*>)[^]*?(?=<\/script>)/, '$1')
    );
    const found = size > LARGEST ? [`${size} bytes without its data`] : [];
    for (const screen of SIZES) {
      for (const scheme of SCHEMES) {
        const of = await faults(browser, pathToFileURL(join(folder, page)).href, screen, scheme);
        found.push(...of.map((fault) => `${screen.join('x')} ${scheme}: ${fault}`));
      }
    }
    bad ||= found.length > 0;
    console.log(`${found.length ? 'FAILED' : 'ok'} ${page}: ${size} bytes without its data`);
    found.forEach((fault) => console.log(`  ${fault}`));
  }
} finally {
  await browser.close();
}
if (pages.length === 0) console.log(`no page in ${folder}`);
process.exitCode = bad ? 1 : 0;
