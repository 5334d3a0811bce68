// A program that opens the connector as its arguments say, for tests that need a process of its own.
// Usage: child.mjs MODE [OPTIONS_JSON]; it imports the built package.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { isMainThread, Worker } from 'node:worker_threads';
import { openProcConnector } from '../dist/index.js';

const [mode, json = '{}'] = process.argv.slice(2);
const open = () => openProcConnector({ onBatch() {}, ...JSON.parse(json) });
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const descriptors = () => readdirSync('/proc/self/fd').length;

switch (isMainThread ? mode : 'worker-body') {
  case 'open': // open and close at once: the process exits by itself if close() releases the event loop
    try {
      const connector = open();
      say({ opened: connector.stats() });
      connector.close();
    } catch ({ name, message, code, errno, syscall }) {
      say({ name, message, code, errno, syscall });
    }
    break;
  case 'no-thread': {
    execFileSync('prlimit', ['--nproc=1', '--pid', String(process.pid)]);
    const before = descriptors();
    try {
      open();
    } catch ({ name, message, code, syscall }) {
      say({ name, message, code, syscall, leaked: descriptors() - before });
    }
    break;
  }
  case 'hold': // the open connector alone keeps the process alive
    openProcConnector({ onBatch: (batch) => say({ events: batch.length }) });
    say('holding');
    break;
  case 'exit': // leaves with it open
    open();
    process.exit(7);
    break;
  case 'throw': // dies of an exception while it is open
    open();
    throw new Error('deliberate');
  case 'batch-throws': // what onBatch throws is an uncaught exception, and the connector lives on
    {
      let thrown = 0;
      process.on('uncaughtException', ({ message }) => {
        say({ message });
        thrown += 1;
        if (thrown === 2) connector.close();
      });
      const connector = openProcConnector({
        onBatch() {
          throw new Error('from onBatch');
        },
      });
      const timer = setInterval(() => (thrown < 2 ? new Worker('', { eval: true }) : clearInterval(timer)), 5);
    }
    break;
  case 'many': {
    open().close(); // what is made only once is made here
    const before = descriptors();
    for (let i = 0; i < 1000; i++) open().close();
    say({ leaked: descriptors() - before });
    break;
  }
  case 'collected': {
    // Only a finalizer can clean up here: the connector is closed, and its object unreachable.
    for (let i = 0; i < 50; i++) open().close();
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
    say('collected');
    break;
  }
  case 'worker': {
    const reported = [];
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(new URL(import.meta.url), { argv: ['worker-body', json] });
      const events = await new Promise((resolve) => worker.once('message', resolve));
      const exited = new Promise((resolve) => worker.once('exit', resolve));
      if (i % 2 === 0)
        await worker.terminate(); // with the connector open
      else worker.postMessage('close'); // oxlint-disable-line unicorn/require-post-message-target-origin -- a worker, not a window
      await exited;
      reported.push(events > 0);
    }
    say({ reported });
    break;
  }
  case 'worker-body': {
    const { parentPort } = await import('node:worker_threads');
    let told = false;
    const connector = openProcConnector({
      onBatch(batch) {
        if (!told) parentPort.postMessage(batch.length); // oxlint-disable-line unicorn/require-post-message-target-origin -- as above
        told = true;
      },
    });
    const { execFile } = await import('node:child_process');
    execFile('/bin/true');
    parentPort.once('message', () => connector.close());
    break;
  }
  default:
    throw new Error(`no mode ${mode}`);
}
