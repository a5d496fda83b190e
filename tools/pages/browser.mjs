// What Chromium and Firefox have in common, for the scripts that look at pages.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT = 60_000;

/**
 * A browser with a profile and a home of its own: Firefox refuses that of another user. It is sent messages with numbers,
 * by `write`, and answers each; it tells of events, too.
 */
export class Program {
  constructor(name, stdio, words) {
    this.profile = mkdtempSync(join(tmpdir(), 'whit-pages-'));
    this.process = spawn(name, words(this.profile), { stdio, env: { ...process.env, HOME: this.profile } });
    this.waiting = new Map();
    this.heard = () => {};
    this.sent = 0;
    this.ended = new Promise((done) => this.process.on('close', done));
    this.failed = new Promise((_, fail) => {
      this.process.on('error', fail);
      this.process.on('close', (code) => fail(new Error(`${name} ended with ${code}`)));
    });
    this.failed.catch(() => {});
  }

  receive({ id, error, message, result, ...event }) {
    if (id === undefined) return this.heard(event);
    const [done, fail] = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) fail(new Error(message ?? error.message));
    else done(result);
  }

  send(method, params = {}, sessionId) {
    const answer = new Promise((done, fail) => {
      this.waiting.set(++this.sent, [done, fail]);
      this.write(JSON.stringify({ id: this.sent, method, params, sessionId }));
    });
    return this.soon(method, answer);
  }

  /** What is promised, unless the browser ends or takes too long. */
  soon(what, promise) {
    const late = new Promise((_, fail) => setTimeout(fail, TIMEOUT, new Error(`${what}: no answer`)).unref());
    return Promise.race([promise, this.failed, late]);
  }

  /** Ends it by the message for that, or else at once. */
  async close(method) {
    await this.send(method).catch(() => this.process.kill('SIGKILL'));
    await this.ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
