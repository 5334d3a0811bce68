// A name server with one answer: a TXT record that says who answered, over which protocol, and who asked from where.
// Arguments: its name, then ip:port of each address, UDP and TCP. A name with `large` in it gets an answer of 3 KiB;
// for one with `cut` in it, a client that asks by UDP is told to ask again by TCP. Prints `ready`.
import { createSocket } from 'node:dgram';
import { createServer, isIP } from 'node:net';
import { once } from 'node:events';

const [name, ...places] = process.argv.slice(2);
const HEADER = 12;
const TRUNCATED = 0x02;
const LARGE = 3072;

/** Where the question ends: its name, as labels, then type and class (RFC 1035 4.1.2). */
function questionEnd(query) {
  let offset = HEADER;
  while (query[offset] !== 0) offset += query[offset] + 1;
  return offset + 5;
}

function answerTo(query, protocol, peer) {
  const question = query.subarray(HEADER, questionEnd(query));
  const header = Buffer.from(query.subarray(0, HEADER));
  header[2] = 0x84 | (header[2] & 0x01);
  header[3] = 0x80;
  header.writeUInt16BE(1, 4);
  header.writeUInt32BE(0, 8);
  if (protocol === 'udp' && question.includes('cut')) {
    header[2] |= TRUNCATED;
    header.writeUInt16BE(0, 6);
    return Buffer.concat([header, question]);
  }
  header.writeUInt16BE(1, 6);
  const strings = [JSON.stringify({ by: name, protocol, peer })];
  if (question.includes('large')) for (let size = 0; size < LARGE; size += 250) strings.push('x'.repeat(250));
  const data = Buffer.concat(strings.map((text) => Buffer.concat([Buffer.of(text.length), Buffer.from(text)])));
  // A pointer to the name in the question, TXT, IN, TTL 0, and the length of the data.
  const record = Buffer.from([0xc0, HEADER, 0, 16, 0, 1, 0, 0, 0, 0, data.length >> 8, data.length & 0xff]);
  return Buffer.concat([header, question, record, data]);
}

const shown = ({ address, port }) => (isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`);

for (const place of places) {
  const port = Number(place.slice(place.lastIndexOf(':') + 1));
  const host = place.slice(0, place.lastIndexOf(':')).replace(/^\[|\]$/g, '');
  const udp = createSocket(isIP(host) === 6 ? { type: 'udp6', ipv6Only: true } : 'udp4');
  udp.on('message', (query, from) => udp.send(answerTo(query, 'udp', shown(from)), from.port, from.address));
  udp.bind(port, host);
  await once(udp, 'listening');
  const tcp = createServer((client) => {
    let received = Buffer.alloc(0);
    client.on('error', () => client.destroy());
    client.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      // RFC 1035 4.2.2: a message is preceded by its length.
      if (received.length < 2 || received.length < 2 + received.readUInt16BE()) return;
      const peer = shown({ address: client.remoteAddress, port: client.remotePort });
      const answer = answerTo(received.subarray(2), 'tcp', peer);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      client.end(Buffer.concat([length, answer]));
    });
  });
  tcp.listen({ port, host, ipv6Only: true });
  await once(tcp, 'listening');
}
process.stdout.write('ready\n');
