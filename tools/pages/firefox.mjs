// Firefox, driven over WebDriver BiDi, for the script that drives the page of the server.
import { request } from 'node:http';
import { Program } from './browser.mjs';

const KEYS = {
  Enter: '\uE007',
  Escape: '\uE00C',
  Home: '\uE011',
  ArrowUp: '\uE013',
  ArrowRight: '\uE014',
  ArrowDown: '\uE015'
};

/** What is asked for becomes a WebSocket. */
function connect(port) {
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': 13,
    'Sec-WebSocket-Key': Buffer.alloc(16).toString('base64')
  };
  return new Promise((done, fail) => {
    request({ host: '127.0.0.1', port, path: '/session', headers })
      .on('error', fail)
      .on('response', ({ statusCode }) => fail(new Error(`Firefox answers ${statusCode}`)))
      .on('upgrade', (_, socket) => done(socket))
      .end();
  });
}

/** A message of less than 64 KiB as a frame of a WebSocket, masked, as frames to a server are. */
function frame(message) {
  const text = Buffer.from(message);
  const length = text.length < 126 ? [0x80 | text.length] : [0xfe, text.length >> 8, text.length & 0xff];
  return Buffer.concat([Buffer.from([0x81, ...length, 1, 1, 1, 1]), text.map((byte) => byte ^ 1)]);
}

/** The first whole frame of `data`, which is not masked: its kind, its text and what follows; nothing if there is none. */
function firstFrame(data) {
  const short = data[1] & 127;
  const begin = { 126: 4, 127: 10 }[short] ?? 2;
  if (data.length < begin) return;
  const end = begin + { 2: () => short, 4: () => data.readUInt16BE(2), 10: () => data.readUInt32BE(6) }[begin]();
  if (data.length < end) return;
  return { kind: data[0], text: data.toString('utf8', begin, end), rest: data.subarray(end) };
}

/** Every message is one frame of text. */
export class Browser extends Program {
  constructor() {
    super(process.env.FIREFOX ?? 'firefox-esr', ['ignore', 'ignore', 'pipe'], (profile) => [
      '--headless',
      '--no-remote',
      '--profile',
      profile,
      '--remote-debugging-port',
      '0',
      '--remote-allow-system-access'
    ]);
    this.ready = this.soon('Firefox', this.begin());
    this.ready.catch(() => {});
  }

  async begin() {
    let told = '';
    const port = await new Promise((done) =>
      this.process.stderr.setEncoding('utf8').on('data', (text) => {
        told += text;
        const found = told.match(/WebDriver BiDi listening on ws:\/\/127\.0\.0\.1:(\d+)\s/);
        if (found) done(found[1]);
      })
    );
    this.socket = await connect(port);
    // A browser that ended reads no more: `failed` tells.
    this.socket.on('error', () => {});
    let rest = Buffer.alloc(0);
    this.socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      for (let found = firstFrame(rest); found; found = firstFrame(rest)) {
        if (found.kind === 0x81) this.receive(JSON.parse(found.text));
        rest = found.rest;
      }
    });
    await super.send('session.new', { capabilities: {} });
    await super.send('session.subscribe', { events: ['log.entryAdded', 'network.beforeRequestSent'] });
    this.window = (await super.send('browsingContext.getTree', { 'moz:scope': 'chrome' })).contexts[0].context;
  }

  write(message) {
    this.socket.write(frame(message));
  }

  async send(method, params) {
    await this.ready;
    return super.send(method, params);
  }

  /** Runs in the window of the browser, for what BiDi has no words for. */
  async command(expression) {
    await this.ready;
    await this.send('script.evaluate', { expression, target: { context: this.window }, awaitPromise: false });
  }

  close() {
    return super.close('browser.close');
  }
}

/** A page of the browser in a profile of its own; `faults` are what it should not do. */
export class Tab {
  static async open(browser, url, [width, height, scheme], { before, motion = 'no-preference' } = {}) {
    const tab = new this();
    const preferences = {
      'layout.css.prefers-color-scheme.content-override': scheme === 'dark' ? 0 : 1,
      'ui.prefersReducedMotion': motion === 'reduce' ? 1 : 0,
      // A finger, or a mouse that can hover.
      'ui.primaryPointerCapabilities': width < 500 ? 1 : 6
    };
    for (const [name, value] of Object.entries(preferences))
      await browser.command(`Services.prefs.setIntPref('${name}', ${value})`);
    const { userContext } = await browser.send('browser.createUserContext');
    const { context } = await browser.send('browsingContext.create', { type: 'tab', userContext, background: true });
    Object.assign(tab, { faults: [], url, width, context });
    tab.send = (method, params) => browser.send(method, { context, ...params });
    tab.keepFiles = async (destinationFolder) => {
      // The list of what was kept would open, and take the focus from the next page.
      await browser.command("Services.prefs.setBoolPref('browser.download.alwaysOpenPanel', false)");
      const downloadBehavior = { type: 'allowed', destinationFolder };
      await browser.send('browser.setDownloadBehavior', { downloadBehavior, userContexts: [userContext] });
    };
    tab.close = () => browser.send('browser.removeUserContext', { userContext });
    browser.heard = (event) => tab.hear(event);
    await tab.send('browsingContext.setViewport', { viewport: { width, height } });
    if (before)
      await browser.send('script.addPreloadScript', { functionDeclaration: `${before}`, contexts: [context] });
    await tab.load();
    // A tab that is opened in front while it is empty gives the focus to its address.
    await tab.send('browsingContext.activate');
    return tab;
  }

  hear({ method, params }) {
    if (method === 'log.entryAdded' && params.source.context === this.context)
      this.faults.push(`console: ${params.level}: ${params.text}`);
    if (method === 'network.beforeRequestSent' && params.context === this.context) {
      const { url } = params.request;
      if (!url.startsWith(this.url) && !/^(data|blob):/.test(url)) this.faults.push(`request: ${url}`);
    }
  }

  load() {
    return this.send('browsingContext.navigate', { url: this.url, wait: 'complete' });
  }

  async evaluate(expression) {
    const answer = await this.send('script.evaluate', {
      expression,
      target: { context: this.context },
      awaitPromise: true
    });
    const { exceptionDetails: wrong, result } = answer;
    if (wrong) throw new Error(wrong.text);
    return result;
  }

  async run(of, ...given) {
    const words = given.map((value) => JSON.stringify(value)).join(', ');
    const { value } = await this.evaluate(`(async () => JSON.stringify(await (${of})(${words})))()`);
    return value && JSON.parse(value);
  }

  async type(text) {
    const actions = [...text].flatMap((value) => ['keyDown', 'keyUp'].map((type) => ({ type, value })));
    await this.send('input.performActions', { actions: [{ type: 'key', id: 'keys', actions }] });
  }

  press(key) {
    return this.type(KEYS[key]);
  }

  async give(selector, file) {
    const { sharedId } = await this.evaluate(`document.querySelector(${JSON.stringify(selector)})`);
    await this.send('input.setFiles', { element: { sharedId }, files: [file] });
  }

  /** What is seen, as base64 of a PNG. */
  async screen() {
    return (await this.send('browsingContext.captureScreenshot')).data;
  }

  /** BiDi does not tell the names of parts; they come from the same words as in Chromium. */
  nameless() {
    return [];
  }
}
