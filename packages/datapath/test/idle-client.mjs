// A client that says nothing until it is told to. Arguments: address and port. It writes `heard` when the server has said
// something, and, after a line on its stdin, `echoed` when what it sent has come back.
import { createConnection } from 'node:net';

const [host, port] = process.argv.slice(2);
const socket = createConnection({ host, port: Number(port) });
const say = (line) => process.stdout.write(`${line}\n`);

socket.on('error', ({ code }) => {
  say(code);
  process.exit(1);
});
socket.once('data', () => {
  say('heard');
  process.stdin.once('data', () => {
    socket.once('data', () => say('echoed'));
    socket.write('x');
  });
});
