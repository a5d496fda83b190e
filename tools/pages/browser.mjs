// Chromium, driven over a pipe, for the scripts that look at pages.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT = 60_000;

/** A browser with a profile of its own: a message is JSON that ends with a NUL. */
export class Browser {
  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), 'whit-pages-'));
    this.process = spawn(
      process.env.CHROMIUM ?? 'chromium',
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        `--user-data-dir=${this.profile}`,
        '--remote-debugging-pipe'
      ],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] }
    );
    this.waiting = new Map();
    this.heard = () => {};
    this.sent = 0;
    let rest = '';
    this.process.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      messages.forEach((message) => this.receive(JSON.parse(message)));
    });
    this.ended = new Promise((done) => this.process.on('close', done));
    this.failed = new Promise((_, fail) => {
      this.process.on('error', fail);
      this.process.on('close', (code) => fail(new Error(`chromium ended with ${code}`)));
    });
    this.failed.catch(() => {});
    // A browser that ended reads no more: `failed` tells.
    this.process.stdio[3].on('error', () => {});
  }

  receive({ id, error, result, ...event }) {
    if (id === undefined) return this.heard(event);
    const [done, fail] = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) fail(new Error(error.message));
    else done(result);
  }

  send(method, params = {}, sessionId) {
    const answer = new Promise((done, fail) => {
      this.waiting.set(++this.sent, [done, fail]);
      this.process.stdio[3].write(`${JSON.stringify({ id: this.sent, method, params, sessionId })}\0`);
    });
    const late = new Promise((_, fail) => setTimeout(fail, TIMEOUT, new Error(`${method}: no answer`)).unref());
    return Promise.race([answer, this.failed, late]);
  }

  async close() {
    await this.send('Browser.close').catch(() => this.process.kill('SIGKILL'));
    await this.ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
