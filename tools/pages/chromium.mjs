// Chromium, driven over a pipe, for the scripts that look at pages.
import { Program } from './browser.mjs';

// Parts of a page that say what they are by a name.
const NAMED = new Set([
  'button',
  'textbox',
  'slider',
  'spinbutton',
  'link',
  'region',
  'dialog',
  'complementary',
  'navigation'
]);
const KEYS = {
  Enter: 13,
  Escape: 27,
  Home: 36,
  ArrowUp: 38,
  ArrowRight: 39,
  ArrowDown: 40
};

/** A message is JSON that ends with a NUL. */
export class Browser extends Program {
  constructor() {
    super(process.env.CHROMIUM ?? 'chromium', ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], (profile) => [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--user-data-dir=${profile}`,
      '--remote-debugging-pipe'
    ]);
    let rest = '';
    this.process.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      messages.forEach((message) => this.receive(JSON.parse(message)));
    });
    // A browser that ended reads no more: `failed` tells.
    this.process.stdio[3].on('error', () => {});
  }

  write(message) {
    this.process.stdio[3].write(`${message}\0`);
  }

  close() {
    return super.close('Browser.close');
  }
}

/** A page of the browser in a profile of its own; `faults` are what it should not do. */
export class Tab {
  static async open(browser, url, [width, height, scheme], { before, motion = 'no-preference' } = {}) {
    const tab = new this();
    const { browserContextId } = await browser.send('Target.createBrowserContext');
    const { targetId } = await browser.send('Target.createTarget', { url: 'about:blank', browserContextId });
    const { sessionId } = await browser.send('Target.attachToTarget', { targetId, flatten: true });
    Object.assign(tab, { faults: [], url, width, send: (method, params) => browser.send(method, params, sessionId) });
    tab.keepFiles = (downloadPath) =>
      browser.send('Browser.setDownloadBehavior', { behavior: 'allow', browserContextId, downloadPath });
    tab.close = () => browser.send('Target.disposeBrowserContext', { browserContextId });
    browser.heard = (event) => event.sessionId === sessionId && tab.hear(event);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Accessibility', 'DOM'])
      await tab.send(`${domain}.enable`);
    await tab.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
    await tab.send('Emulation.setTouchEmulationEnabled', { enabled: width < 500 });
    await tab.send('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: motion }
      ]
    });
    if (before) await tab.send('Page.addScriptToEvaluateOnNewDocument', { source: `(${before})()` });
    await tab.load();
    return tab;
  }

  hear({ method, params }) {
    if (method === 'Page.loadEventFired') this.loaded?.();
    if (method === 'Runtime.exceptionThrown') {
      const { text, exception } = params.exceptionDetails;
      this.faults.push(`exception: ${exception?.description ?? text}`);
    }
    if (method === 'Runtime.consoleAPICalled')
      this.faults.push(`console: ${params.args.map((arg) => arg.value).join(' ')}`);
    if (method === 'Log.entryAdded') this.faults.push(`log: ${params.entry.text} ${params.entry.url ?? ''}`);
    if (method === 'Network.requestWillBeSent') {
      const { url } = params.request;
      if (!url.startsWith(this.url) && !/^(data|blob):/.test(url)) this.faults.push(`request: ${url}`);
    }
  }

  async load() {
    const load = new Promise((done) => (this.loaded = done));
    await this.send('Page.navigate', { url: this.url });
    await load;
  }

  async run(of, ...given) {
    const answer = await this.send('Runtime.evaluate', {
      expression: `(${of})(${given.map((value) => JSON.stringify(value)).join(', ')})`,
      awaitPromise: true,
      returnByValue: true
    });
    const { exceptionDetails: wrong, result } = answer;
    if (wrong) throw new Error(wrong.exception?.description ?? wrong.text);
    return result.value;
  }

  type(text) {
    return this.send('Input.insertText', { text });
  }

  async press(key) {
    const of = { key, code: key, windowsVirtualKeyCode: KEYS[key], ...(key === 'Enter' && { text: '\r' }) };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...of });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...of });
  }

  async give(selector, file) {
    const { root } = await this.send('DOM.getDocument');
    const { nodeId } = await this.send('DOM.querySelector', { nodeId: root.nodeId, selector });
    await this.send('DOM.setFileInputFiles', { nodeId, files: [file] });
  }

  /** What is seen, as base64 of a PNG. */
  async screen() {
    return (await this.send('Page.captureScreenshot', { format: 'png' })).data;
  }

  /** The roles of parts that should have a name, and have none. */
  async nameless() {
    const { nodes } = await this.send('Accessibility.getFullAXTree');
    return nodes
      .filter(({ role, name, ignored }) => !ignored && NAMED.has(role?.value) && !name?.value)
      .map(({ role }) => role.value);
  }
}
