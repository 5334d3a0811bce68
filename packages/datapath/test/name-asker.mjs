// Asks name servers as its input says: each line is a JSON list of steps, and each answer a JSON list of their results.
// Sockets have names and stay from line to line.
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import { createInterface } from 'node:readline';
import { setSockOptInt } from '@sluice/linux';
import { PATIENCE_MS } from '@sluice/testbed';

/** asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_MARK = 36;
const SO_BINDTOIFINDEX = 62;

const sockets = new Map();
const fdOf = (socket) => socket._handle.fd;
process.removeAllListeners('warning'); // about _handle, which has no successor

function parse(place) {
  const port = Number(place.slice(place.lastIndexOf(':') + 1));
  return { port, host: place.slice(0, place.lastIndexOf(':')).replace(/^\[|\]$/g, '') };
}
const shown = ({ address, port }) => (isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`);

/** A TXT query (RFC 1035 4.1). */
function query(name) {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  return Buffer.concat([Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...labels, Buffer.from([0, 0, 16, 0, 1])]);
}

/** What the server says about itself, in the first string of the TXT record. */
function content(answer) {
  const text = answer.toString('latin1');
  const end = text.indexOf('}') + 1;
  return end === 0 ? { raw: text } : { ...JSON.parse(text.slice(text.indexOf('{'), end)), bytes: answer.length };
}

const attempt = (start) =>
  new Promise((resolve, reject) => {
    start((error) => {
      if (error instanceof Error) reject(error);
      else resolve({ ok: true });
    });
  });

const STEPS = {
  open: async ({ socket, family, bind, mark, device, deaf }) => {
    const made = createSocket(`udp${family}`);
    const state = { made, received: [], waiting: undefined, error: undefined };
    made.on('message', (message, from) => {
      state.received.push({ from: shown(from), ...content(message) });
      state.waiting?.();
    });
    made.on('error', (error) => {
      state.error = error;
      state.waiting?.();
    });
    const { port, host } = bind === undefined ? { port: 0, host: family === 4 ? '0.0.0.0' : '::' } : parse(bind);
    await new Promise((resolve) => made.bind(port, host, resolve));
    if (mark !== undefined) setSockOptInt(fdOf(made), SOL_SOCKET, SO_MARK, mark);
    if (device !== undefined) setSockOptInt(fdOf(made), SOL_SOCKET, SO_BINDTOIFINDEX, device);
    // The kernel keeps what arrives until `listen`.
    if (deaf) made._handle.recvStop();
    sockets.set(socket, state);
    return { ok: true };
  },
  connect: ({ socket, to }) => {
    const { port, host } = parse(to);
    return attempt((done) => sockets.get(socket).made.connect(port, host, done));
  },
  /** connect(AF_UNSPEC). */
  disconnect: ({ socket }) => {
    sockets.get(socket).made.disconnect();
    return { ok: true };
  },
  send: ({ socket, to, name = 'who' }) => {
    const { port, host } = to === undefined ? {} : parse(to);
    const { made } = sockets.get(socket);
    return attempt((done) =>
      to === undefined ? made.send(query(name), done) : made.send(query(name), port, host, done),
    );
  },
  /** Waits for `count` answers. */
  receive: async ({ socket, count = 1 }) => {
    const state = sockets.get(socket);
    while (state.received.length < count && state.error === undefined) {
      const more = await new Promise((resolve) => {
        const timer = setTimeout(() => resolve(false), PATIENCE_MS);
        state.waiting = () => {
          clearTimeout(timer);
          resolve(true);
        };
      });
      if (!more) break;
    }
    const { error } = state;
    state.error = undefined;
    return { answers: state.received.splice(0), ...(error === undefined ? {} : { error: error.code }) };
  },
  names: ({ socket }) => {
    const { made } = sockets.get(socket);
    const peer = () => {
      try {
        return shown(made.remoteAddress());
      } catch (error) {
        return error.code;
      }
    };
    return { local: shown(made.address()), peer: peer() };
  },
  listen: ({ socket }) => {
    sockets.get(socket).made._handle.recvStart();
    return { ok: true };
  },
  close: ({ socket }) => {
    sockets.get(socket).made.close();
    sockets.delete(socket);
    return { ok: true };
  },
  tcp: ({ to, name = 'who' }) =>
    new Promise((resolve, reject) => {
      const { port, host } = parse(to);
      const client = connect({ port, host });
      let received = Buffer.alloc(0);
      let names;
      client.on('connect', () => {
        const text = query(name);
        names = {
          local: shown({ address: client.localAddress, port: client.localPort }),
          seen: shown({ address: client.remoteAddress, port: client.remotePort }),
        };
        client.write(Buffer.concat([Buffer.from([text.length >> 8, text.length & 0xff]), text]));
      });
      client.on('data', (chunk) => (received = Buffer.concat([received, chunk])));
      client.on('end', () => resolve({ ...names, ...content(received) }));
      client.on('error', reject);
    }),
  /** Through c-ares, as an application would. */
  resolve: async ({ servers, name }) => {
    const resolver = new Resolver({ timeout: PATIENCE_MS, tries: 1 });
    resolver.setServers(servers);
    const [strings] = await resolver.resolveTxt(name);
    return JSON.parse(strings[0]);
  },
};

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const outcomes = [];
  for (const { step, ...details } of JSON.parse(line)) {
    try {
      outcomes.push(await STEPS[step](details));
    } catch (error) {
      outcomes.push({ error: error.code ?? String(error) });
    }
  }
  process.stdout.write(`${JSON.stringify(outcomes)}\n`);
}
