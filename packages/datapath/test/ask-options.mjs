// Reads every socket option of the tables below on a listening socket, on an accepted one and on one that dialled.
// Arguments: port to listen on, IP and port to dial. Prints `ready`, then one JSON line when it has accepted.
import { connect, createServer } from 'node:net';
import { getSockOpt } from '@sluice/linux';

const [port, ip, dialled] = process.argv.slice(2);
/** SOL_IP, IPPROTO_TCP, SOL_IPV6, SOL_SOCKET; SO_ORIGINAL_DST and its neighbours in the kernel's tables. */
const LEVELS = [0, 6, 41, 1];
const NAMES = [2, 4, 5, 9, 14, 16, 64, 79, 80, 81];
/** Around the two answers' lengths, of 16 and 28 bytes, and around a page. */
const LENGTHS = [0, 1, 4, 15, 16, 17, 20, 27, 28, 29, 128, 4095, 4096, 4097, 65536];

function ask(fd) {
  const answers = {};
  for (const level of LEVELS)
    for (const name of NAMES)
      for (const length of LENGTHS) {
        const question = `${level} ${name} ${length}`;
        try {
          answers[question] = getSockOpt(fd, level, name, length).toString('hex');
        } catch (error) {
          answers[question] = error.code;
        }
      }
  return answers;
}

const dialling = connect({ host: ip, port: Number(dialled) }, () => {
  const server = createServer((accepted) => {
    const answers = {
      listening: ask(server._handle.fd),
      accepted: ask(accepted._handle.fd),
      dialling: ask(dialling._handle.fd),
    };
    process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit());
  });
  server.listen({ host: '::', port: Number(port) }, () => process.stdout.write('ready\n'));
});
